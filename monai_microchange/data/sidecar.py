# SPDX-License-Identifier: Apache-2.0
"""Acquisition numbers from the JSON file that BIDS has beside a scan."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_microchange.data._dicom_header import _NO_AGENT

__all__ = ["read_sidecar"]

_SECONDS = {"echo_time_ms": "EchoTime", "repetition_time_ms": "RepetitionTime", "inversion_time_ms": "InversionTime"}
_NUMBERS = {
    "slice_thickness_mm": "SliceThickness",
    "field_strength_t": "MagneticFieldStrength",
    "flip_angle_deg": "FlipAngle",
}
_BEYOND_ALL = 1e9
"""No number of an acquisition is as large."""


def read_sidecar(path: Path) -> dict[str, float | str]:
    """Acquisition numbers of a scan, from the JSON file of the same name.

    Only what `Visit.protocol` lists is taken: whatever else the file says, of the patient too, stays there.

    Args:
        path: the scan; `sub-1_FLAIR.nii.gz` has `sub-1_FLAIR.json` beside it.

    Returns:
        The numbers, by the names of `Visit.protocol`; empty without such a file, or if it is no JSON object.

    Example:
        >>> read_sidecar(Path("scan_without_sidecar.nii.gz"))
        {}

    Source: Gorgolewski et al., 2016, doi 10.1038/sdata.2016.44 (BIDS: times in seconds).
    """
    stem = path.name[:-7] if path.name.lower().endswith(".nii.gz") else path.stem
    try:
        content = json.loads((path.parent / f"{stem}.json").read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, Mapping):
        return {}
    facts: dict[str, float | str] = {}
    for names, factor in ((_SECONDS, 1000.0), (_NUMBERS, 1.0)):
        facts |= {name: factor * content[key] for name, key in names.items() if _is_size(content.get(key))}
    if content.get("MRAcquisitionType") in ("2D", "3D"):
        facts["acquisition_type"] = content["MRAcquisitionType"]
    if isinstance(content.get("ManufacturersModelName"), str) and content["ManufacturersModelName"]:
        facts["manufacturer_model"] = content["ManufacturersModelName"]
    # n/a is what BIDS has for unknown
    if str(content.get("ContrastBolusIngredient") or "").strip().casefold() not in _NO_AGENT | {"n/a"}:
        facts["contrast_agent"] = "given"
    return facts


def _is_size(value: Any) -> bool:
    # NaN lies in no range, and an integer of any length can be compared, though not made a float
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _BEYOND_ALL
