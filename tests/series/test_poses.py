# SPDX-License-Identifier: Apache-2.0
"""Poses of a group: known truth, no privileged visit, one wrong registration."""

from itertools import combinations

import numpy as np
import pytest
from scipy.linalg import logm
from scipy.spatial.transform import Rotation

from monai_microchange._frames import apply_affine
from monai_microchange.series.poses import (
    PairPose,
    average_poses,
    pairs_to_compare,
    pairs_to_register,
    unbiased_poses,
)
from monai_microchange.transforms.midspace import half_linear

POINTS = np.stack(np.meshgrid(*[[-60.0, 0.0, 60.0]] * 3), axis=-1).reshape(-1, 3)


def rigid(degrees: tuple[float, ...], shift_mm: tuple[float, ...]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, 3] = shift_mm
    return matrix


TRUTH = [
    rigid((0, 0, 0), (0, 0, 0)),
    rigid((10, -5, 20), (12, -3, 40)),
    rigid((-30, 8, 2), (-5, 30, -8)),
    rigid((4, 25, -12), (60, 2, 9)),
    rigid((15, 3, 40), (-20, -20, 5)),
]


def measured(poses: list[np.ndarray], pairs=None) -> list[PairPose]:
    pairs = list(combinations(range(len(poses)), 2)) if pairs is None else pairs
    steps = [poses[b] @ np.linalg.inv(poses[a]) for a, b in pairs]
    return [PairPose(a, b, step) for (a, b), step in zip(pairs, steps, strict=True)]


def apart_mm(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(apply_affine(one, POINTS) - apply_affine(other, POINTS), axis=1).max())


@pytest.mark.parametrize("n", [2, 3, 5])
def test_exact_registrations_give_the_true_relative_poses(n):
    found = average_poses(measured(TRUTH[:n]), [POINTS] * n)
    for a, b in combinations(range(n), 2):
        step = found.mid_to_visits[b] @ np.linalg.inv(found.mid_to_visits[a])
        assert apart_mm(step, TRUTH[b] @ np.linalg.inv(TRUTH[a])) < 1e-6
    assert max(found.residuals_mm) < 1e-6
    assert found.loop_closure_mm is None if n == 2 else found.loop_closure_mm < 1e-6


@pytest.mark.parametrize("n", [2, 3, 5])
def test_mean_of_the_logarithms_is_zero(n):
    poses = unbiased_poses(TRUTH[:n])
    np.testing.assert_allclose(np.mean([logm(pose) for pose in poses], axis=0), 0, atol=1e-9)


@pytest.mark.parametrize("step", [TRUTH[1], np.diag([1.05, 0.98, 1.01, 1.0]) @ TRUTH[2]])
def test_two_visits_meet_half_way_as_in_mid_space(step):
    found = average_poses([PairPose(0, 1, step)], [POINTS] * 2)
    half = half_linear(step)
    np.testing.assert_allclose(found.mid_to_visits[0], np.linalg.inv(half), atol=1e-9)
    np.testing.assert_allclose(found.mid_to_visits[1], half, atol=1e-9)


def test_shifts_alone_meet_at_their_mean():
    """On paper: three visits at 0, 3 and 9 mm; their mean is at 4 mm."""
    poses = [rigid((0, 0, 0), (x, 0, 0)) for x in (0, 3, 9)]
    found = average_poses(measured(poses), [POINTS] * 3)
    assert [pose[0, 3].round(6) for pose in found.mid_to_visits] == [-4, -1, 5]


def test_order_of_visits_and_of_pairs_does_not_matter():
    noisy = [PairPose(p.first, p.second, p.first_to_second @ rigid((0.3 * k, 0, 0), (0, 0.2 * k, 0)), 0.1 + 0.1 * k)
             for k, p in enumerate(measured(TRUTH))]  # fmt: skip
    turned = [PairPose(4 - p.second, 4 - p.first, np.linalg.inv(p.first_to_second), p.uncertainty_mm) for p in noisy]
    here, there = average_poses(noisy, [POINTS] * 5), average_poses(turned[::-1], [POINTS] * 5)
    for one, other in zip(here.mid_to_visits, reversed(there.mid_to_visits), strict=True):
        # as near as the iterations go
        assert apart_mm(one, other) < 1e-4
    assert here.loop_closure_mm == pytest.approx(there.loop_closure_mm)
    swapped = [PairPose(p.second, p.first, np.linalg.inv(p.first_to_second), p.uncertainty_mm) for p in noisy]
    for one, other in zip(here.mid_to_visits, average_poses(swapped, [POINTS] * 5).mid_to_visits, strict=True):
        assert apart_mm(one, other) < 1e-4


