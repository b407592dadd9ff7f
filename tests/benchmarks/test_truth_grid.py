# SPDX-License-Identifier: Apache-2.0
"""Scoring of result folders, and the tables of the benchmark script, without running the comparison."""

import importlib.util
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from monai_microchange._frames import affine_from_image, array_from_image, image_from_array, transform_from_matrix

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture
def load_script(monkeypatch):
    """Import a script of `benchmarks/`, which is no package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def shift(*mm):
    matrix = np.eye(4)
    matrix[:3, 3] = mm
    return matrix


def write_result(folder, change, affine, mid_to_baseline, mid_to_followup):
    """The part of a result folder that scores look at."""
    for name in ("mid", "transforms"):
        (folder / name).mkdir(parents=True)
    sitk.WriteImage(image_from_array(change, affine), str(folder / "mid/change.nii.gz"))
    for visit, matrix in (("baseline", mid_to_baseline), ("followup", mid_to_followup)):
        sitk.WriteTransform(transform_from_matrix(matrix), str(folder / f"transforms/{visit}_to_mid.tfm"))
    return folder


def write_case(folder):
    """A patient whose scans lie 3 mm (baseline) and 7 mm (follow-up) right of the truth's grid.

    Truth: a cube of 27 that brightens, one of 8 that darkens. The rest is noise with a standard deviation of 1.
    """
    folder.mkdir()
    truth = np.zeros((20, 20, 20), dtype=np.uint8)
    truth[3:6, 3:6, 3:6] = truth[12:14, 12:14, 12:14] = 1
    noise = np.random.default_rng(0).normal(100, 1, truth.shape)
    followup = noise.copy()
    followup[3:6, 3:6, 3:6] += 5
    followup[12:14, 12:14, 12:14] -= 5
    sitk.WriteImage(image_from_array(truth, LPS), str(folder / "gt.nii.gz"))
    sitk.WriteImage(image_from_array(np.ones_like(truth), LPS), str(folder / "brainmask.nii.gz"))
    for visit, scan, moved in ((1, noise, 3.0), (2, followup, 7.0)):
        affine = shift(moved, 0, 0) @ LPS
        sitk.WriteImage(image_from_array(scan.astype(np.float32), affine), str(folder / f"study{visit}_FLAIR.nii.gz"))
        to_scan = transform_from_matrix(shift(moved, 0, 0))
        sitk.WriteTransform(to_scan, str(folder / f"study{visit}_FLAIR_to_common_space.txt"))
    return folder


@pytest.fixture
def small(tmp_path):
    """Mid-space half-way between the scans, 5 mm right; one lesion found with the right sign, one with the wrong."""
    change = np.zeros((20, 20, 20), dtype=np.uint8)
    change[3:6, 3:6, 3:6] = 1
    change[12:14, 12:14, 12:15] = 2  # 12 for 8 voxels, and gain for loss
    change[17:20, 0, 0] = 4
    case = write_case(tmp_path / "case")
    # The registration is 0.5 mm off along z.
    return case, write_result(tmp_path / "result", change, shift(5, 0, 0) @ LPS, shift(-2, 0, 0), shift(2, 0, 0.5))


def test_case_on_paper(load_script, small):
    module = load_script("truth_grid")
    scores = module.score_result(module.load_case(small[0]), small[1])
    assert (scores.lesions.n_found, scores.lesions.n_reference, scores.lesions.n_predicted) == (2, 2, 3)
    assert scores.lesions.dice == 2 * (27 + 8) / (35 + 42)
    assert (scores.n_direction_ok, scores.n_direction) == (1, 2)
    assert scores.registration_mm == pytest.approx(0.5)


def test_tables(load_script, small):
    grid, script = load_script("truth_grid"), load_script("real_pairs")
    scores = {"patient01": grid.score_result(grid.load_case(small[0]), small[1])}
    pooled = load_script("_real_scores").pool_scores(list(scores.values()))
    table = script.score_table(scores, pooled)
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    assert lines[2] == ["patient01", "microchange", "0.909", "0.800", "1.000", "0.667", "1.20", "1/2", "0.50"]
    assert lines[3][:4] == ["patient01", "subtraction oracle", "0.658", "0.182"]
    # Of two found and a false one, any may be drawn three times: F1 from 0 to 1.
    assert lines[4] == ["pooled", "microchange", "0.909", "0.800 [0.000–1.000]", "1.000", "0.667", "–", "1/2", "–"]
    assert "| 1/1, 1 false" in script.size_table(scores, pooled)

    seconds = {"A": {"seconds": {"read": 1.0, "register": 2.5}, "peak_memory_mb": 812.4}}
    assert script.stage_table(seconds).splitlines()[-2:] == ["| total           | 3.5 |", "| peak memory, MB | 812 |"]


def test_script_draws_a_result(load_script, small, tmp_path):
    pytest.importorskip("matplotlib", reason="Pictures need matplotlib.")
    case, result = small
    for name in ("baseline", "followup", "assessed"):
        shutil.copy(case / "brainmask.nii.gz", result / "mid" / f"{name}.nii.gz")
    load_script("real_pairs").draw_result(tmp_path / "pair.png", result, title="A title")
    assert (tmp_path / "pair.png").read_bytes().startswith(b"\x89PNG")


def test_script_does_not_score_without_results(load_script, capsys):
    with pytest.raises(SystemExit, match="2"):
        load_script("real_pairs").main(["--data", "x", "--no-run"])
    assert "--no-run needs --results" in capsys.readouterr().err


def test_script_passes_a_failure_on(load_script, tmp_path):
    with pytest.raises(SystemExit, match="compare failed on nobody with code"):
        load_script("real_pairs").run_compare(tmp_path / "nobody", tmp_path / "result")


def test_script_says_why_it_skips(load_script, monkeypatch, capsys):
    monkeypatch.delenv("MICROCHANGE_DATA", raising=False)
    assert load_script("real_pairs").main([]) == 0
    assert "Skipped: neither --data nor MICROCHANGE_DATA" in capsys.readouterr().out


@pytest.mark.real
def test_agrees_with_the_independent_scorer(load_script, tmp_path):
    root = os.environ.get("MICROCHANGE_DATA")
    if not root:
        pytest.skip("MICROCHANGE_DATA does not name the folder of real scans.")
    if not (Path(root).parent / "score_pair.py").exists():
        pytest.skip(f"The independent scorer score_pair.py is not beside {root}.")
    spec = importlib.util.spec_from_file_location("score_pair", Path(root).parent / "score_pair.py")
    foreign = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(foreign)

    module = load_script("truth_grid")
    folder = Path(root) / "ljubljana_longitudinal" / "patient19"
    case = module.load_case(folder)
    image = sitk.ReadImage(str(folder / "gt.nii.gz"))
    # Mid-space is the truth's grid, registered 1.2 mm apart; the change is the truth, moved, its types by position.
    position = np.indices(case.truth.shape).sum(axis=0) // 40 % 4 + 1
    change = np.roll(array_from_image(image) > 0, (2, 1, 0), axis=(0, 1, 2)) * position
    baseline, followup = case.common_to_scan
    result = write_result(
        tmp_path / "result", change.astype(np.uint8), affine_from_image(image), baseline, followup @ shift(1.2, 0, 0)
    )
    ours, theirs = module.score_result(case, result), foreign.score(str(folder), str(result))
    for name, key in [("dice", "dice"), ("f1", "f1"), ("sensitivity", "sens"), ("precision", "prec")]:
        assert round(getattr(ours.lesions, name), 3) == theirs[key]
    assert round(ours.lesions.volume_ratio, 2) == theirs["volume_ratio"]
    assert f"{ours.n_direction_ok}/{ours.n_direction}" == theirs["direction_ok"]
    assert ours.registration_mm == pytest.approx(theirs["registration_mm"], abs=0.01)  # theirs takes 1000 points
