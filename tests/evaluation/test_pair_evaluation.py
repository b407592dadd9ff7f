# SPDX-License-Identifier: Apache-2.0
"""Scores of labelled pairs, with a workflow that only pretends to compare."""

import csv
import json

import numpy as np
import pytest
import torch

from monai_microchange.data import InputError
from monai_microchange.data.datalist import LabelledPair
from monai_microchange.enums import ChangeType
from monai_microchange.evaluation import PairEvaluation
from monai_microchange.export import write_nifti
from monai_microchange.networks.weights import file_sha256

CLASSES = ["any", "gain", "loss", "new", "enlarging", "shrinking", "resolved"]


def by_change(rows):
    return {row["change"]: row for row in rows}


def test_each_kind_of_change_is_scored_apart(truth, listed, a_result, pretender, tmp_path):
    """The new lesion is found, but called enlarging; the resolved one is missed: Dice of any 2 * 8 / (8 + 35)."""
    found = np.where(truth == ChangeType.NEW, ChangeType.ENLARGING, 0).astype(np.uint8)
    rows = PairEvaluation(pretender(a_result(found))).run([listed(truth)], tmp_path / "out")
    assert [(row["case"], row["change"]) for row in rows] == [("one", change) for change in CLASSES]
    of = by_change(rows)
    assert of["any"]["dice"] == pytest.approx(16 / 43)
    assert (of["any"]["sensitivity"], of["any"]["precision"], of["any"]["n_reference"]) == (0.5, 1.0, 2)
    assert of["any"]["volume_ratio"] == pytest.approx(8 / 35)
    assert of["any"]["direction_accuracy"] == 1.0
    assert (of["gain"]["dice"], of["gain"]["f1"], of["gain"]["surface_mm"]) == (1.0, 1.0, 0.0)
    assert (of["loss"]["dice"], of["loss"]["sensitivity"], of["loss"]["n_predicted"]) == (0.0, 0.0, 0)
    assert np.isnan(of["loss"]["precision"])
    assert (of["new"]["f1"], of["enlarging"]["n_false"], of["resolved"]["n_reference"]) == (0.0, 1, 1)
    assert np.isnan(of["shrinking"]["f1"])


def test_a_gain_called_loss_has_the_wrong_direction_in_its_class_too(truth, listed, a_result, pretender, tmp_path):
    found = np.where(truth == ChangeType.NEW, ChangeType.RESOLVED, truth).astype(np.uint8)
    of = by_change(PairEvaluation(pretender(a_result(found))).run([listed(truth)], tmp_path / "out"))
    assert [of[change]["direction_accuracy"] for change in ("any", "gain", "loss")] == [0.5, 0.0, 1.0]


def test_a_case_that_is_refused_does_not_lose_the_others(truth, listed, a_result, tmp_path):
    class Refuses:
        def run(self, pair, output_dir, **options):
            if output_dir.name == "two":
                raise InputError("two: expected a scan, got none")
            return a_result(truth)

    cases = [listed(truth), {**listed(truth), "name": "two"}]
    with pytest.raises(InputError, match="1 of 2 cases have no score, the others are written: two: two: expected a"):
        PairEvaluation(Refuses()).run(cases, tmp_path / "out")
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert {row["case"] for row in scores["cases"]} == {"one"}
    assert scores["refused"] == {"two": "two: expected a scan, got none"}


def test_volumes_are_those_of_the_labels_grid(truth, listed, a_result, pretender, tmp_path):
    """Voxels of 0.25 mm3: the new lesion measures 2 mm3, too little to count."""
    affine = np.diag([0.5, 0.5, 1.0, 1.0])
    workflow = pretender(a_result(truth, affine=affine))
    either = PairEvaluation(workflow).run([listed(truth, affine=affine)], tmp_path / "out")[0]
    assert (either["n_reference"], either["n_found"], either["dice"]) == (1, 1, 1.0)


