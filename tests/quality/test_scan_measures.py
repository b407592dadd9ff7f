# SPDX-License-Identifier: Apache-2.0
"""Noise, smoothness, tissues, likeness and coverage, each against a truth."""

import numpy as np
import pytest
import torch
from scipy import ndimage as ndi

from monai_microchange.enums import Anatomy
from monai_microchange.quality._coverage import coverage
from monai_microchange.quality._likeness import edge_distance_mm, likeness
from monai_microchange.quality._scan_quality import noise_deviation, smoothness_mm, tissue_levels

from .conftest import ball_scan


def everywhere(shape, affine):
    return np.indices(shape).reshape(3, -1).T @ affine[:3, :3].T + affine[:3, 3]


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1)])
def test_noise_on_a_slope_with_edges_is_found(axes):
    """Of a scan with thick slices whose brightness jumps from slice to slice."""
    shape, affine = (40, 40, 12), np.diag([1.0, 1.0, 4.0, 1.0])
    i, _, k = np.indices(shape)
    truth = 100 + 2.0 * i + 50 * (i > 20) + 30 * (k % 2)
    scan = truth + np.random.default_rng(0).normal(0, 3.0, shape)
    scan, affine = scan.transpose(axes), affine[:, [*axes, 3]]
    native = torch.from_numpy(scan.astype(np.float32))[None]
    assert noise_deviation(native, affine, everywhere(scan.shape, affine)) == pytest.approx(3.0, rel=0.05)


def test_noise_outside_of_the_scan_is_not_known():
    native = torch.rand(1, 8, 8, 8)
    assert np.isnan(noise_deviation(native, np.eye(4), np.full((5, 3), 100.0)))
    assert noise_deviation(torch.ones(1, 8, 8, 8), np.eye(4), np.full((5, 3), 4.0)) == 0


def test_smoothness_of_smoothed_noise_is_its_width():
    sigma = np.array([1.0, 1.4, 1.8])
    noise = np.random.default_rng(1).normal(size=(70, 70, 70))
    smooth = torch.from_numpy(ndi.gaussian_filter(noise, sigma).astype(np.float32))[None]
    widths = smoothness_mm(smooth, torch.ones_like(smooth), spacing_mm=1.0)
    # the mean of 12 mm that is taken out makes structures seem a little narrower
    np.testing.assert_allclose(widths, 2.3548 * sigma, rtol=0.15)


def test_smoothness_of_nothing_is_not_known():
    flat = torch.ones(1, 16, 16, 16)
    assert np.isnan(smoothness_mm(flat, flat, spacing_mm=1.0)).all()


def test_tissue_levels_are_medians_of_tissues_that_are_there():
    anatomy = torch.zeros(1, 20, 20, 20, dtype=torch.uint8)
    anatomy[:, :8], anatomy[:, 8:16] = Anatomy.WHITE_MATTER, Anatomy.CORTEX
    anatomy[:, 16, :3, :3] = Anatomy.VENTRICLE
    scan = torch.full((1, 20, 20, 20), 7.0)
    scan[:, :8], scan[:, 8:16] = 100.0, 120.0
    scan[:, 0] = 1e6
    assert tissue_levels(scan, anatomy) == {"white": 100.0, "grey": 120.0}


def test_likeness_of_a_scan_and_its_negative(ball_mask):
    scan = ball_scan()
    options = {"spacing_mm": 2.0, "resolution_mm": np.ones(3)}
    assert likeness([scan, scan], ball_mask, **options) == pytest.approx((1.0, 1.0, 0.0), abs=1e-6)
    grey, structure, _ = likeness([scan, 200 - scan], ball_mask, **options)
    assert (grey, structure) == pytest.approx((-1.0, -1.0), abs=1e-4)


@pytest.mark.parametrize("flat", [0, 1])
def test_likeness_to_a_scan_that_is_flat_in_the_mask_is_not_known(flat, ball_mask):
    scans = [ball_scan(noise=1.0), ball_scan(noise=1.0, seed=1)]
    scans[flat] = torch.where(ball_mask, torch.tensor(80.0), scans[flat].as_tensor())
    grey, structure, _ = likeness(scans, ball_mask, spacing_mm=2.0, resolution_mm=np.ones(3))
    assert np.isnan([grey, structure]).all()


def test_structure_tells_two_heads_apart_and_a_mirrored_one(ball_mask):
    """Of one shape and brightness, which grey values cannot do where the outside belongs to the mask."""
    scan, noisy = ball_scan(), ball_scan(noise=5, seed=9)
    options = {"spacing_mm": 2.0, "resolution_mm": np.ones(3)}
    assert likeness([scan, noisy], ball_mask, **options)[1] > 0.9
    for flip in (1, 2, 3):
        assert likeness([scan, scan.as_tensor().flip(flip)], ball_mask, **options)[1] < 0.4


def test_edges_against_brute_force():
    draw = np.random.default_rng(2)
    one, other = (draw.random((2, 6, 7, 5)) > 0.9)[:2]
    a, b = np.argwhere(one) * 1.5, np.argwhere(other) * 1.5
    apart = np.linalg.norm(a[:, None] - b[None], axis=2)
    expected = (apart.min(axis=1).mean() + apart.min(axis=0).mean()) / 2
    assert edge_distance_mm(one, other, spacing_mm=1.5) == pytest.approx(expected)
    assert np.isnan(edge_distance_mm(one, np.zeros_like(one), spacing_mm=1.0))


def test_coverage_is_the_lesser_way():
    whole, quarter = torch.ones(1, 8, 8, 8), torch.ones(1, 8, 8, 2)
    fields = ((np.eye(4), (8, 8, 8)), (np.eye(4), (8, 8, 2)))
    assert coverage((whole, quarter), (np.eye(4), np.eye(4)), fields) == 0.25
    assert coverage((quarter, whole), (np.eye(4), np.eye(4)), fields[::-1]) == 0.25
    assert coverage((whole, torch.zeros_like(whole)), (np.eye(4), np.eye(4)), (fields[0], fields[0])) == 0.0
