# SPDX-License-Identifier: Apache-2.0
"""Datalists on disk: what is written is what is read, by section and fold."""

import json
import os
from dataclasses import fields

import numpy as np
import pytest
from monai.data import load_decathlon_datalist

from monai_microchange.data import InputError
from monai_microchange.data.datalist import LabelledPair, read_datalist, training_records
from monai_microchange.data.datalist_file import write_datalist
from monai_microchange.export import write_nifti


@pytest.fixture
def cases(tmp_path):
    """A labelled pair with everything, one with a mask of any change, and one that nobody judged."""
    label = tmp_path / "data" / "label.nii.gz"
    label.parent.mkdir()
    write_nifti(label, np.zeros((2, 2, 2), np.uint8), np.eye(4))
    place = np.eye(4)
    place[:3, 3] = 1.5, -2.0, 0.25
    scans = {visit: str(tmp_path / "data" / f"{visit}.nii.gz") for visit in ("baseline", "followup")}
    masks = {key: str(tmp_path / "data" / key) for key in ("brain_mask", "baseline_lesion", "followup_lesion")}
    full = LabelledPair(
        "full", **scans, **masks, label=str(label), label_to_baseline=place, ignore=str(label), patient="p", fold=2,
        interval_days=90,
    )  # fmt: skip
    unsigned = LabelledPair("unsigned", **scans, label=str(label), signed=False, patient="q", fold=0)
    plain = LabelledPair("plain", {"FLAIR": scans["baseline"]}, {"FLAIR": scans["followup"]}, patient="q", fold=0)
    return full, unsigned, plain


@pytest.fixture
def listed(cases, tmp_path):
    sections = {"training": cases[:1], "validation": cases[1:2], "unlabelled": cases[2:]}
    return write_datalist(tmp_path / "lists" / "list.json", sections, description="made up", seed=4)


def test_what_is_written_is_read_back(cases, listed, tmp_path):
    read = read_datalist(listed, labelled=False)
    for before, after in zip(cases, read, strict=True):
        for one in fields(LabelledPair):
            old, new = getattr(before, one.name), getattr(after, one.name)
            if one.name == "label_to_baseline":
                np.testing.assert_array_equal(old, new)
            else:
                assert str(new).replace("lists/../", "") == str(old), one.name
    content = json.loads(listed.read_text())
    assert (content["description"], content["seed"]) == ("made up", 4)
    assert [path.name for path in listed.parent.iterdir()] == ["list.json"]
    assert str(tmp_path) not in listed.read_text()


def test_paths_of_a_list_in_a_linked_folder_are_found(cases, tmp_path):
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "away")
    (case,) = read_datalist(write_datalist(tmp_path / "link" / "list.json", {"training": cases[:1]}))
    assert os.path.samefile(case.label, cases[0].label)


def test_sections_and_folds_choose(listed):
    def names(**choice):
        return [case.name for case in read_datalist(listed, **choice)]

    assert names() == ["full", "unsigned"]
    assert names(labelled=False) == ["full", "unsigned", "plain"]
    assert names(section="validation") == ["unsigned"]
    assert names(fold=2) == ["full"]
    assert names(exclude_fold=2, labelled=False) == ["unsigned", "plain"]


def test_monai_reads_the_list_as_well(listed):
    (entry,) = load_decathlon_datalist(str(listed), data_list_key="training")
    assert (entry["fold"], entry["patient"]) == (2, "p")


def test_records_hold_what_a_pipeline_reads(cases, listed):
    (record,) = training_records(listed)
    assert set(record) == {
        *("name", "baseline", "followup", "brain_mask", "baseline_lesion", "followup_lesion"),
        *("label_file", "label_signed", "label_to_baseline", "label_ignore"),
    }
    assert record["label_to_baseline"] == cases[0].label_to_baseline.tolist()
    (plain,) = training_records(listed, section="unlabelled", labelled=False)
    assert set(plain) == {"name", "baseline", "followup"}


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"section": "unlabelled"}, "unlabelled 1: expected baseline, followup, label, got"),
        ({"section": "test"}, "expected the section test, got training, validation, unlabelled"),
        ({"section": "rest"}, "expected a section among training, validation, test, unlabelled, got rest"),
        ({"fold": 7}, "fold 7 without None, got none of the 3 that it lists"),
    ],
)
def test_an_empty_choice_is_refused(listed, choice, message):
    with pytest.raises(InputError, match=message):
        read_datalist(listed, **choice)


@pytest.mark.parametrize("choice", [{"section": "validation"}, {"section": "validation", "labelled": False}])
def test_a_plain_list_is_all_training(cases, choice):
    entry = {"baseline": "a", "followup": "b", "label": cases[0].label}
    assert len(training_records([entry])) == 1
    with pytest.raises(InputError, match="expected the section validation, got training; choose one"):
        training_records([entry], **choice)


def test_records_of_a_section_that_is_missing_are_refused(cases):
    entry = {"baseline": "a", "followup": "b", "label": cases[0].label}
    with pytest.raises(InputError, match="expected the section training, got validation; choose one"):
        training_records({"validation": [entry]})


@pytest.mark.parametrize("folds", [(0, 1), (0, None)])
@pytest.mark.parametrize("choice", [{"fold": 0}, {"exclude_fold": 1}])
def test_a_patient_in_two_folds_is_refused(cases, folds, choice):
    entry = {"baseline": "a", "followup": "b", "label": cases[0].label}
    listed = [{**entry, "name": f"{n}", "patient": "p", "fold": fold} for n, fold in enumerate(folds)]
    assert len(read_datalist(listed)) == 2
    with pytest.raises(InputError, match=f"expected each patient in one fold, got p in folds 0, {folds[1]}"):
        read_datalist(listed, **choice)
    elsewhere = {"training": listed[:1], "validation": listed[1:]}
    assert len(read_datalist(elsewhere, section="training", fold=0)) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fold": "2"}, "training 1: expected fold to be a int, got '2'"),
        ({"fold": True}, "expected fold to be a int, got True"),
        ({"signed": "no"}, "expected signed to be a bool, got 'no'"),
        ({"patient": 7}, "expected patient to be a str, got 7"),
        ({"ignore": "missing.nii.gz"}, "missing.nii.gz: expected a change map, but there is none"),
    ],
)
def test_an_entry_of_the_wrong_kind_is_refused(cases, change, message):
    entry = {"baseline": "a", "followup": "b", "label": cases[0].label, **change}
    with pytest.raises(InputError, match=message):
        read_datalist({"training": [entry]})


def test_nothing_is_replaced_unasked(cases, tmp_path):
    path = tmp_path / "list.json"
    path.write_text("kept")
    with pytest.raises(InputError, match="got one that exists"):
        write_datalist(path, {"training": cases})
    assert path.read_text() == "kept"
    write_datalist(path, {"training": cases[:1]}, overwrite=True)
    assert len(read_datalist(path)) == 1
    with pytest.raises(InputError, match="expected a file name, got a folder"):
        write_datalist(tmp_path, {"training": cases})
    with pytest.raises(ValueError, match=r"expected sections among .* got train"):
        write_datalist(tmp_path / "other.json", {"train": cases})