def test_an_unsigned_label_has_one_row_and_no_direction(truth, listed, a_result, pretender, tmp_path):
    mask = (truth > 0).astype(np.uint8)
    rows = PairEvaluation(pretender(a_result(truth))).run([listed(mask, signed=False)], tmp_path / "out")
    assert [row["change"] for row in rows] == ["any"]
    assert rows[0]["f1"] == 1.0
    assert np.isnan(rows[0]["direction_accuracy"])


def test_what_nobody_judged_counts_on_neither_side(truth, listed, a_result, pretender, tmp_path):
    """The resolved lesion is missed and a false one is reported, both where nobody judged."""
    found, unjudged = np.where(truth == ChangeType.NEW, truth, 0).astype(np.uint8), np.zeros_like(truth)
    found[10:, 10:, 10:], unjudged[5:, 5:, 5:] = ChangeType.NEW, 1
    write_nifti(tmp_path / "ignore.nii.gz", unjudged, np.eye(4))
    cases = [listed(truth, ignore=str(tmp_path / "ignore.nii.gz"))]
    either = PairEvaluation(pretender(a_result(found))).run(cases, tmp_path / "out")[0]
    assert (either["n_reference"], either["n_predicted"], either["dice"]) == (1, 1, 1.0)


def test_files_hold_the_rows_pooled_and_averaged(truth, listed, a_result, pretender, tmp_path, capsys):
    """Both lesions found in the first case; a false one in the second, in which nothing changed."""
    false = np.zeros_like(truth)
    false[:3, :3, :3] = ChangeType.NEW
    cases = [listed(truth, "one"), listed(np.zeros_like(truth), "none", brain_mask="mask")]
    workflow = pretender(a_result(truth, confidence=[0.9, 0.6]), a_result(false, confidence=[0.7]))
    rows = PairEvaluation(workflow).run(cases, tmp_path / "out", overwrite=True)
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert len(scores["cases"]) == len(rows) == 14
    assert scores["cases"][0]["false_lesions"] is None
    assert (scores["cases"][7]["false_lesions"], scores["cases"][7]["false_mm3"]) == (1, 27)
    pooled, mean = by_change(scores["pooled"]), by_change(scores["mean"])
    assert (pooled["any"]["n_cases"], pooled["any"]["n_no_change"], pooled["any"]["precision"]) == (2, 1, 2 / 3)
    assert (pooled["any"]["false_lesions"], mean["any"]["f1"], mean["loss"]["f1"]) == (1, 0.5, 1.0)
    sizes = [row for row in scores["pooled_by_size"] if row["change"] == "any"]
    assert [(row["size"], row["n_found"], row["n_false"]) for row in sizes] == [
        ("<10", 1, 0),
        ("10-25", 0, 0),
        ("25-100", 1, 1),
        (">=100", 0, 0),
    ]
    ranked = by_change(scores["confidence"])["any"]
    assert ranked["average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    assert (ranked["sensitivity_at_0.5_false"], ranked["n_predicted"]) == (1.0, 3)
    assert ranked["brier"] == pytest.approx((0.1**2 + 0.4**2 + 0.7**2) / 3)
    with open(tmp_path / "out" / "scores.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [line["case"] for line in table] == ["one"] * 7 + ["none"] * 7
    assert (table[0]["dice"], table[0]["false_lesions"]) == ("1.0", "")
    for name in ("pooled.csv", "scores_by_size.csv", "confidence.csv", "reliability.csv", "mean.csv"):
        assert (tmp_path / "out" / name).is_file()
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 120
    assert "…" not in printed  # no column is cut
    assert "Pairs without any change" in printed
    assert [(asked[1].name, asked[2]) for asked in workflow.asked] == [("one", True), ("none", True)]
    assert [asked[0]["brain_mask"] for asked in workflow.asked] == [None, "mask"]


def test_a_section_and_a_fold_are_chosen(truth, listed, a_result, pretender, tmp_path):
    datalist = {
        "training": [listed(truth, "seen", fold=0)],
        "validation": [listed(truth, "kept", fold=0), listed(truth, "other", fold=1)],
    }
    rows = PairEvaluation(pretender(a_result(truth))).run(datalist, tmp_path / "out", section="validation", fold=0)
    assert {row["case"] for row in rows} == {"kept"}


@pytest.fixture
def trained(tmp_path):
    """Entries for two pairs of files, and weights that learnt from the follow-up of the first."""
    for name in ("a1", "a2", "b1", "b2"):
        (tmp_path / name).write_text(name)
    record = {"inputs": {"somewhere/else": file_sha256(tmp_path / "a2")}, "inputs_complete": True}
    torch.save({"model": {}, "training": record}, tmp_path / "model.pt")
    scans = [{"baseline": str(tmp_path / f"{c}1"), "followup": str(tmp_path / f"{c}2")} for c in "ab"]
    return scans, tmp_path / "model.pt"


def test_a_case_that_was_trained_on_is_refused(truth, listed, a_result, pretender, trained, tmp_path):
    (seen, unseen), weights = trained
    workflow = pretender(a_result(truth), a_result(truth))
    evaluation = PairEvaluation(workflow, weights=weights)
    with pytest.raises(InputError, match=r"^seen: expected scans that the weights have not seen"):
        evaluation.run([listed(truth, "seen") | seen, listed(truth, "unseen") | unseen], tmp_path / "out")
    assert workflow.asked == []
    rows = evaluation.run([listed(truth, "unseen") | unseen], tmp_path / "out")
    assert not any(row["trained_on"] for row in rows)


def test_training_scores_are_labelled_as_such(truth, listed, a_result, pretender, trained, tmp_path, capsys):
    (seen, unseen), weights = trained
    evaluation = PairEvaluation(pretender(a_result(truth), a_result(truth)), weights=weights, allow_trained_on=True)
    evaluation.run([listed(truth, "seen") | seen, listed(truth, "unseen") | unseen], tmp_path / "out")
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["trained_on"] == ["seen"]
    assert scores["training_inputs_known"]
    assert {row["case"] for row in scores["cases"] if row["trained_on"]} == {"seen"}
    assert all(row["trained_on"] for row in scores["pooled"])
    assert "TRAINING-SET SCORES: the weights learnt from these scans: seen" in capsys.readouterr().out


def test_weights_that_do_not_tell_are_reported(truth, listed, a_result, pretender, tmp_path, capsys):
    torch.save({}, tmp_path / "model.pt")
    PairEvaluation(pretender(a_result(truth)), weights=tmp_path / "model.pt").run([listed(truth)], tmp_path / "out")
    assert not json.loads((tmp_path / "out" / "scores.json").read_text())["training_inputs_known"]
    assert "do not say all that they learnt from" in capsys.readouterr().out


def test_what_cannot_be_scored_is_refused_before_any_work(truth, listed, a_result, pretender, tmp_path):
    workflow = pretender(a_result(truth))
    with pytest.raises(InputError, match="got the value 9"):
        PairEvaluation(workflow).run([listed(truth), listed(np.full_like(truth, 9), "bad")], tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "scores.json").write_text("{}")
    with pytest.raises(InputError, match="got one that holds scores"):
        PairEvaluation(workflow).run([listed(truth)], tmp_path / "out")
    assert workflow.asked == []


def test_a_case_may_be_scored_by_itself(truth, listed, a_result, pretender):
    entry = listed(truth)
    case = LabelledPair(name="one", baseline="a", followup="b", label=entry["label"])
    scores = PairEvaluation(pretender(), min_volume_mm3=10.0).score(case, a_result(truth))
    assert list(scores) == CLASSES
    assert (scores["any"].counts.n_reference, scores["any"].figures()["f1"]) == (1, 1.0)
