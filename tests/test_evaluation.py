# SPDX-License-Identifier: Apache-2.0
"""Scores of labelled pairs, with a workflow that only pretends to compare."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_microchange.data import InputError
from monai_microchange.data.datalist import LabelledPair
from monai_microchange.enums import ChangeType
from monai_microchange.evaluation import PairEvaluation, change_on_label
from monai_microchange.export import write_nifti

SHIFT = np.array([[1.0, 0.0, 0.0, 2.0], [0.0, 1.0, 0.0, -1.0], [0.0, 0.0, 1.0, 3.0], [0.0, 0.0, 0.0, 1.0]])
LABEL_AFFINE = np.array([[0.0, -1.0, 0.0, 20.0], [2.0, 0.0, 0.0, -4.0], [0.0, 0.0, 1.0, 5.0], [0.0, 0.0, 0.0, 1.0]])


def shifted(x, y, z):
    matrix = np.eye(4)
    matrix[:3, 3] = x, y, z
    return matrix


def a_result(change, *, mid_to_baseline=None, affine=None):
    """What of a `ChangeResult` scores are made from."""
    place = np.eye(4) if mid_to_baseline is None else mid_to_baseline
    image = MetaTensor(torch.from_numpy(change)[None], affine=np.eye(4) if affine is None else affine)
    return SimpleNamespace(change=image, space=SimpleNamespace(mid_to={"baseline": place}.__getitem__))


class Pretender:
    """A workflow whose results are known before, and which remembers what it was asked."""

    def __init__(self, *results):
        self.results = list(results)
        self.asked = []

    def run(self, pair, output_dir, *, overwrite=False):
        self.asked.append((pair, output_dir, overwrite))
        return self.results[len(self.asked) - 1]


@pytest.fixture
def truth():
    """A new lesion of 8 voxels, a resolved one of 27."""
    label = np.zeros((12, 12, 12), np.uint8)
    label[1:3, 1:3, 1:3] = ChangeType.NEW
    label[6:9, 6:9, 6:9] = ChangeType.RESOLVED
    return label


def listed(folder, label, name="one", **more):
    write_nifti(folder / f"{name}.nii.gz", label, np.eye(4))
    return {"name": name, "baseline": "a", "followup": "b", "label": str(folder / f"{name}.nii.gz"), **more}


def test_change_lands_on_the_label_through_both_transforms():
    """By hand: voxel (3, 5, 2) of the label lies at (15, 2, 7), SHIFT leads to (17, 1, 10) in the baseline, and the
    inverse of `mid_to_baseline` from there to (16, 3, 10) in mid-space."""
    change = np.zeros((20, 20, 20), np.uint8)
    change[16, 3, 10] = ChangeType.ENLARGING
    label = MetaTensor(torch.zeros(1, 8, 10, 6), affine=LABEL_AFFINE)
    found = change_on_label(a_result(change, mid_to_baseline=shifted(1, -2, 0)), label, SHIFT)
    assert np.argwhere(found).tolist() == [[3, 5, 2]]
    assert found[3, 5, 2] == ChangeType.ENLARGING


def test_nothing_changed_beyond_mid_space():
    label = MetaTensor(torch.zeros(1, 4, 4, 4), affine=shifted(100, 0, 0))
    assert not change_on_label(a_result(np.ones((4, 4, 4), np.uint8)), label, np.eye(4)).any()


def test_gain_and_loss_are_scored_apart(truth, tmp_path):
    """The new lesion is found, but called enlarging; the resolved one is missed: Dice of any 2 * 8 / (8 + 35)."""
    found = np.where(truth == ChangeType.NEW, ChangeType.ENLARGING, 0).astype(np.uint8)
    rows = PairEvaluation(Pretender(a_result(found))).run([listed(tmp_path, truth)], tmp_path / "out")
    assert [(row["case"], row["change"]) for row in rows] == [("one", "any"), ("one", "gain"), ("one", "loss")]
    either, gain, loss = rows
    assert either["dice"] == pytest.approx(16 / 43)
    assert (either["sensitivity"], either["precision"], either["n_reference"]) == (0.5, 1.0, 2)
    assert either["volume_ratio"] == pytest.approx(8 / 35)
    assert (gain["dice"], gain["f1"]) == (1.0, 1.0)
    assert (loss["dice"], loss["sensitivity"], loss["n_predicted"]) == (0.0, 0.0, 0)
    assert np.isnan(loss["precision"])


def test_volumes_are_those_of_the_labels_grid(truth, tmp_path):
    """Voxels of 0.25 mm3: the new lesion measures 2 mm3, too little to count."""
    case = listed(tmp_path, truth)
    write_nifti(tmp_path / "one.nii.gz", truth, np.diag([0.5, 0.5, 1.0, 1.0]))
    result = a_result(truth, affine=np.diag([0.5, 0.5, 1.0, 1.0]))
    either = PairEvaluation(Pretender(result)).run([case], tmp_path / "out")[0]
    assert (either["n_reference"], either["n_found"], either["dice"]) == (1, 1, 1.0)


def test_an_unsigned_label_has_one_row(truth, tmp_path):
    mask = (truth > 0).astype(np.uint8)
    rows = PairEvaluation(Pretender(a_result(truth))).run([listed(tmp_path, mask, signed=False)], tmp_path / "out")
    assert [row["change"] for row in rows] == ["any"]
    assert rows[0]["f1"] == 1.0


def test_files_hold_the_rows_and_their_means(truth, tmp_path, capsys):
    cases = [listed(tmp_path, truth, "one"), listed(tmp_path, np.zeros_like(truth), "none", brain_mask="mask")]
    workflow = Pretender(a_result(truth), a_result(np.zeros_like(truth)))
    rows = PairEvaluation(workflow).run(cases, tmp_path / "out", overwrite=True)
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert len(scores["cases"]) == len(rows) == 6
    assert scores["cases"][3] == {
        **rows[3],
        **dict.fromkeys(("dice", "f1", "sensitivity", "precision", "volume_ratio")),
    }
    # undefined figures of the case without change do not count
    assert [mean["dice"] for mean in scores["mean"]] == [1.0, 1.0, 1.0]
    with open(tmp_path / "out" / "scores.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [line["case"] for line in table] == ["one"] * 3 + ["none"] * 3
    assert (table[0]["dice"], table[3]["dice"]) == ("1.0", "")
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == [r["case"] for r in rows] + [
        "mean"
    ] * 3
    assert [(asked[1], asked[2]) for asked in workflow.asked] == [
        (tmp_path / "out" / name, True) for name in ("one", "none")
    ]
    assert [asked[0]["brain_mask"] for asked in workflow.asked] == [None, "mask"]


def test_what_cannot_be_scored_is_refused_before_any_work(truth, tmp_path):
    workflow = Pretender(a_result(truth))
    bad = listed(tmp_path, np.full_like(truth, 9), "bad")
    with pytest.raises(InputError, match="got the value 9"):
        PairEvaluation(workflow).run([listed(tmp_path, truth), bad], tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "scores.json").write_text("{}")
    with pytest.raises(InputError, match="got one that holds scores"):
        PairEvaluation(workflow).run([listed(tmp_path, truth)], tmp_path / "out")
    assert workflow.asked == []


def test_a_case_may_be_scored_by_itself(truth, tmp_path):
    write_nifti(tmp_path / "label.nii.gz", truth, np.eye(4))
    moved = a_result(np.roll(truth, 2, axis=0))
    case = LabelledPair("one", "a", "b", tmp_path / "label.nii.gz", label_to_baseline=shifted(2, 0, 0))
    assert all(row["dice"] == 1.0 for row in PairEvaluation(Pretender()).score(case, moved))
