# SPDX-License-Identifier: Apache-2.0
"""Scores of all real pairs together, and the refusal of weights that have seen a patient."""

import importlib
import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from monai_microchange._frames import image_from_array, transform_from_matrix
from monai_microchange.metrics import LesionCounts, score_lesions
from monai_microchange.networks.weights import file_sha256

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SPACING_MM = (1.0, 1.0, 1.0)


@pytest.fixture
def load_script(monkeypatch):
    """Import a script of `benchmarks/`, which is no package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def lesions(size_mm3, slots):
    """Mask of columns of voxels, one lesion a slot."""
    mask = np.zeros((20, 20, 30), dtype=bool)
    for slot in slots:
        mask[2 * (slot % 10), 2 * (slot // 10), :size_mm3] = True
    return mask


@pytest.fixture
def two_pairs(load_script):
    """Small lesions: one of two found, a false one, Dice 0.5. Larger ones: three of four found, none false, 6/7."""
    grid = load_script("truth_grid")
    small = score_lesions(lesions(5, [0, 9]), lesions(5, [0, 1]), spacing_mm=SPACING_MM)
    large = score_lesions(lesions(12, [0, 1, 2]), lesions(12, [0, 1, 2, 3]), spacing_mm=SPACING_MM)
    return [grid.PairScores(small, 1, 1, 0.2), grid.PairScores(large, 1, 2, 0.4)]


def test_pooling_on_paper(load_script, two_pairs):
    pooled = load_script("_real_scores").pool_scores(two_pairs)
    assert pooled.lesions == LesionCounts(n_reference=6, n_found=4, n_predicted=5, n_false=1)
    assert (pooled.lesions.sensitivity, pooled.lesions.precision) == (4 / 6, 4 / 5)
    assert pooled.lesions.f1 == pytest.approx(8 / 11)  # 2 found / (2 found + missed + false)
    assert pooled.mean_dice == pytest.approx((1 / 2 + 6 / 7) / 2)
    assert (pooled.n_direction_ok, pooled.n_direction) == (2, 3)
    sizes = [(b.lower_mm3, b.n_found, b.n_reference, b.n_false) for b in pooled.by_size]
    assert sizes == [(0, 1, 2, 1), (10, 3, 4, 0), (25, 0, 0, 0), (100, 0, 0, 0)]
    assert pooled.f1_interval[0] < pooled.lesions.f1 < pooled.f1_interval[1]


@pytest.mark.parametrize(
    ("kinds", "interval"),
    [
        ([(7, 0, 0), (3, 0, 0)], (1.0, 1.0)),
        ([(0, 7, 2)], (0.0, 0.0)),
        ([(5, 0, 0), (0, 5, 0)], (2 / 3, 2 / 3)),  # pairs are not drawn: each keeps its own five
        ([(2, 0, 0), (0, 0, 0)], (1.0, 1.0)),
    ],
)
def test_intervals_on_paper(load_script, kinds, interval):
    counts = [LesionCounts(hit + missed, hit, hit + false, false) for hit, missed, false in kinds]
    assert load_script("_real_scores").bootstrap_f1(counts) == pytest.approx(interval)


def test_interval_without_lesions(load_script):
    assert all(map(math.isnan, load_script("_real_scores").bootstrap_f1([LesionCounts()])))


def test_interval_agrees_with_lesions_drawn_one_by_one(load_script):
    pairs = [["found"] * 11 + ["missed"] * 6 + ["false"] * 4, ["found"] * 3 + ["missed"] * 10 + ["false"] * 8]
    rng = random.Random(5)
    f1 = []
    for _ in range(4000):
        drawn = [lesion for pair in pairs for lesion in rng.choices(pair, k=len(pair))]
        f1.append(2 * drawn.count("found") / (len(drawn) + drawn.count("found")))
    counts = [LesionCounts(p.count("found") + p.count("missed"), p.count("found"), 0, p.count("false")) for p in pairs]
    ours = load_script("_real_scores").bootstrap_f1(counts)
    # The 2.5th percentile of 2000 draws has a standard error of 0.06 standard deviations, here of 0.08.
    assert ours == pytest.approx(np.quantile(f1, [0.025, 0.975]), abs=0.03)
    assert ours == load_script("_real_scores").bootstrap_f1(counts)  # the seed is fixed


def test_figures_as_json(load_script, two_pairs):
    scores = load_script("_real_scores")
    both = two_pairs[0], scores.pool_scores(two_pairs)
    pair, pooled = (json.loads(json.dumps(scores.plain(one), allow_nan=False)) for one in both)
    assert (pair["registration_mm"], pair["lesions"]["by_size"][-1]["upper_mm3"]) == (0.2, None)
    assert pair["lesions"]["by_size"][-1]["f1"] is None  # there are none from 100 mm3
    assert pooled["lesions"]["f1"] == pytest.approx(8 / 11)
    assert len(pooled["f1_interval"]) == 2


def save_weights(path, *learnt, complete=True):
    """Weights that learnt from these files."""
    inputs = {f"scan {number}": file_sha256(file) for number, file in enumerate(learnt)}
    torch.save({"model": {}, "training": {"inputs": inputs, "inputs_complete": complete}}, path)
    return path


@pytest.fixture
def data(tmp_path):
    """Two patients, of whom both visits and the truth show one lesion that brightens, with a finished result each."""
    for number, patient in enumerate(("patient01", "patient19")):
        case, result = tmp_path / "data/ljubljana_longitudinal" / patient, tmp_path / "results" / patient
        for folder in (case, result / "mid", result / "transforms"):
            folder.mkdir(parents=True)
        lesion = np.zeros((9, 9, 9), dtype=np.uint8)
        lesion[2:5, 2:5, 2 + number : 5 + number] = 1
        scan = np.random.default_rng(number).normal(100, 1, lesion.shape).astype(np.float32)
        images = {"gt": lesion, "brainmask": np.ones_like(lesion), "study1_T1W": scan + 1}
        images |= {"study1_FLAIR": scan, "study2_FLAIR": scan + 9 * lesion}
        for name, values in images.items():
            sitk.WriteImage(image_from_array(values, np.eye(4)), str(case / f"{name}.nii.gz"))
        stays = transform_from_matrix(np.eye(4))
        for visit, name in ((1, "baseline"), (2, "followup")):
            sitk.WriteTransform(stays, str(case / f"study{visit}_FLAIR_to_common_space.txt"))
            sitk.WriteTransform(stays, str(result / f"transforms/{name}_to_mid.tfm"))
        sitk.WriteImage(image_from_array(lesion, np.eye(4)), str(result / "mid/change.nii.gz"))
    return tmp_path


def run(load_script, data, *arguments):
    """The script on results that are there; `make_results` says which weights they are of."""
    options = ["--data", str(data / "data"), "--results", str(data / "results"), "--no-run", *map(str, arguments)]
    return load_script("real_pairs").main(options)


def make_results(data, weights):
    for result in (data / "results").iterdir():
        record = {"seconds": {"read": 1.0}, "peak_memory_mb": 100, "bundle": {"weights_sha256": file_sha256(weights)}}
        (result / "result.json").write_text(json.dumps(record))


def test_scores_of_weights_that_held_the_patients_out(load_script, data, capsys):
    (data / "other.nii.gz").write_text("another scan")
    weights = save_weights(data / "fold.pt", data / "other.nii.gz")
    make_results(data, weights)
    assert run(load_script, data, "--weights", weights, "--json", data / "all.json") == 0
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert ["pooled", "microchange", "1.000", "1.000 [1.000–1.000]", "1.000", "1.000", "–", "2/2", "–"] in rows
    assert ["pooled", "0/0, 0 false", "0/0, 0 false", "2/2, 0 false", "0/0, 0 false"] in rows
    figures = json.loads((data / "all.json").read_text())
    assert figures["pooled"]["lesions"]["n_found"] == 2
    assert figures["pairs"]["patient19"]["weights_sha256"] == file_sha256(weights)
    assert figures["pairs"]["patient19"]["training_inputs_known"]


@pytest.mark.parametrize("name", ["study2_FLAIR", "study1_T1W", "gt"])
def test_a_patient_that_the_weights_learnt_from_is_refused(load_script, data, name, monkeypatch, capsys):
    weights = save_weights(data / "fold.pt", data / f"data/ljubljana_longitudinal/patient19/{name}.nii.gz")
    script = load_script("real_pairs")
    monkeypatch.setattr(script, "run_compare", lambda *_: pytest.fail("It must refuse before anything runs."))
    options = ["--data", str(data / "data"), "--weights", str(weights), "--allow-unknown-training"]
    assert script.main(options) == 2
    said = capsys.readouterr()
    assert f"patient19: expected weights that have not seen this patient, but {weights} learnt from {name}" in said.err
    assert said.out == ""


def test_each_patient_has_the_weights_of_its_fold(load_script, data, monkeypatch):
    folder = data / "data/ljubljana_longitudinal"
    folds = {
        "patient01": save_weights(data / "without=01.pt", folder / "patient19/study1_FLAIR.nii.gz"),
        "patient19": save_weights(data / "without=19.pt", folder / "patient01/study1_FLAIR.nii.gz"),
    }
    script, passed = load_script("real_pairs"), {}

    def pretend(case, result, options):
        passed[case.name] = options
        make_results(data, folds[case.name])

    monkeypatch.setattr(script, "run_compare", pretend)
    given = [f"--weights={patient}={path}" for patient, path in folds.items()]
    options = ["--data", str(data / "data"), "--results", str(data / "results"), *given, "--", "--device", "cpu"]
    assert script.main(options) == 0
    assert passed == {patient: ["--weights", str(path), "--device", "cpu"] for patient, path in folds.items()}


def test_weights_that_do_not_say_all_are_refused(load_script, data, capsys):
    weights = save_weights(data / "fold.pt", complete=False)
    make_results(data, weights)
    assert run(load_script, data, "--weights", weights) == 2
    assert "does not; give others, or say --allow-unknown-training" in capsys.readouterr().err
    assert run(load_script, data, "--weights", weights, "--allow-unknown-training") == 0
    assert "may be training-set scores: patient01, patient19" in capsys.readouterr().out


def test_results_of_other_weights_are_refused(load_script, data, capsys):
    make_results(data, save_weights(data / "seen.pt", data / "data/ljubljana_longitudinal/patient01/gt.nii.gz"))
    assert run(load_script, data, "--weights", save_weights(data / "fold.pt")) == 2
    assert "got one of other weights (SHA-256 " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (["a.pt", "b.pt"], "expected one file for patient01, got a.pt and b.pt"),
        (["patient01=a.pt"], "expected a file for patient19, got none; add patient19=FILE"),
        (["patient19=a.pt", "patient01=b.pt", "c.pt"], "expected one file for patient01, got b.pt and c.pt"),
        (["patient02=a.pt"], "patient02=a.pt: expected a file with trained weights, found none"),
    ],
)
def test_weights_that_are_not_clear(load_script, data, given, problem, capsys):
    assert run(load_script, data, *(f"--weights={one}" for one in given)) == 2
    assert problem in capsys.readouterr().err


def test_no_weights_behind_its_back(load_script, capsys):
    with pytest.raises(SystemExit, match="2"):
        load_script("real_pairs").main(["--data", "x", "--", "--weights", "a.pt"])
    assert "--weights belongs before `--`" in capsys.readouterr().err


def test_a_patient_who_is_not_there(load_script, data, capsys):
    assert run(load_script, data, "--patients", "patient77") == 2
    assert "patient77: expected the scans of a patient, found none" in capsys.readouterr().err
