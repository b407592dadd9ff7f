# SPDX-License-Identifier: Apache-2.0
"""Write the lesions as a table that spreadsheets and pandas open: one row a lesion."""

import csv
from collections.abc import Iterable
from pathlib import Path

from monai_microchange.postprocessing import Lesion

__all__ = ["TABLE_COLUMNS", "lesion_row", "write_table"]

_DAYS_PER_YEAR = 365.25
_AXES = ("i", "j", "k")
_RAS = ("x", "y", "z")

TABLE_COLUMNS = (
    "id",
    "type",
    "location",
    "confidence",
    "baseline_volume_mm3",
    "followup_volume_mm3",
    "gain_mm3",
    "loss_mm3",
    "change_mm3",
    "change_percent",
    "annualised_change_mm3",
    *(f"{axis}_ras_mm" for axis in _RAS),
    *(f"bbox_{axis}_{end}" for axis in _AXES for end in ("start", "stop")),
    *(f"bbox_{axis}_{end}_ras_mm" for axis in _RAS for end in ("min", "max")),
    "intensity_change",
    "note",
)
"""Columns of `lesions.csv`, in order. `Lesion` says what each holds; the two rates are explained at `lesion_row`."""


def lesion_row(lesion: Lesion, interval_days: float | None = None) -> dict[str, str]:
    """Give one row of the table, by column.

    `change_percent` is gain minus loss over the baseline volume, empty where that is 0. `annualised_change_mm3` is gain
    minus loss per 365.25 days, empty where the interval is unknown or not positive. Numbers have a decimal point and no
    grouping: volumes, intensities and confidence to three places, millimetres to two.

    Args:
        lesion: what to write.
        interval_days: from baseline to follow-up.

    Returns:
        A text for each of `TABLE_COLUMNS`.
    """
    known = interval_days is not None and interval_days > 0
    row = {
        "id": str(lesion.id),
        "type": lesion.type_name,
        "location": lesion.location.value,
        "confidence": _number(lesion.confidence),
        "baseline_volume_mm3": _number(lesion.baseline_volume_mm3),
        "followup_volume_mm3": _number(lesion.followup_volume_mm3),
        "gain_mm3": _number(lesion.gain_mm3),
        "loss_mm3": _number(lesion.loss_mm3),
        "change_mm3": _number(lesion.change_mm3),
        "change_percent": _ratio(100 * lesion.change_mm3, lesion.baseline_volume_mm3),
        "annualised_change_mm3": _ratio(lesion.change_mm3 * _DAYS_PER_YEAR, interval_days if known else 0),
        "intensity_change": _number(lesion.intensity_change),
        "note": lesion.note,
    }
    for axis, (name, ras) in enumerate(zip(_AXES, _RAS, strict=True)):
        row[f"{ras}_ras_mm"] = _number(lesion.centroid_ras_mm[axis], 2)
        for end, index, corner in zip(("start", "stop"), lesion.bbox_ijk, lesion.bbox_ras_mm, strict=True):
            row[f"bbox_{name}_{end}"] = str(index[axis])
            row[f"bbox_{ras}_{'min' if end == 'start' else 'max'}_ras_mm"] = _number(corner[axis], 2)
    return {column: row[column] for column in TABLE_COLUMNS}


def write_table(path: Path | str, lesions: Iterable[Lesion], interval_days: float | None = None) -> None:
    r"""Write `lesions.csv`: a header, then a row per lesion. No lesion gives the header alone.

    The file follows RFC 4180 (comma, double quotes, CRLF) in UTF-8.

    Args:
        path: file to write, overwritten if it is there.
        lesions: rows, in the order to write them.
        interval_days: from baseline to follow-up, None if unknown.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_table(f"{folder}/lesions.csv", [])
        ...     Path(f"{folder}/lesions.csv").read_text()[:17]
        'id,type,location,'
    """
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, TABLE_COLUMNS)
        writer.writeheader()
        writer.writerows(lesion_row(lesion, interval_days) for lesion in lesions)


def _number(value: float, places: int = 3) -> str:
    """Shortest text of a rounded number; no minus sign before a zero.

    >>> _number(-0.0001), _number(1234567.125), _number(2.0)
    ('0.0', '1234567.125', '2.0')
    """
    return repr(round(float(value), places) + 0.0)


def _ratio(value: float, by: float | None) -> str:
    """Quotient, empty where there is nothing to divide by."""
    return _number(value / by) if by else ""
