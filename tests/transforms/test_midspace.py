# SPDX-License-Identifier: Apache-2.0
"""Half of a rigid transform, and the grid half-way between two scans."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from monai_microchange._frames import LPS_FROM_RAS, apply_affine, corners_mm, spacing_from_affine
from monai_microchange.transforms import half_rigid, mean_rigid, mid_space
from monai_microchange.transforms.midspace import half_linear, mean_linear

from .conftest import GRIDS, rigid

MOTIONS = {
    "none": np.eye(4),
    "shift": rigid((0, 0, 0), (4.0, -2.0, 1.0)),
    "turn": rigid((0, 0, 90), (0, 0, 0)),
    "both": rigid((10, -20, 30), (5.0, 6.0, -7.0)),
    "far": rigid((100, 40, -60), (-20.0, 15.0, 10.0)),
}


@pytest.fixture(params=MOTIONS)
def moved(request):
    return MOTIONS[request.param]


def of(grid):
    return grid.affine, grid.shape


def test_half_of_a_quarter_turn_is_an_eighth():
    s = np.sqrt(0.5)
    np.testing.assert_allclose(half_rigid(MOTIONS["turn"])[:2, :2], [[s, -s], [s, s]], atol=1e-12)


def test_half_twice_is_the_whole(moved):
    half = half_rigid(moved)
    np.testing.assert_allclose(half @ half, moved, atol=1e-9)


def test_half_is_the_matrix_square_root(moved):
    np.testing.assert_allclose(half_rigid(moved), np.real(sqrtm(moved)), atol=1e-6)


def test_half_of_the_inverse_is_the_inverse_of_half(moved):
    np.testing.assert_allclose(half_rigid(np.linalg.inv(moved)) @ half_rigid(moved), np.eye(4), atol=1e-9)


@pytest.mark.parametrize("matrix", [np.diag([1.1, 1, 1, 1]), np.diag([-1.0, 1, 1, 1])], ids=["scaled", "mirrored"])
def test_half_of_what_is_not_rigid_is_refused(matrix):
    with pytest.raises(ValueError, match="expected a rotation and a translation"):
        half_rigid(matrix)


AFFINE = rigid((10, -20, 30), (5.0, 6.0, -7.0)) @ np.array(
    [[1.05, 0.02, 0, 1], [0, 0.96, 0.03, 0], [0, 0, 1.01, -2], [0, 0, 0, 1]]
)


def test_half_of_an_affine_twice_is_the_whole():
    np.testing.assert_allclose(half_linear(AFFINE) @ half_linear(AFFINE), AFFINE, atol=1e-10)
    np.testing.assert_allclose(half_linear(np.linalg.inv(AFFINE)) @ half_linear(AFFINE), np.eye(4), atol=1e-10)


def test_half_linear_of_a_rigid_is_rigid(moved):
    np.testing.assert_array_equal(half_linear(moved), half_rigid(moved))


@pytest.mark.parametrize("scales", [(-1.1, 1, 1), (-1.1, -1, 1)], ids=["mirrored", "half a turn"])
def test_what_has_no_half_is_refused(scales):
    with pytest.raises(ValueError, match="neither mirrors nor turns"):
        half_linear(np.diag([*scales, 1.0]))


def test_affine_mean_lies_between_and_is_symmetric():
    one, other = AFFINE, AFFINE @ np.diag([1.02, 1, 1, 1])
    np.testing.assert_allclose(np.linalg.det(mean_linear(one, other)) ** 2, np.linalg.det(one) * np.linalg.det(other))
    np.testing.assert_allclose(mean_linear(other, one), mean_linear(one, other), atol=1e-9)


def test_affine_mid_space_leads_from_one_to_the_other():
    space = mid_space(AFFINE, of(GRIDS["isotropic"]), of(GRIDS["anisotropic"]))
    np.testing.assert_allclose(space.mid_to("followup") @ np.linalg.inv(space.mid_to("baseline")), AFFINE, atol=1e-9)


def test_mean_of_inverses_is_the_inverse_of_the_mean():
    one, other = MOTIONS["both"], MOTIONS["both"] @ rigid((1, 2, -1), (0.5, 0, -0.3))
    mean = mean_rigid(one, other)
    np.testing.assert_allclose(mean_rigid(other, one), mean, atol=1e-9)
    np.testing.assert_allclose(mean_rigid(np.linalg.inv(one), np.linalg.inv(other)) @ mean, np.eye(4), atol=1e-9)


def test_equal_grids_without_motion_keep_their_box():
    space = mid_space(np.eye(4), of(GRIDS["isotropic"]), of(GRIDS["isotropic"]))
    assert space.shape == (64, 72, 64)  # 32, 36 and 32 voxels of 2 mm
    outer = corners_mm(space.affine, space.shape)
    np.testing.assert_allclose(outer.min(axis=0), [-32, -36, -32])
    np.testing.assert_allclose(outer.max(axis=0), [32, 36, 32])


def test_axes_run_along_lps_whatever_those_of_the_scans():
    space = mid_space(MOTIONS["both"], of(GRIDS["oblique"]), of(GRIDS["flipped"]), spacing_mm=1.5)
    np.testing.assert_allclose(space.affine[:3, :3], LPS_FROM_RAS[:3, :3] * 1.5)


@pytest.mark.parametrize("spacing_mm", [0.7, 1.0, 2.5])
def test_spacing_is_the_one_asked_for(spacing_mm):
    space = mid_space(MOTIONS["shift"], of(GRIDS["anisotropic"]), of(GRIDS["flipped"]), spacing_mm=spacing_mm)
    np.testing.assert_allclose(spacing_from_affine(space.affine), spacing_mm)


def test_a_shift_is_shared_and_the_box_is_the_intersection():
    shift = rigid((0, 0, 0), (4.0, 0, 0))
    space = mid_space(shift, of(GRIDS["isotropic"]), of(GRIDS["isotropic"]))
    # baseline is moved by +2, follow-up by -2, and each covers -32 to 32 mm in its own space
    np.testing.assert_allclose(space.mid_to_baseline[:3, 3], [-2, 0, 0])
    np.testing.assert_allclose(space.mid_to_followup[:3, 3], [2, 0, 0])
    outer = corners_mm(space.affine, space.shape)
    np.testing.assert_allclose([outer[:, 0].min(), outer[:, 0].max()], [-30, 30])


def test_from_baseline_through_mid_space_to_followup(moved):
    space = mid_space(moved, of(GRIDS["isotropic"]), of(GRIDS["isotropic"]))
    np.testing.assert_allclose(space.mid_to("followup") @ np.linalg.inv(space.mid_to("baseline")), moved, atol=1e-9)


@pytest.mark.parametrize("other", GRIDS)
def test_swap_gives_the_same_grid_and_exchanges_the_transforms(other, motion):
    one, two = of(GRIDS["anisotropic"]), of(GRIDS[other])
    forth, back = mid_space(motion, one, two), mid_space(np.linalg.inv(motion), two, one)
    assert forth.shape == back.shape
    np.testing.assert_allclose(forth.affine, back.affine, atol=1e-9)
    np.testing.assert_allclose(forth.mid_to_baseline, back.mid_to_followup, atol=1e-9)
    np.testing.assert_allclose(forth.mid_to_followup, back.mid_to_baseline, atol=1e-9)


@pytest.mark.parametrize("name", GRIDS)
def test_grid_covers_the_middle_of_both_scans(name, motion):
    space = mid_space(motion, of(GRIDS["isotropic"]), of(GRIDS[name]))
    centre = apply_affine(space.affine, (np.asarray(space.shape) - 1) / 2)
    for visit, grid in zip(("baseline", "followup"), ("isotropic", name), strict=True):
        index = apply_affine(np.linalg.inv(GRIDS[grid].affine) @ space.mid_to(visit), centre)
        assert (np.abs(index - (np.asarray(GRIDS[grid].shape) - 1) / 2) < 4).all()


def test_scans_that_do_not_meet_are_refused():
    with pytest.raises(ValueError, match="do not meet"):
        mid_space(rigid((0, 0, 0), (200.0, 0, 0)), of(GRIDS["isotropic"]), of(GRIDS["isotropic"]))
