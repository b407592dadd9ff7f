# SPDX-License-Identifier: Apache-2.0
"""The numbers and names that files and users rely on."""

import pytest

from monai_microchange.enums import VISITS, Anatomy, ChangeType, Location, ResultFile


def test_numbers_of_the_change_map():
    assert {t.name: int(t) for t in ChangeType} == {"NEW": 1, "ENLARGING": 2, "SHRINKING": 3, "RESOLVED": 4}


@pytest.mark.parametrize(("one", "other"), [("NEW", "RESOLVED"), ("ENLARGING", "SHRINKING")])
def test_swapping_the_visits_exchanges_the_types(one, other):
    assert ChangeType[one].swapped is ChangeType[other]
    assert ChangeType[other].swapped is ChangeType[one]


@pytest.mark.parametrize("kind", ChangeType)
def test_a_swapped_gain_is_a_loss(kind):
    assert kind.is_gain != kind.swapped.is_gain
    assert kind.swapped.swapped is kind


def test_gains_are_what_appears_or_grows():
    assert [t.name for t in ChangeType if t.is_gain] == ["NEW", "ENLARGING"]


def test_visits_are_in_the_order_of_time():
    assert VISITS == ("baseline", "followup")


def test_anatomy_labels_count_up_from_background():
    assert [int(label) for label in Anatomy] == list(range(7))
    assert Anatomy(0) is Anatomy.BACKGROUND


def test_locations_are_their_names():
    assert {str(place) for place in Location} == {place.name.lower() for place in Location}


def test_names_of_the_result_files():
    for visit in VISITS:
        assert ResultFile.MID_SCAN.format(visit=visit) == f"mid/{visit}.nii.gz"
        assert ResultFile.NATIVE_CHANGE.format(visit=visit) == f"{visit}_space/change.nii.gz"
        assert ResultFile.TRANSFORM.format(visit=visit) == f"transforms/{visit}_to_mid.tfm"
    assert len({str(file) for file in ResultFile}) == len(ResultFile)
    assert {"mid/change.nii.gz", "mid/assessed.nii.gz", "change.seg.nrrd", "lesions.csv", "result.json"} <= set(
        ResultFile
    )
