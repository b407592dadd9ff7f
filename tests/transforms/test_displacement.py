# SPDX-License-Identifier: Apache-2.0
"""Displacements on a coarse grid, and a mid-space that carries them."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor

from monai_microchange._frames import apply_affine, image_from_array
from monai_microchange.transforms import MidSpace
from monai_microchange.transforms.displacement import WarpField
from monai_microchange.transforms.resampling import from_mid_space, into_mid_space

from .conftest import GRIDS, head_at, rigid, scan_head

NODES = np.diag([-3.0, -3.0, 3.0, 1.0])
NODES[:3, 3] = 39, 39, -39
AT_NODES = apply_affine(NODES, np.moveaxis(np.indices((27, 27, 27)), 0, -1))


def swirl(sign=1.0):
    """A field of up to 3 mm that is 0 at its border."""
    fade = np.clip(1 - (np.linalg.norm(AT_NODES, axis=-1) / 38.0) ** 2, 0, None) ** 2
    x, y, _ = np.moveaxis(AT_NODES, -1, 0)
    return WarpField(sign * np.stack([0.1 * x - 0.2 * y, 0.15 * x, 2.0 + 0 * x]) * fade, NODES)


@pytest.fixture(scope="module")
def space(motion):
    grid = np.diag([-2.0, -2.0, 2.0, 1.0])
    grid[:3, 3] = 29, 33, -31
    half = rigid((2, -3, 4), (1.5, -1.0, 2.0))
    return MidSpace(grid, (30, 34, 32), np.linalg.inv(half), half, swirl(), swirl(-1.0))


def test_field_is_what_itk_makes_of_it():
    field, points = swirl(), np.random.RandomState(0).uniform(-45, 45, (200, 3))
    x, y, z = field.vectors
    foreign = sitk.DisplacementFieldTransform(sitk.Compose(*[image_from_array(part, NODES) for part in (-x, -y, z)]))
    lps = np.array([-1.0, -1.0, 1.0])
    wanted = np.array([foreign.TransformPoint(point) for point in (points * lps).tolist()]) * lps
    np.testing.assert_allclose(field.moved(points), wanted, atol=1e-6)


def test_field_on_a_grid_is_the_field_at_its_points(space):
    points = apply_affine(space.affine, np.moveaxis(np.indices(space.shape), 0, -1))
    field = swirl()
    np.testing.assert_allclose(np.moveaxis(field.on(space.affine, space.shape), 0, -1) + points, field.moved(points))
    np.testing.assert_allclose(field.determinant_on(space.affine, space.shape), field.determinant_at(points))


def test_determinant_of_a_stretch_is_its_factor():
    """x by 1.1, y by 0.9, z by 1.2: 1.188 of the volume."""
    vectors = np.moveaxis(AT_NODES * np.array([0.1, -0.1, 0.2]), -1, 0)
    np.testing.assert_allclose(WarpField(vectors, NODES).determinant(), 1.188)
    assert WarpField(vectors, NODES).determinant_at(np.array([90.0, 0, 0])) == 1.0


def test_one_warp_without_the_other_is_refused():
    with pytest.raises(ValueError, match="expected a warp for both visits"):
        MidSpace(np.eye(4), (4, 4, 4), np.eye(4), np.eye(4), baseline_warp=swirl())


def test_point_goes_through_the_warp_and_then_through_the_linear_half(space):
    point = np.array([[3.0, -4.0, 5.0]])
    wanted = apply_affine(space.mid_to_followup, swirl(-1.0).moved(point))
    np.testing.assert_allclose(space.to_visit("followup", point), wanted)
    back = swirl(1.0).moved(apply_affine(np.linalg.inv(space.mid_to_followup), point))
    np.testing.assert_allclose(space.from_visit("followup", point), back)


def test_volume_ratio_of_a_rigid_way_is_exactly_1(space):
    rigid_space = replace(space, baseline_warp=None, followup_warp=None)
    assert rigid_space.volume_ratio("baseline") == rigid_space.volume_ratio("followup") == 1.0
    np.testing.assert_array_equal(rigid_space.jacobian(), np.ones(space.shape, np.float32))


def test_volume_ratio_of_a_linear_way_is_its_determinant():
    """Half of a growth by 1.21 along one axis: 1.1 mm3 of the follow-up for each of mid-space."""
    grown = np.diag([1.1, 1.0, 1.0, 1.0])
    space = MidSpace(np.eye(4), (4, 5, 6), np.linalg.inv(grown), grown)
    np.testing.assert_allclose([space.volume_ratio("baseline"), space.volume_ratio("followup")], [1 / 1.1, 1.1])
    np.testing.assert_allclose(space.jacobian(), np.full((4, 5, 6), 1.21), rtol=1e-6)


def test_jacobian_is_followup_over_baseline(space):
    grids = space.affine, space.shape
    wanted = swirl(-1.0).determinant_on(*grids) / swirl().determinant_on(*grids)
    np.testing.assert_allclose(space.jacobian(), wanted, rtol=1e-6)
    exchanged = MidSpace(*grids, space.mid_to_followup, space.mid_to_baseline, swirl(-1.0), swirl())
    np.testing.assert_allclose(exchanged.jacobian(), 1 / space.jacobian(), rtol=1e-5)


@pytest.mark.parametrize("grid", ["isotropic", "oblique", "flipped"])
def test_warped_scan_is_the_head_at_the_warped_points(space, grid):
    """The same interpolation as without the warp, at the points that the space names."""
    scan = scan_head(GRIDS[grid])
    moved = into_mid_space(scan, space, "baseline")
    points = space.to_visit("baseline", apply_affine(space.affine, np.indices(space.shape).reshape(3, -1).T))
    truth = head_at(points).reshape(space.shape)
    still = into_mid_space(scan, replace(space, baseline_warp=None, followup_warp=None), "baseline")
    near, far = (np.abs(image.numpy()[0] - truth)[8:-8, 8:-8, 8:-8].mean() for image in (moved, still))
    assert near < 0.6 * far
    np.testing.assert_array_equal(moved.affine.numpy(), space.affine)


def test_no_displacement_samples_like_no_warp(space):
    nothing = WarpField(np.zeros((3, 5, 5, 5)), NODES)
    scan = scan_head(GRIDS["oblique"])
    for mode in ("bilinear", "nearest"):
        one, other = (
            into_mid_space(scan, replace(space, baseline_warp=warp, followup_warp=warp), "followup", mode=mode)
            for warp in (None, nothing)
        )
        # a point that lies between two voxels goes to either
        assert (one != other).float().mean() < 1e-3 or torch.allclose(one, other, atol=1e-3)


def test_image_of_mid_space_on_the_scans_grid_is_sampled_back_along_the_inverse(space):
    """A ramp of mid-space: each voxel of the scan shows where in mid-space it comes from."""
    points = apply_affine(space.affine, np.moveaxis(np.indices(space.shape), 0, -1))
    ramp = MetaTensor(torch.from_numpy(np.moveaxis(points, -1, 0)), affine=torch.from_numpy(space.affine))
    grid = GRIDS["flipped"]
    native = from_mid_space(
        ramp, (grid.affine, grid.shape), space.mid_to_followup, space.inverse_warp("followup")
    ).numpy()
    wanted = space.from_visit("followup", grid.points()).reshape(*grid.shape, 3)
    inner = (slice(8, -8), slice(8, -8), slice(8, -8))
    np.testing.assert_allclose(np.moveaxis(native, 0, -1)[inner], wanted[inner], atol=1e-3)