@pytest.mark.parametrize("n", [4, 5])
@pytest.mark.parametrize("which", [0, 3, 5])
def test_one_wrong_registration_is_outvoted_and_seen(n, which):
    pairs = measured(TRUTH[:n], pairs_to_register(n))
    wrong = pairs[which]
    pairs[which] = PairPose(wrong.first, wrong.second, wrong.first_to_second @ rigid((10, 0, 25), (20, -10, 0)))
    found = average_poses(pairs, [POINTS] * n)
    for one, other in zip(found.mid_to_visits, unbiased_poses(TRUTH[:n]), strict=True):
        assert apart_mm(one, other) < PairPose(0, 1, np.eye(4)).uncertainty_mm
    assert int(np.argmax(found.residuals_mm)) == which
    assert found.residuals_mm[which] > 15
    assert found.loop_closure_mm > 5


def test_of_three_the_least_certain_registration_takes_the_error():
    pairs = measured(TRUTH[:3])
    shifted = pairs[2].first_to_second.copy()
    shifted[0, 3] += 5
    pairs[2] = PairPose(1, 2, shifted, uncertainty_mm=3.0)
    found = average_poses(pairs, [POINTS] * 3)
    assert found.residuals_mm[2] > 4.5
    assert max(found.residuals_mm[:2]) < 0.3


def test_closure_is_what_is_left_after_a_loop():
    """Three shifts along x that should add up to nothing leave 0.6 mm; each takes a third of it."""
    steps = {(0, 1): 1.0, (1, 2): 1.0, (0, 2): 1.4}
    pairs = [PairPose(a, b, rigid((0, 0, 0), (x, 0, 0)), 1.0) for (a, b), x in steps.items()]
    found = average_poses(pairs, [POINTS] * 3)
    assert found.loop_closure_mm == pytest.approx(0.6)
    assert found.residuals_mm == pytest.approx([0.2] * 3)


def test_registrations_average_better_than_a_chain():
    draw = np.random.default_rng(0)
    chain, group = [], []
    for _ in range(8):
        noisy = [
            PairPose(p.first, p.second, p.first_to_second @ rigid(draw.normal(0, 0.2, 3), draw.normal(0, 0.2, 3)))
            for p in measured(TRUTH, pairs_to_register(5))
        ]
        truth = TRUTH[4] @ np.linalg.inv(TRUTH[0])
        found = average_poses(noisy, [POINTS] * 5).mid_to_visits
        group.append(apart_mm(found[4] @ np.linalg.inv(found[0]), truth))
        step = np.eye(4)
        for p in noisy:
            step = p.first_to_second @ step if p.second == p.first + 1 else step
        chain.append(apart_mm(step, truth))
    assert np.mean(group) < 0.6 * np.mean(chain)


def test_pairs_treat_all_visits_alike():
    for n in range(5, 9):
        pairs = pairs_to_register(n)
        assert sorted((n - 1 - b, n - 1 - a) for a, b in pairs) == pairs
        assert set(np.bincount(np.ravel(pairs))) == {4}
        assert set(pairs_to_compare(n)) <= set(pairs)
    assert pairs_to_register(2) == [(0, 1)]


def test_visits_without_connection_are_named():
    pairs = [PairPose(0, 1, np.eye(4)), PairPose(2, 3, np.eye(4))]
    with pytest.raises(ValueError, match="none between visit 1 and 3, 4"):
        average_poses(pairs, [POINTS] * 4)


@pytest.mark.parametrize("arguments", [(1, 1), (-1, 0), (0, 1, 0.0)])
def test_pairs_that_are_none_are_refused(arguments):
    first, second, *uncertainty = arguments
    with pytest.raises(ValueError, match="two visits"):
        PairPose(first, second, np.eye(4), *uncertainty)


def test_mirrored_visit_is_refused():
    with pytest.raises(ValueError, match="mirrored"):
        average_poses([PairPose(0, 1, np.diag([-1.0, 1, 1, 1]))], [POINTS] * 2)
