# SPDX-License-Identifier: Apache-2.0
"""The table of lesions."""

import csv
import dataclasses

import numpy as np
import pandas as pd
import pytest

from monai_microchange.enums import ChangeType, Location
from monai_microchange.export import TABLE_COLUMNS, lesion_row, write_table
from monai_microchange.postprocessing import Lesion

LESION = Lesion(
    id=1,
    change_type=ChangeType.ENLARGING,
    baseline_volume_mm3=80.0,
    followup_volume_mm3=112.0,
    gain_mm3=48.0,
    loss_mm3=16.0,
    centroid_ras_mm=(-1.25, 29.0, 39.333333),
    bbox_ijk=((4, 5, 6), (7, 8, 9)),
    bbox_ras_mm=((-3.0, 27.5, 37.5), (1.0, 31.5, 41.5)),
    location=Location.PERIVENTRICULAR,
    confidence=0.91234,
    intensity_change=2.5,
)


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_one_row_on_paper(tmp_path):
    write_table(tmp_path / "lesions.csv", [LESION], interval_days=73.05)
    (row,) = read(tmp_path / "lesions.csv")
    assert tuple(row) == TABLE_COLUMNS
    assert (row["id"], row["type"], row["location"], row["confidence"]) == (
        "1",
        "enlarging",
        "periventricular",
        "0.912",
    )
    assert (row["change_mm3"], row["change_percent"]) == ("32.0", "40.0")
    assert row["annualised_change_mm3"] == "160.0"  # 73.05 days are a fifth of a year
    assert (row["x_ras_mm"], row["y_ras_mm"], row["z_ras_mm"]) == ("-1.25", "29.0", "39.33")
    assert (row["bbox_i_start"], row["bbox_i_stop"], row["bbox_k_stop"]) == ("4", "7", "9")
    assert (row["bbox_x_min_ras_mm"], row["bbox_z_max_ras_mm"]) == ("-3.0", "41.5")


@pytest.mark.parametrize("interval_days", [None, 0, -5])
def test_what_cannot_be_computed_is_empty(interval_days):
    row = lesion_row(dataclasses.replace(LESION, baseline_volume_mm3=0.0), interval_days)
    assert row["annualised_change_mm3"] == ""
    assert row["change_percent"] == ""


def test_stable_lesions_and_negative_change():
    assert lesion_row(dataclasses.replace(LESION, change_type=None))["type"] == "stable"
    row = lesion_row(dataclasses.replace(LESION, gain_mm3=0.0, loss_mm3=20.0, intensity_change=-0.00001))
    assert (row["change_mm3"], row["change_percent"], row["intensity_change"]) == ("-20.0", "-25.0", "0.0")


def test_no_lesion_gives_the_header_alone(tmp_path):
    write_table(tmp_path / "lesions.csv", [])
    assert (tmp_path / "lesions.csv").read_bytes() == (",".join(TABLE_COLUMNS) + "\r\n").encode()


def test_notes_are_quoted_and_pandas_reads_numbers(tmp_path):
    note = 'taken as "outside", lost'
    rows = [dataclasses.replace(LESION, note=note), dataclasses.replace(LESION, id=2, gain_mm3=1234567.5)]
    write_table(tmp_path / "lesions.csv", rows, 100)
    table = pd.read_csv(tmp_path / "lesions.csv")
    assert table["note"].tolist()[0] == note
    np.testing.assert_allclose(table["gain_mm3"], [48, 1234567.5])
    assert b"\r\n" in (tmp_path / "lesions.csv").read_bytes()
