# SPDX-License-Identifier: Apache-2.0
"""What speaks against an alignment: two heads, mirror images, too little in common."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor

from monai_microchange._frames import apply_affine
from monai_microchange.transforms import register_pair
from monai_microchange.transforms.registration import LinearRegistration, judge_pair

from .conftest import GRIDS, Grid, rigid, scan_head

MOTION = rigid((4.0, -3.0, 6.0), (5.0, -8.0, 3.0))
HERE, THERE = (Grid((2.5, 2.5, 2.5), (56, 60, 56), degrees) for degrees in ((0.0, 0.0, 0.0), (6.0, 4.0, -5.0)))


def folds_at(points, seed):
    """Brightness (n,) at points (n, 3), RAS mm, of a head of 120 mm: one outline, other folds for each seed."""
    draw = np.random.RandomState(seed)
    waves, phases = draw.normal(0, 1, (40, 3)) / 3.5, draw.uniform(0, 2 * np.pi, 40)
    inside = 1 / (1 + np.exp((np.linalg.norm(points / [55.0, 62.0, 58.0], axis=1) - 1) * 40))
    return inside * (100 + 12 * np.cos(points @ waves.T + phases).sum(axis=1))


def scan(grid, pose=None, *, seed=0, curve=lambda x: x):
    """Scan (1, I, J, K) of the head in a pose, with some noise."""
    points = grid.points() if pose is None else apply_affine(np.linalg.inv(pose), grid.points())
    values = curve(folds_at(points, seed)) + np.random.RandomState(seed + 9).normal(0, 3, len(points))
    return MetaTensor(
        torch.from_numpy(values.reshape(1, *grid.shape).astype(np.float32)), affine=torch.from_numpy(grid.affine)
    )


@pytest.fixture(scope="module")
def baseline():
    return scan(HERE)


@pytest.fixture(scope="module")
def found(baseline):
    return register_pair(baseline, scan(THERE, MOTION))


def test_one_head_is_settled(found):
    assert found.settled_share > 0.95
    assert not found.mirrored
    assert found.doubts() == ()


def test_one_head_in_another_contrast_is_settled(baseline):
    """Dark and bright both become dark: no line leads from one grey value to the other."""
    other = register_pair(baseline, scan(THERE, MOTION, curve=lambda x: 120 - np.abs(x - 90)))
    assert other.settled_share > 0.9
    assert other.doubts() == ()


def test_two_heads_of_one_shape_are_doubted(baseline):
    other = register_pair(baseline, scan(THERE, MOTION, seed=1))
    assert other.settled_share < 0.5
    assert "are of two patients" in other.doubts()[0]
    assert other.doubts(min_settled=0.0) == ()


def test_a_mirror_image_is_told(baseline):
    other = register_pair(baseline, scan(THERE, MOTION @ np.diag([-1.0, 1, 1, 1])))
    assert other.mirrored
    assert "fit better when one of them is mirrored" in other.doubts()[0]


def test_exchange_changes_no_doubt(baseline, found):
    swapped = register_pair(scan(THERE, MOTION), baseline)
    assert swapped.settled_share == pytest.approx(found.settled_share, abs=1e-3)
    assert swapped.overlap == pytest.approx(found.overlap, abs=1e-3)


def test_a_shift_unsettles(baseline):
    """A transform from elsewhere, right and 5 mm off."""
    followup = scan(THERE, MOTION)
    right, wrong = (judge_pair(baseline, followup, rigid((0, 0, 0), (x, 0, 0)) @ MOTION) for x in (0.0, 5.0))
    assert right.settled_share > 0.95 > 0.5 > wrong.settled_share
    assert wrong.disagreement_mm == pytest.approx(5.0, abs=0.7)


def cut(scan, part):
    """Slices of a scan."""
    kept = MetaTensor(scan.as_tensor()[..., part].clone(), affine=scan.affine.clone())
    kept.affine[:3, 3] += kept.affine[:3, 2] * (part.start or 0)
    return kept


def test_half_a_head_against_a_whole_one_passes(baseline):
    half = register_pair(cut(baseline, slice(28, None)), scan(THERE, MOTION))
    assert half.doubts() == ()
    assert half.overlap > 0.9


@pytest.mark.parametrize(("shared", "passes"), [(14, True), (8, False)])
def test_overlap_is_that_of_the_fields_of_view(baseline, shared, passes):
    """Slabs of 20 slices from the middle of the head share some; the transform is given."""
    first, second = slice(28 - 20 + shared // 2, 28 + shared // 2), slice(28 - shared // 2, 28 - shared // 2 + 20)
    judged = judge_pair(cut(baseline, first), cut(baseline, second), np.eye(4))
    assert judged.overlap == pytest.approx(shared / 20, abs=0.08)
    assert any("overlap" in doubt for doubt in judged.doubts()) is not passes


def test_directions_that_disagree_are_doubted(found):
    assert "both directions" in replace(found, inverse_consistency_mm=3.0).doubts()[0]


def test_judging_a_found_transform_finds_the_same(baseline, found):
    again = judge_pair(baseline, scan(THERE, MOTION), found.baseline_to_followup)
    assert isinstance(again, LinearRegistration)
    assert again.settled_share == pytest.approx(found.settled_share, abs=1e-3)
    assert again.correlation == pytest.approx(found.correlation, abs=1e-4)


def register_small(degrees):
    """Runs in a worker of a data loader."""
    pose = rigid((degrees, 0, 0), (1, 2, 3))
    return register_pair(scan_head(GRIDS["isotropic"]), scan_head(GRIDS["oblique"], pose)).baseline_to_followup


def test_workers_find_what_one_process_finds():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    alone = [register_small(degrees) for degrees in (2.0, 5.0)]
    assert torch.equal(torch.get_rng_state(), before)
    loader = DataLoader(Dataset([2.0, 5.0], register_small), batch_size=2, num_workers=2)
    np.testing.assert_allclose(next(iter(loader)).numpy(), np.stack(alone), atol=1e-6)
