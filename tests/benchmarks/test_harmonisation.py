# SPDX-License-Identifier: Apache-2.0
"""The judges of `benchmarks/harmonisation.py`, on pairs made up here."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Flipd

from monai_microchange.metrics import score_lesions
from monai_microchange.transforms import HarmonizeVisitsd, LesionRecipe, MidSpace, RandSimulateChanged

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SHAPE = (40, 44, 36)


class CubeBank:
    """A stand-in for the bank of lesions."""

    def draw(self, random, volume_mm3=None):
        return np.ones((3, 3, 3), bool)


@pytest.fixture
def load_script(monkeypatch):
    """Import a script of `benchmarks/`, which is no package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def make_pair(scale=1.0):
    """An aligned pair in a mid-space of 1 mm, as `Bundle.align` gives it, and where its lesion is."""
    draw = np.random.RandomState(0)
    anatomy = np.broadcast_to(np.array([1, 2, 6, 1, 3, 4])[np.arange(36) // 6], SHAPE)
    tissue = np.array([0.0, 100, 130, 125, 30, 110, 30])[anatomy]
    lesion = np.zeros(SHAPE, bool)
    lesion[20:26, 20:26, 0:5] = True
    scans = [tissue + draw.normal(0, 2, SHAPE), tissue + draw.normal(0, 2, SHAPE) + 60 * lesion]
    affine = torch.eye(4, dtype=torch.float64)
    parts = {"baseline": scans[0], "followup": scale * scans[1], "anatomy": anatomy, "brain": np.ones(SHAPE)}
    data = {
        key: MetaTensor(torch.from_numpy(np.ascontiguousarray(part, np.float32))[None], affine=affine)
        for key, part in parts.items()
    }
    return {**data, "mid_space": MidSpace(np.eye(4), SHAPE, np.eye(4), np.eye(4))}, lesion


def make_case(module, lesion):
    """Truth on the grid of mid-space."""
    nothing = np.zeros(SHAPE, np.float32)
    same = (np.eye(4), np.eye(4))
    return module.Case(lesion, np.ones(SHAPE, bool), (nothing, nothing), np.eye(4), same)


def test_subtraction_finds_a_plain_lesion(load_script):
    data, lesion = make_pair()
    scores = load_script("harmonisation").subtract(make_case(load_script("truth_grid"), lesion), data)
    assert scores.dice > 0.95
    assert scores.f1 == 1.0
    assert scores.auc > 0.99


def test_oracle_is_the_best_of_all_settings(load_script):
    """Against loops over the settings without smoothing, which are enough for a lesion this plain."""
    module = load_script("_subtraction")
    data, lesion = make_pair()
    difference = (data["followup"] - data["baseline"])[0].numpy()
    args = (make_case(load_script("truth_grid"), lesion), difference, np.ones(SHAPE, bool), np.eye(4), np.eye(4))
    size = np.abs(difference - np.median(difference))
    size /= 1.4826 * np.median(size)
    best = max(
        score_lesions(module.drop_small(size > t, v), lesion, spacing_mm=(1, 1, 1)).dice
        for t in module.THRESHOLDS
        for v in module.MIN_VOLUMES_MM3
    )
    assert module.subtraction_oracle(*args).dice >= best > 0.9


def test_auc_agrees_with_pairs(load_script):
    draw = np.random.RandomState(1)
    score, truth = draw.randint(0, 6, 60), draw.random(60) < 0.3
    wins = [(a > b) + 0.5 * (a == b) for a in score[truth] for b in score[~truth]]
    assert load_script("_subtraction").voxel_auc(score, truth) == pytest.approx(np.mean(wins))
    assert np.isnan(load_script("_subtraction").voxel_auc(score, np.zeros(60, bool)))


def test_small_components_are_dropped(load_script):
    mask = np.zeros((4, 4, 4), bool)
    mask[0, 0, :3] = mask[3, 3, 3] = True
    assert load_script("_subtraction").drop_small(mask, 2).sum() == 3


def test_each_treatment_takes_the_aligned_pair(load_script):
    module = load_script("harmonisation")
    data, lesion = make_pair(scale=7.0)
    for name, steps in module.TREATMENTS.items():
        treated = Compose(steps)(data)
        assert treated["mid_space"] is data["mid_space"], name
        # all leave the lesion brighter at follow-up, whatever the units
        change = [treated[visit][0].numpy() for visit in ("baseline", "followup")]
        rise = [part[lesion].mean() - part[24:30, 28:34, 0:5].mean() for part in change]
        assert rise[1] > rise[0] + 0.5, name


def test_simulated_pairs_carry_matching_anatomy(load_script, monkeypatch):
    """The anatomy must turn with the scans: white matter stays the brightness that it is."""
    module = load_script("harmonisation")
    anatomy = torch.ones(1, 32, 32, 32)
    anatomy[:, :10] = 4
    scan = {"image": torch.where(anatomy == 1, 100.0, 10.0), "anatomy": anatomy, "brain": torch.ones_like(anatomy)}

    simulate = RandSimulateChanged("image", CubeBank(), recipe=LesionRecipe(), severity=0.0)
    flip = Flipd(["baseline", "followup", "brain", "label"], spatial_axis=[0, 1])
    draws = module.operating_point.Draws([scan], Compose([simulate, flip, HarmonizeVisitsd(["baseline", "followup"])]))
    monkeypatch.setattr(module.operating_point, "load", lambda root, weights: (None, draws))
    pairs = list(module.simulated_pairs(Path(), 2))
    assert [changes for _, changes in pairs] == [True, True, False]
    for data, _ in pairs:
        fluid, white = (float(data["baseline"][torch.as_tensor(data["anatomy"]) == label].median()) for label in (4, 1))
        assert fluid < 0.5 * white


def test_table_has_a_row_a_treatment(load_script):
    text = load_script("harmonisation").table({"none": {"a": "1", "b": "2"}, "N4": {"a": "3"}})
    lines = text.splitlines()
    assert lines[0].split("|")[1:4] == [" treatment ", " a ", " b "]
    assert lines[3].split("|")[1:4] == [" N4        ", " 3 ", " – "]
    assert "oracle" in text


def test_script_says_why_it_skips(load_script, monkeypatch, capsys):
    monkeypatch.delenv("MICROCHANGE_DATA", raising=False)
    assert load_script("harmonisation").main([]) == 0
    assert "Skipped: neither --data nor MICROCHANGE_DATA" in capsys.readouterr().out


@pytest.mark.slow
def test_script_prints_a_table_of_a_real_pair(load_script, real_data, capsys):
    arguments = ["--data", str(real_data), "--patients", "patient19", "--treatments", "none", "--no-network"]
    assert load_script("harmonisation").main(arguments) == 0
    assert "| none      | 0." in capsys.readouterr().out
