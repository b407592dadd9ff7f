# SPDX-License-Identifier: Apache-2.0
"""Visits of a series checked against each other."""

import datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_microchange.data import InputError, Visit
from monai_microchange.enums import Anatomy
from monai_microchange.series.align import SeriesAlignment
from monai_microchange.series.visits import check_visits, common_anatomy, days_since_first
from monai_microchange.transforms import clean_brain


def visit(number: int, *, day: int | None = None, patient: str | None = None) -> Visit:
    scan = MetaTensor(torch.rand(1, 40, 40, 40), affine=torch.eye(4, dtype=torch.float64))
    date = None if day is None else datetime.date(2020, 1, 1) + datetime.timedelta(days=day)
    name = f"visit{number}"
    return Visit({"FLAIR": scan}, Path(name), name, patient, date, modality_sha256={"FLAIR": name})


def test_all_pairs_are_checked():
    pairs = check_visits([visit(1, day=0), visit(2), visit(3, day=90)])
    assert list(pairs) == [(0, 1), (0, 2), (1, 2)]
    assert [pair.interval_days for pair in pairs.values()] == [None, 90, None]


@pytest.mark.parametrize("days", [(0, 200, 100), (None, 200, None, 100)])
def test_dates_that_go_backwards_are_refused_unless_forced(days):
    visits = [visit(number, day=day) for number, day in enumerate(days)]
    with pytest.raises(InputError, match=rf"visits 2 \(baseline\) and {len(days)} .*100 days before baseline"):
        check_visits(visits)
    assert any(
        "100 days before" in pair.warnings[0] for pair in check_visits(visits, force=True).values() if pair.warnings
    )


def test_visit_of_another_patient_is_refused_without_naming_anyone():
    visits = [visit(1, patient="Ann"), visit(2, patient="Ann"), visit(3, patient="Bob")]
    with pytest.raises(InputError, match=r"visits 1 \(baseline\) and 3 \(followup\)") as raised:
        check_visits(visits)
    assert "Bob" not in str(raised.value)


def test_days_count_from_the_first_visit():
    assert days_since_first([visit(1, day=10), visit(2), visit(3, day=375)]) == [0, None, 365]
    assert days_since_first([visit(1), visit(2, day=3)]) == [None, None]


def test_anatomy_is_merged_over_all_visits():
    """Two visits say white matter, one says cortex, each in its own frame."""
    shift = np.eye(4)
    shift[0, 3] = 5.0
    anatomy = []
    for label in (Anatomy.WHITE_MATTER, Anatomy.CORTEX, Anatomy.WHITE_MATTER):
        probability = torch.zeros(len(Anatomy), 12, 12, 12)
        probability[Anatomy.BACKGROUND] = 0.1
        probability[label, 3:9, 3:9, 3:9] = 0.9
        anatomy.append(MetaTensor(probability, affine=torch.from_numpy(shift)))
    alignment = SeriesAlignment(np.eye(4), (12, 12, 12), (shift,) * 3, {}, {}, None, (), (1.0,) * 3)
    merged = common_anatomy(anatomy, alignment)
    expected = np.zeros((12, 12, 12), np.uint8)
    expected[3:9, 3:9, 3:9] = Anatomy.WHITE_MATTER
    assert set(merged) == {"anatomy", "brain"}
    np.testing.assert_array_equal(merged["anatomy"][0], clean_brain(expected))
    np.testing.assert_array_equal(merged["brain"], merged["anatomy"] > 0)


def test_without_anatomy_there_is_none():
    alignment = SeriesAlignment(np.eye(4), (2, 2, 2), (np.eye(4),) * 2, {}, {}, None, (), (1.0,) * 2)
    assert common_anatomy([None, None], alignment) == {}
