# SPDX-License-Identifier: Apache-2.0
"""Lesions followed through three visits made by hand, their table and their folder's names."""

import csv

import numpy as np
import pytest

from monai_microchange.series.follow import follow_lesions
from monai_microchange.series.records import SeriesResult, pair_name
from monai_microchange.series.table import SERIES_COLUMNS, series_rows, write_series_table
from monai_microchange.transforms import MidSpace

from .conftest import AFFINE

SHAPE = (16, 8, 8)


def mask(*boxes: tuple[int, int]) -> np.ndarray:
    out = np.zeros(SHAPE, np.uint8)
    for start, stop in boxes:
        out[start:stop, 2:4, 2:4] = 1
    return out


# one lesion grows, one comes and goes, one stays
VISITS = mask((1, 3), (12, 14)), mask((1, 4), (7, 9), (12, 14)), mask((1, 6), (12, 14))


@pytest.fixture
def followed(result_of):
    pairs = {(a, b): result_of(VISITS[a - 1], VISITS[b - 1]) for a, b in ((1, 2), (2, 3), (1, 3))}
    return follow_lesions(pairs, days=[0, 100, 210])


@pytest.fixture
def series(followed) -> SeriesResult:
    pairs, visits, lesions, ids = followed
    return SeriesResult(visits, pairs, lesions, ids, 0.1, {})


def test_each_lesion_has_one_number_and_its_own_course(followed):
    pairs, _, lesions, ids = followed
    assert [lesion.id for lesion in lesions] == [1, 2, 3]
    assert int(ids.max()) == 3
    grows, passes, stays = lesions
    courses = {lesion.id: [lesion.type_name(pair) for pair in pairs] for lesion in lesions}
    assert courses == {1: ["enlarging"] * 3, 2: ["new", "resolved", ""], 3: ["stable"] * 3}
    assert grows.volumes_mm3 == (8, 12, 20)
    assert passes.volumes_mm3 == (0, 8, 0)
    assert stays.volumes_mm3 == (8, 8, 8)


def test_maps_of_the_visits_hold_what_is_counted(followed):
    _, visits, lesions, _ = followed
    for visit, there in zip(visits, VISITS, strict=True):
        np.testing.assert_array_equal(visit.lesion[0], there)
        np.testing.assert_array_equal(visit.lesion_ids[0] > 0, there > 0)
        assert [int((visit.lesion_ids == lesion.id).sum()) for lesion in lesions] == [
            lesion.volumes_mm3[visit.number - 1] for lesion in lesions
        ]


def test_numbers_in_the_pairs_are_those_of_the_series(followed):
    pairs, _, lesions, ids = followed
    for pair, result in pairs.items():
        own = np.asarray(result.lesion_ids[0])
        np.testing.assert_array_equal(own[own > 0], np.asarray(ids[0])[own > 0])
        assert {row.id for row in result.lesions} == {lesion.id for lesion in lesions if pair in lesion.rows}


def test_visits_in_reversed_order_give_the_mirrored_result(result_of, followed):
    back = follow_lesions(
        {(a, b): result_of(VISITS[3 - a], VISITS[3 - b]) for a, b in ((1, 2), (2, 3), (1, 3))}, days=[0, 110, 210]
    )
    np.testing.assert_array_equal(followed[3], back[3])
    for one, other in zip(followed[2], back[2], strict=True):
        assert one.volumes_mm3 == other.volumes_mm3[::-1]
        for (a, b), row in one.rows.items():
            mirrored = other.rows[4 - b, 4 - a]
            kind = row.change_type
            assert mirrored.change_type == (kind and kind.swapped)


def test_volumes_are_in_the_millimetres_of_the_visit(result_of):
    larger = MidSpace(AFFINE, SHAPE, np.eye(4), np.diag([2.0, 1.0, 1.0, 1.0]))
    last = MidSpace(AFFINE, SHAPE, np.diag([2.0, 1.0, 1.0, 1.0]), np.eye(4))
    spaces = {(1, 2): larger, (2, 3): last, (1, 3): MidSpace(AFFINE, SHAPE, np.eye(4), np.eye(4))}
    pairs = {pair: result_of(VISITS[0], VISITS[0], space=space) for pair, space in spaces.items()}
    assert follow_lesions(pairs, days=[None] * 3)[2][0].volumes_mm3 == (8, 16, 8)


def test_table_has_a_row_a_lesion_and_visit(series, tmp_path):
    write_series_table(tmp_path / "series.csv", series)
    with open(tmp_path / "series.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == SERIES_COLUMNS
    assert rows == series_rows(series)
    assert [(row["id"], row["visit"]) for row in rows] == [(str(i), str(v)) for i in (1, 2, 3) for v in (1, 2, 3)]
    second = rows[4]
    assert (second["days"], second["volume_mm3"], second["type_since_previous"]) == ("100", "8.0", "new")
    assert (second["gain_mm3_since_previous"], second["loss_mm3_since_previous"]) == ("8.0", "0.0")
    assert rows[3]["type_since_previous"] == rows[3]["gain_mm3_since_first"] == ""
    assert rows[5]["type_since_previous"] == "resolved"
    assert rows[5]["type_since_first"] == ""
    assert rows[2]["gain_mm3_since_first"] == "12.0"


def test_series_without_lesions_gives_a_header_alone(result_of, tmp_path):
    nothing = mask()
    pairs, visits, lesions, ids = follow_lesions({(1, 2): result_of(nothing, nothing)}, days=[0, None])
    write_series_table(tmp_path / "series.csv", SeriesResult(visits, pairs, lesions, ids, None, {}))
    assert (tmp_path / "series.csv").read_text().strip() == ",".join(SERIES_COLUMNS)


def test_names_of_pairs():
    assert pair_name((2, 3)) == "02_03"
