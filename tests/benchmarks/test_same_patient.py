# SPDX-License-Identifier: Apache-2.0
"""Whether two scans are of one patient: the rule, its sentence, and one painted head."""

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from monai_microchange._frames import image_from_array

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """The script of `benchmarks/`, which is no package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("same_patient")


@pytest.fixture
def known(script):
    """One pair of each group whose answer is known, told rightly, and one question, far from alike."""
    shares = {script.ONE: 0.97, script.PREPARED: 0.91, script.TWO: 0.3, "asked": 0.22}
    return [script.Likeness(group, f"{group} pair", share, False, 0.5, 0.9, 0.3) for group, share in shares.items()]


def test_no_pair_is_alike(script, known):
    assert script.conclusion(known).endswith(
        "None of the 1 cross-sectional and longitudinal pairs is of one patient: at most 22% of the parts fit, against "
        "at least 91% where it is one patient."
    )


@pytest.mark.parametrize("found", [{"settled_share": 0.7}, {"mirrored": True}])
def test_a_pair_that_is_alike_is_named(script, known, found):
    assert "Taken for one patient: asked pair;" in script.conclusion([*known[:3], replace(known[3], **found)])


@pytest.mark.parametrize(("number", "share"), [(0, 0.6), (1, 0.6), (2, 0.8)])
def test_a_rule_that_errs_decides_nothing(script, known, number, share):
    known[number] = replace(known[number], settled_share=share)
    assert f"errs on pairs that are known ({known[number].pair})" in script.conclusion(known)


def test_brains_apart_decide_nothing(script, known):
    assert "not brought together (asked pair)" in script.conclusion([*known[:3], replace(known[3], brain_dice=0.66)])


def test_table_has_ranges(script, known):
    lines = script.table([*known, replace(known[3], settled_share=0.25)]).splitlines()
    cells = [cell.strip() for cell in lines[-1].split("|")[1:-1]]
    assert cells == ["asked", "2", "0.22 to 0.25", "0.50", "0.30", "0.90", "0/2"]


def head(script, seed):
    """A ball of 96 mm with a dark core of 24 mm and folds of its own, smooth noise."""
    axis = np.arange(48) - 23.5
    radius = 2 * np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    noise = np.random.default_rng(seed).normal(size=radius.shape).astype(np.float32)
    folds = sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(noise), 2.0))
    grey = (100 + 20 * folds / folds.std()) * np.where(radius < 12, 0.2, 1.0)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    brain, core = (image_from_array((radius < size).astype(np.uint8), affine) for size in (48, 12))
    return script.Scan(sitk.Mask(image_from_array(grey.astype(np.float32), affine), brain), brain, core)


def test_one_head_prepared_and_two_heads(script):
    grid = sitk.Image([150] * 3, sitk.sitkFloat32) + 1
    one = head(script, 1)
    same = script.measure("asked", "one head", script.prepare(one, grid), one)
    other = script.measure("asked", "two heads", head(script, 2), one)
    assert same.alike
    assert not other.alike
    assert same.correlation > other.correlation + 0.2  # not near 1: small folds are resampled
    assert (same.ventricle_dice > 0.8, same.brain_dice > 0.9) == (True, True)
