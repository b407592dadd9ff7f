# SPDX-License-Identifier: Apache-2.0
"""Keeps the chatter of other packages off the user's screen."""

import logging
import os
import warnings

__all__ = ["quiet_third_parties"]


def quiet_third_parties() -> None:
    """Silence warnings and log lines of other packages, unless Python was asked for them (`-W`, `PYTHONWARNINGS`)."""
    if not os.environ.get("PYTHONWARNINGS"):
        warnings.simplefilter("ignore")
    for name in ("monai", "ignite", "pydicom", "nibabel", "torch"):
        logging.getLogger(name).setLevel(logging.ERROR)
