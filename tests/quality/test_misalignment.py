# SPDX-License-Identifier: Apache-2.0
"""Residual misalignment: known shifts come back, lesions and noise do not look like shifts."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from monai_microchange.quality import residual_misalignment

from .conftest import AFFINE, POINTS_MM, SHAPE, ball_at, ball_scan

DIRECTIONS = {"x": (1, 0, 0), "z": (0, 0, 1), "oblique": (0.6, -0.48, 0.64)}


def shifted(shift):
    """Scans half of the shift to either side, so that the shift is known at the points of the grid."""
    half = np.asarray(shift) / 2
    return ball_scan(lambda p: p + half, noise=1.5, seed=1), ball_scan(lambda p: p - half, noise=1.5, seed=2)


def errors(found, truth_ras, mask):
    """Length (n,) of what the estimate is off by; truth (n, 3) or (3,) in RAS mm, whose x and y the grid's oppose."""
    got = found.displacement_mm[:, mask[0]].numpy().T
    return np.linalg.norm(got - np.broadcast_to(truth_ras, got.shape) * np.sign(np.diag(AFFINE)[:3]), axis=1)


@pytest.mark.parametrize("size_mm", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_known_shifts_come_back(direction, size_mm, ball_mask):
    shift = size_mm * np.array(DIRECTIONS[direction])
    baseline, followup = shifted(shift)
    found = residual_misalignment(baseline, followup, ball_mask, spacing_mm=2.0)
    off = errors(found, shift, ball_mask)
    assert off.mean() < 0.15
    assert np.percentile(off, 95) < 0.4
    assert found.estimated_share > 0.9


def test_a_known_turn_comes_back(ball_mask):
    half = Rotation.from_rotvec(np.radians([0, 0, 1.5])).as_matrix()
    baseline, followup = ball_scan(lambda p: p @ half.T), ball_scan(lambda p: p @ half)
    found = residual_misalignment(baseline, followup, ball_mask, spacing_mm=2.0)
    # shown at q in the ball: by the baseline at half^-1 q, by the follow-up at half q
    inside = POINTS_MM[ball_mask.numpy().ravel()]
    truth = inside @ half.T - inside @ half
    assert np.linalg.norm(truth, axis=1).max() > 1.4
    assert errors(found, truth, ball_mask).mean() < 0.2


def test_noise_alone_is_no_misalignment(ball_mask):
    found = residual_misalignment(*shifted((0, 0, 0)), ball_mask, spacing_mm=2.0)
    assert float(found.distance_mm[ball_mask].mean()) < 0.1


def test_a_lesion_is_no_misalignment(ball_mask):
    baseline, followup = shifted((0, 0, 0))
    lesions = sum(np.linalg.norm(POINTS_MM - at, axis=1) < radius for at, radius in (((8, 8, 0), 6), ((-12, 4, 9), 4)))
    followup = followup + 60 * torch.from_numpy(lesions.reshape(SHAPE)[None].astype(np.float32))
    found = residual_misalignment(baseline, followup, ball_mask, spacing_mm=2.0)
    assert np.percentile(found.distance_mm[ball_mask], 95) < 0.3
    assert float(found.distance_mm.max()) < 0.8


def test_bias_and_scale_are_no_misalignment(ball_mask):
    baseline, followup = shifted((0, 0, 0))
    bias = torch.from_numpy((1 + 0.003 * POINTS_MM[:, 0]).reshape(SHAPE)[None].astype(np.float32))
    found = residual_misalignment(baseline, 7 * bias * followup, ball_mask, spacing_mm=2.0)
    assert np.percentile(found.distance_mm[ball_mask], 95) < 0.4


def test_exchanging_the_scans_exchanges_the_direction(ball_mask):
    baseline, followup = shifted((0.7, -0.4, 0.5))
    forth = residual_misalignment(baseline, followup, ball_mask, spacing_mm=2.0)
    back = residual_misalignment(followup, baseline, ball_mask, spacing_mm=2.0)
    assert torch.equal(forth.distance_mm, back.distance_mm)
    assert torch.equal(forth.displacement_mm, -back.displacement_mm)


def test_outside_of_the_mask_is_nothing_and_nowhere_nan(ball_mask):
    found = residual_misalignment(*shifted((1.0, 0, 0)), ball_mask, spacing_mm=2.0)
    assert torch.isfinite(found.displacement_mm).all()
    assert not found.distance_mm[~ball_mask].any()
    assert found.distance_mm.dtype == torch.float32
    assert type(found.distance_mm) is torch.Tensor


def test_places_without_structure_are_filled_from_around(ball_mask):
    """The upper half is even: its shift comes from the lower one."""
    even = torch.from_numpy((POINTS_MM[:, 2] > 5).reshape(SHAPE)[None])
    scans = [torch.where(even, torch.tensor(80.0), scan.as_tensor()) for scan in shifted((1.0, 0, 0))]
    found = residual_misalignment(*scans, ball_mask, spacing_mm=2.0)
    assert 0.2 < found.estimated_share < 0.9
    far_up = torch.from_numpy((POINTS_MM[:, 2] > 15).reshape(SHAPE)[None]) & ball_mask
    assert torch.isfinite(found.distance_mm).all()
    assert float(found.distance_mm[far_up].min()) > 0.3


def test_no_structure_at_all():
    flat = torch.full((1, 12, 12, 12), 5.0)
    found = residual_misalignment(flat, flat, torch.ones_like(flat))
    assert found.estimated_share == 0.0
    assert not found.distance_mm.any()


@pytest.mark.parametrize("spacing_mm", [1.0, 3.0])
def test_other_grids(spacing_mm):
    """The shift is in mm, whatever the voxels."""
    shape = (int(70 / spacing_mm),) * 3
    points = (np.indices(shape).reshape(3, -1).T - (shape[0] - 1) / 2) * spacing_mm
    scans = [torch.from_numpy(ball_at(points + way).reshape(1, *shape).astype(np.float32)) for way in (0.5, -0.5)]
    mask = torch.from_numpy((np.linalg.norm(points, axis=1) < 27).reshape(1, *shape))
    found = residual_misalignment(*scans, mask, spacing_mm=spacing_mm)
    assert float(found.distance_mm[mask].median()) == pytest.approx(3**0.5, abs=0.2)


def test_refuses(ball_mask):
    scan = ball_scan()
    with pytest.raises(ValueError, match=r"one shape \(1, I, J, K\)"):
        residual_misalignment(scan, scan[:, :-1], ball_mask)
    with pytest.raises(ValueError, match="mask is empty"):
        residual_misalignment(scan, scan, torch.zeros_like(ball_mask))
