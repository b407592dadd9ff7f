# SPDX-License-Identifier: Apache-2.0
"""Forms of lesions: distances, poses, volumes and growth, against balls and boxes known on paper."""

import numpy as np
import pytest

from monai_microchange.transforms.lesion_shape import (
    direction_step,
    occupancy,
    pose_form,
    random_rotation,
    signed_distance,
    solve_level,
)


def ball_volume(radius):
    return 4 / 3 * np.pi * radius**3


def ball(radius, box=31, middle=(0.0, 0.0, 0.0)):
    """Exact signed distance of a ball about the middle of a box."""
    place = np.indices((box,) * 3) - (box - 1) / 2 - np.reshape(middle, (3, 1, 1, 1))
    return np.sqrt((place**2).sum(axis=0)) - radius


def test_distance_of_a_box_is_known():
    distance = signed_distance(np.ones((5, 7, 9), bool), margin=3)
    assert distance.shape == (11, 13, 15)
    assert distance[5, 6, 7] == -2.5  # the middle of five voxels
    assert distance[2, 6, 7] == 0.5
    assert distance[0, 6, 7] == 2.5
    assert distance[2, 2, 2] == pytest.approx(np.sqrt(3) - 0.5)


def test_an_empty_shape_is_refused():
    with pytest.raises(ValueError, match="at least one voxel"):
        signed_distance(np.zeros((3, 3, 3), bool))


@pytest.mark.parametrize("radius", [4.0, 6.3, 9.0])
def test_a_ball_has_its_volume(radius):
    assert occupancy(ball(radius)).sum() == pytest.approx(ball_volume(radius), rel=0.03)


@pytest.mark.parametrize("radius", [5.0, 7.0])
def test_the_surface_moves_by_a_millimetre(radius):
    assert occupancy(ball(radius) - 1).sum() == pytest.approx(ball_volume(radius + 1), rel=0.03)
    assert solve_level(ball(radius), ball_volume(radius + 1)) == pytest.approx(1.0, abs=0.05)
    assert solve_level(ball(radius), ball_volume(radius - 1)) == pytest.approx(-1.0, abs=0.05)


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.7])
def test_a_drawn_ball_stays_a_ball_in_any_pose(scale):
    """The voxels of a ball of 6 mm, in five poses."""
    shape, random = ball(6, box=15) < 0, np.random.RandomState(0)
    for _ in range(5):
        form = pose_form(shape, random_rotation(random), scale=scale, shift_mm=random.uniform(-0.5, 0.5, 3))
        assert occupancy(form).sum() == pytest.approx(shape.sum() * scale**3, rel=0.06)


def test_a_shift_moves_the_form():
    shape, shift = ball(4, box=11) < 0, np.array([0.4, -0.3, 0.2])
    share = occupancy(pose_form(shape, np.eye(3), shift_mm=shift))
    middle = (np.array(share.shape) - 1) / 2
    centroid = np.array([(place * share).sum() for place in np.indices(share.shape)]) / share.sum()
    np.testing.assert_allclose(centroid - middle, shift, atol=0.02)


def test_a_quarter_turn_exchanges_axes():
    shape = np.ones((3, 5, 9), bool)
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    upright, turned = pose_form(shape, np.eye(3)), pose_form(shape, turn)
    assert turned.shape == (upright.shape[1], upright.shape[0], upright.shape[2])
    np.testing.assert_allclose(turned, np.rot90(upright, 1, axes=(0, 1)), atol=1e-4)


def test_the_box_leaves_room():
    form = pose_form(np.ones((3, 3, 3), bool), random_rotation(np.random.RandomState(1)), scale=2.0, margin_mm=3.0)
    for axis in range(3):
        for end in (0, -1):
            assert form.take(end, axis).min() >= 2.5


@pytest.mark.parametrize(("edge", "middle"), [(1.0, 1.0), (4.0, 0.75)])
def test_a_wide_border_is_a_ramp(edge, middle):
    line = occupancy(np.array([-1.0, 0.0, 1.0]), edge_mm=edge)
    np.testing.assert_allclose(line, [middle, 0.5, 1 - middle])


@pytest.mark.parametrize("volume", [2.0, 40.0, 900.0])
@pytest.mark.parametrize("edge", [1.0, 2.5])
def test_the_level_gives_the_volume(volume, edge):
    step = direction_step((31, 31, 31), np.array([0.5, 0.3, -0.4]))
    level = solve_level(ball(4), volume, step=step, edge_mm=edge)
    assert occupancy(ball(4) - level * step, edge_mm=edge).sum() == pytest.approx(volume, rel=0.01)


@pytest.mark.parametrize("volume", [0.0, -1.0, 27.0])
def test_a_volume_that_cannot_be_is_refused(volume):
    with pytest.raises(ValueError, match="expected a volume above 0 and below the 27 mm3 of the box"):
        solve_level(ball(1, box=3), volume)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_growth_is_greater_where_the_direction_points(axis):
    step = direction_step((31, 31, 31), 0.8 * np.eye(3)[axis])
    added = occupancy(ball(5) - solve_level(ball(5), 1200, step=step) * step) - occupancy(ball(5))
    assert added.min() >= 0
    half = np.moveaxis(added, axis, 0)
    assert half[16:].sum() > 1.5 * half[:15].sum()


def test_a_direction_is_shorter_than_one():
    with pytest.raises(ValueError, match=r"shorter than 1, got one of length 1\.00"):
        direction_step((3, 3, 3), np.array([0.0, 1.0, 0.0]))


def test_rotations_are_rotations():
    random = np.random.RandomState(0)
    for _ in range(5):
        turn = random_rotation(random)
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(turn) == pytest.approx(1.0)
