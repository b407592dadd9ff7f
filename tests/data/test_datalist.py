# SPDX-License-Identifier: Apache-2.0
"""Lists of labelled pairs: paths, places of labels, and what is refused."""

import json

import numpy as np
import pytest
import SimpleITK as sitk

from monai_microchange._shipped import shipped_sample
from monai_microchange.data import InputError
from monai_microchange.data.datalist import read_datalist, read_label, sample_datalist
from monai_microchange.export import write_nifti

QUARTER_TURN = np.array([[0.0, -1.0, 0.0, 4.0], [1.0, 0.0, 0.0, 5.0], [0.0, 0.0, 1.0, 6.0], [0.0, 0.0, 0.0, 1.0]])


@pytest.fixture
def folder(tmp_path):
    """A label with a voxel of each kind of change; the scans are never read here."""
    write_nifti(tmp_path / "label.nii.gz", np.arange(8, dtype=np.uint8).reshape(2, 2, 2) % 5, np.eye(4))
    return tmp_path


def entry(folder, **more):
    return {"baseline": "a.nii.gz", "followup": "b.nii.gz", "label": str(folder / "label.nii.gz"), **more}


def test_paths_in_a_file_start_from_its_folder(folder):
    listed = {"baseline": "a.nii.gz", "followup": {"FLAIR": "b.nii.gz"}, "label": "label.nii.gz"}
    (folder / "cases.json").write_text(json.dumps([listed]))
    (case,) = read_datalist(folder / "cases.json")
    assert case.name == "case1"
    assert case.pair["baseline"] == str(folder / "a.nii.gz")
    assert case.pair["followup"] == {"FLAIR": str(folder / "b.nii.gz")}
    assert case.pair["brain_mask"] is None
    assert case.label == str(folder / "label.nii.gz")
    np.testing.assert_array_equal(case.label_to_baseline, np.eye(4))


def test_places_of_a_label_are_the_same_however_they_are_given(folder):
    (folder / "matrix.json").write_text(json.dumps(QUARTER_TURN.tolist()))
    (folder / "truth.json").write_text(json.dumps({"transforms": {"anatomy_to_baseline": QUARTER_TURN.tolist()}}))
    # a turn about z looks alike in RAS and LPS; x and y of the shift change their sign
    itk = sitk.AffineTransform(3)
    itk.SetMatrix(QUARTER_TURN[:3, :3].ravel().tolist())
    itk.SetTranslation((-4.0, -5.0, 6.0))
    sitk.WriteTransform(itk, str(folder / "place.tfm"))
    given = [QUARTER_TURN.tolist(), *(str(folder / name) for name in ("matrix.json", "truth.json", "place.tfm"))]
    cases = [entry(folder, name=f"c{i}", label_to_baseline=place) for i, place in enumerate(given)]
    for case in read_datalist(cases):
        np.testing.assert_allclose(case.label_to_baseline, QUARTER_TURN, atol=1e-9)


def test_the_sample_is_a_list_of_one():
    (case,) = read_datalist(sample_datalist())
    facts = json.loads((shipped_sample() / "truth.json").read_text())
    np.testing.assert_array_equal(case.label_to_baseline, facts["transforms"]["anatomy_to_baseline"])
    assert set(np.unique(read_label(case))) == {0, 1, 2, 3, 4}


def test_an_unsigned_label_counts_whatever_its_values_are(folder):
    (case,) = read_datalist([entry(folder, signed=False)])
    label = read_label(case)
    assert label.flatten().tolist() == [0, 1, 1, 1, 1, 0, 1, 1]


def test_a_signed_label_holds_kinds_of_change_alone(folder):
    write_nifti(folder / "label.nii.gz", np.full((2, 2, 2), 255, np.uint8), np.eye(4))
    (case,) = read_datalist([entry(folder)])
    with pytest.raises(InputError, match=r"0 to 4, got the value 255; .* signed: false"):
        read_label(case)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, "case 1: expected the keys that LabelledPair has, got colour"),
        ({"name": "../away"}, "case 1: expected a name that a folder can have, got '../away'"),
        ({"label": "missing.nii.gz"}, r"case 1: missing.nii.gz: expected a change map, but there is none"),
        ({"label_to_baseline": [[1, 0], [0, 1]]}, r"label_to_baseline: expected an invertible matrix \(4, 4\)"),
        ({"label_to_baseline": np.zeros((4, 4)).tolist()}, "expected an invertible matrix"),
        ({"label_to_baseline": "missing.json"}, "missing.json: expected a JSON file"),
        ({"label_to_baseline": "missing.tfm"}, "missing.tfm: expected an ITK transform file"),
    ],
)
def test_a_case_that_cannot_be_used_is_refused_by_number(folder, change, message):
    with pytest.raises(InputError, match=message):
        read_datalist([{**entry(folder), **change}])


def test_a_deformable_transform_is_refused(folder):
    warp = sitk.DisplacementFieldTransform(sitk.Image([4, 4, 4], sitk.sitkVectorFloat64))
    sitk.WriteTransform(warp, str(folder / "warp.h5"))
    with pytest.raises(InputError, match="expected a linear transform"):
        read_datalist([entry(folder, label_to_baseline=str(folder / "warp.h5"))])


@pytest.mark.parametrize("datalist", [[], {}, ["a.nii.gz"], [{"baseline": "a.nii.gz"}]])
def test_a_list_without_pairs_is_refused(datalist):
    with pytest.raises(InputError, match="datalist"):
        read_datalist(datalist)


def test_two_cases_of_one_name_are_refused(folder):
    with pytest.raises(InputError, match="got one twice"):
        read_datalist([entry(folder, name="one"), entry(folder, name="one")])


def test_a_list_that_is_no_json_is_refused(folder):
    (folder / "cases.json").write_text("[{")
    with pytest.raises(InputError, match=r"cases.json: expected a JSON file"):
        read_datalist(folder / "cases.json")
