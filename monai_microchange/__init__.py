# SPDX-License-Identifier: Apache-2.0
"""Compare two scans of one patient and show what changed.

For research; not a medical device.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai_microchange.pipeline import compare
    from monai_microchange.result import ChangeResult

__version__ = "0.1.0"
__all__ = ["ChangeResult", "__version__", "compare"]


def __getattr__(name: str) -> Any:
    """Import `compare` and `ChangeResult` when they are first asked for: torch and MONAI take seconds."""
    if name == "compare":
        from monai_microchange.pipeline import compare

        return compare
    if name == "ChangeResult":
        from monai_microchange.result import ChangeResult

        return ChangeResult
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
