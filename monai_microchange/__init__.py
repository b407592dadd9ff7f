# SPDX-License-Identifier: Apache-2.0
"""Compare scans of one patient and show what changed.

For research; not a medical device.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai_microchange.pipeline import compare
    from monai_microchange.result import ChangeResult
    from monai_microchange.series import SeriesResult, compare_series

__version__ = "0.1.0"
__all__ = ["ChangeResult", "SeriesResult", "__version__", "compare", "compare_series"]

_HOMES = {
    "ChangeResult": "monai_microchange.result",
    "SeriesResult": "monai_microchange.series",
    "compare": "monai_microchange.pipeline",
    "compare_series": "monai_microchange.series",
}


def __getattr__(name: str) -> Any:
    """Import what this package offers when it is first asked for: torch and MONAI take seconds."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
