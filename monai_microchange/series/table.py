# SPDX-License-Identifier: Apache-2.0
"""Write the lesions of a series as a table: one row a lesion and visit."""

import csv
from pathlib import Path

from monai_microchange.series.records import SeriesLesion, SeriesResult, SeriesVisit

__all__ = ["SERIES_COLUMNS", "series_rows", "write_series_table"]

SERIES_COLUMNS = (
    "id",
    "visit",
    "days",
    "location",
    "x_ras_mm",
    "y_ras_mm",
    "z_ras_mm",
    "volume_mm3",
    *(f"{name}_since_{since}" for since in ("previous", "first") for name in ("type", "gain_mm3", "loss_mm3")),
)
"""Columns of `series.csv`, in order; `series_rows` explains them."""


def series_rows(result: SeriesResult) -> list[dict[str, str]]:
    """Rows of the table: each lesion at each visit.

    `volume_mm3` is the lesion's volume at the visit, 0 where it is not seen; `days` count from the first visit, empty
    where unknown; the place is the lesion's centre over all visits in the common space. What changed since the visit
    before, and since the first one, is empty where that pair was not compared or does not list the lesion.
    """
    return [_row(lesion, visit) for lesion in result.lesions for visit in result.visits]


def write_series_table(path: Path | str, result: SeriesResult) -> None:
    """Write `series.csv`: a header, then the rows (RFC 4180, UTF-8). No lesion gives the header alone."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, SERIES_COLUMNS)
        writer.writeheader()
        writer.writerows(series_rows(result))


def _row(lesion: SeriesLesion, visit: SeriesVisit) -> dict[str, str]:
    x, y, z = (repr(round(value, 2) + 0.0) for value in lesion.centroid_ras_mm)
    row = {
        "id": str(lesion.id),
        "visit": str(visit.number),
        "days": "" if visit.days is None else str(visit.days),
        "location": lesion.location.value,
        "x_ras_mm": x,
        "y_ras_mm": y,
        "z_ras_mm": z,
        "volume_mm3": repr(round(lesion.volumes_mm3[visit.number - 1], 3)),
    }
    for since, pair in (("previous", (visit.number - 1, visit.number)), ("first", (1, visit.number))):
        change = lesion.rows.get(pair)
        row[f"type_since_{since}"] = lesion.type_name(pair)
        for name in ("gain_mm3", "loss_mm3"):
            row[f"{name}_since_{since}"] = "" if change is None else repr(round(getattr(change, name), 3))
    return row
