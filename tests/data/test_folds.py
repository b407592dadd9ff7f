# SPDX-License-Identifier: Apache-2.0
"""Folds: patients stay whole, folds are even, a seed repeats them."""

from collections import Counter

import pytest

from monai_microchange.data import InputError
from monai_microchange.data.datalist import LabelledPair
from monai_microchange.data.folds import assign_folds


def pairs(*counts, label="label"):
    """Patients with these many pairs."""
    return [
        LabelledPair(f"{patient}-{number}", "a", "b", label, patient=f"p{patient:02d}")
        for patient, count in enumerate(counts)
        for number in range(count)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_no_patient_is_in_two_and_pairs_are_even(seed):
    """6 + 3 + 3 and twelve single ones, in three folds of 8: the large patient with two single ones, and so on."""
    cases = assign_folds(pairs(6, 3, 3, *[1] * 12), 3, seed=seed)
    folds = {case.patient: set() for case in cases}
    for case in cases:
        folds[case.patient].add(case.fold)
    assert all(len(one) == 1 for one in folds.values())
    assert Counter(case.fold for case in cases) == {0: 8, 1: 8, 2: 8}


def test_the_seed_alone_decides():
    given = pairs(*[1] * 12)
    folds = {case.name: case.fold for case in assign_folds(given, 4, seed=3)}
    assert {case.name: case.fold for case in assign_folds(given[::-1], 4, seed=3)} == folds
    assert {case.name: case.fold for case in assign_folds(given, 4, seed=4)} != folds


def test_labels_are_shared_out_before_pairs_without():
    labelled, plain = pairs(*[1] * 4), pairs(*[1] * 7, label=None)
    plain = [LabelledPair(f"u{i}", "a", "b", patient=f"u{i}") for i in range(len(plain))]
    cases = assign_folds(labelled + plain, 2)
    assert Counter(case.fold for case in cases if case.labelled) == {0: 2, 1: 2}
    assert sorted(Counter(case.fold for case in cases).values()) == [5, 6]


def test_as_many_folds_as_patients_by_default():
    assert {case.fold for case in assign_folds(pairs(2, 1))} == {0, 1}
    assert {case.fold for case in assign_folds(pairs(*[1] * 9))} == {0, 1, 2, 3, 4}
    assert {case.fold for case in assign_folds(pairs(1, 1), 0)} == {None}
    assert assign_folds([]) == []


@pytest.mark.parametrize("n_folds", [-1, 3])
def test_too_many_folds_are_refused(n_folds):
    with pytest.raises(InputError, match="expected 1 to 2 folds, as there are 2 patients"):
        assign_folds(pairs(4, 4), n_folds)


def test_a_pair_without_a_patient_is_one_of_its_own():
    assert {case.fold for case in assign_folds([LabelledPair(name, "a", "b") for name in "xy"], 2)} == {0, 1}
