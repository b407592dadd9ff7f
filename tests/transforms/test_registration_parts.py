# SPDX-License-Identifier: Apache-2.0
"""The parts of the registration: likeness, optimiser, poses, search, weights."""

import numpy as np
import pytest
import torch

from monai_microchange.transforms.registration.likeness import joint_histogram, normalized_mutual_information
from monai_microchange.transforms.registration.optimise import minimise
from monai_microchange.transforms.registration.poses import Poses, generators
from monai_microchange.transforms.registration.robust import change_weight
from monai_microchange.transforms.registration.start import GRID, masked_correlation, turns_within

from .conftest import rigid

RANDOM = torch.Generator().manual_seed(0)
ONE, OTHER, WEIGHT = (torch.rand(2, 500, generator=RANDOM) for _ in range(3))


def parzen(one, other, weight, bins):
    """The joint histogram by its definition, bin by bin: the window is a hat convolved with (1, 2, 1) / 4."""
    centres = torch.arange(bins, dtype=torch.float64)

    def window(values):
        distance = values.double()[:, None] * (bins - 1) - centres
        hat = lambda x: (1 - x.abs()).clamp(min=0)  # noqa: E731
        return 0.25 * hat(distance - 1) + 0.5 * hat(distance) + 0.25 * hat(distance + 1)

    table = torch.einsum("n,ni,nj->ij", weight.double(), window(one), window(other))
    return table / table.sum()


def test_histogram_is_the_parzen_estimate():
    inner = 0.2 + 0.6 * ONE, 0.2 + 0.6 * OTHER  # clear of the first and last bin, where the window is cut off
    table = joint_histogram(*inner, WEIGHT, 16)
    for row in range(2):
        reference = parzen(inner[0][row], inner[1][row], WEIGHT[row], 16)
        torch.testing.assert_close(table[row], reference, atol=1e-6, rtol=0)


def test_exchanged_images_transpose_the_histogram_to_the_bit():
    assert torch.equal(joint_histogram(ONE, OTHER, WEIGHT), joint_histogram(OTHER, ONE, WEIGHT).mT)


def test_order_of_samples_changes_no_bit():
    order = torch.randperm(500, generator=RANDOM)
    shuffled = joint_histogram(ONE[:, order], OTHER[:, order], WEIGHT[:, order])
    assert torch.equal(shuffled, joint_histogram(ONE, OTHER, WEIGHT))


@pytest.mark.parametrize("which", [0, 1, 2], ids=["one", "other", "weight"])
def test_gradient_of_the_likeness(which):
    """Against differences along a random direction; values lie clear of the bins' edges, where the hat has a kink."""
    bins, small = 8, 1e-3
    values = [((x * 7).floor() + 0.3 + 0.4 * (x * 7 % 1)) / 7 for x in (ONE, OTHER)] + [WEIGHT]
    direction = torch.rand(2, 500, generator=RANDOM) - 0.5
    inputs = [x.clone().requires_grad_(n == which) for n, x in enumerate(values)]
    (slope,) = torch.autograd.grad(normalized_mutual_information(*inputs, bins).sum(), inputs[which])
    ends = []
    for sign in (-1, 1):
        moved = [x + sign * small * direction * (n == which) for n, x in enumerate(values)]
        ends.append(normalized_mutual_information(*moved, bins).sum())
    assert float((slope * direction).sum()) == pytest.approx(float(ends[1] - ends[0]) / (2 * small), rel=2e-3)


def test_likeness_of_nothing_is_one():
    none = torch.zeros(1, 10)
    assert float(normalized_mutual_information(none, none, none)) == 1.0


def test_bowls_are_minimised_side_by_side():
    bottom = torch.tensor([[1.0, -2.0, 0.5], [4.0, 0.0, -3.0]], dtype=torch.float64)
    steep = torch.tensor([1.0, 10.0, 0.3], dtype=torch.float64)
    start = torch.zeros(2, 3, dtype=torch.float64)
    found = minimise(
        lambda x: (steep * (x - bottom).square()).sum(1), start, max_step=2.0, tolerance=1e-6, iterations=60
    )
    torch.testing.assert_close(found.point, bottom, atol=1e-4, rtol=0)


def test_minimise_starts_where_another_ended():
    """With the curvature of a like problem the valley is crossed in few steps."""
    valley = lambda x: (x[:, 0] - 1).square() + 50 * (x[:, 1] - x[:, 0]).square()  # noqa: E731
    start = torch.zeros(1, 2, dtype=torch.float64)
    cold = minimise(valley, start, max_step=1.0, tolerance=1e-6, iterations=60)
    warm = minimise(valley, start, max_step=1.0, tolerance=1e-6, iterations=60, curvature=cold.curvature)
    assert warm.evaluations < cold.evaluations
    torch.testing.assert_close(warm.point, cold.point, atol=1e-3, rtol=0)


@pytest.mark.parametrize(("degrees_of_freedom", "kept"), [(6, "rigid"), (7, "angles"), (9, "volume ratio"), (12, "")])
def test_generators_span_what_they_should(degrees_of_freedom, kept):
    ways = generators()[:degrees_of_freedom]
    assert np.linalg.matrix_rank(ways.reshape(degrees_of_freedom, 16)) == degrees_of_freedom
    strain = ways[:, :3, :3] + ways[:, :3, :3].transpose(0, 2, 1)
    if kept == "rigid":
        np.testing.assert_allclose(strain, 0)
    elif kept == "angles":
        np.testing.assert_allclose(strain, strain[:, :1, :1] * np.eye(3))
    elif kept:
        np.testing.assert_allclose(strain * (1 - np.eye(3)), 0)


def test_poses_of_a_transform_are_its_halves():
    transform, centres = rigid((20, -10, 30), (5, 80, -3)), [np.array([1.0, 2, 3]), np.array([-4.0, 90, 6])]
    pose = Poses.of_transform(transform, centres, torch.device("cpu"))
    np.testing.assert_allclose(pose.transforms[0], transform, atol=1e-12)


def test_turns_and_shifts_about_the_centres():
    centres = [np.array([10.0, 0, 0]), np.array([0.0, 20, 0])]
    pose = Poses.about(centres, np.zeros((1, 3)), np.array([[0.0, 0, 5]]), torch.device("cpu"))
    np.testing.assert_allclose(pose.transforms[0][:3, 3], centres[1] - centres[0] + [0, 0, 5])
    turn = Poses.about(centres, np.array([[0, 0, np.pi / 2]]), np.zeros((1, 3)), torch.device("cpu")).transforms[0]
    np.testing.assert_allclose(turn @ [*centres[0], 1], [*centres[1], 1], atol=1e-12)
    np.testing.assert_allclose(turn[:3, 0], [0, 1, 0], atol=1e-12)


def test_changes_of_exchanged_poses_are_negated_to_the_bit():
    pose = Poses.about([np.ones(3), np.zeros(3)], np.array([[0.1, 0.2, -0.3]]), np.ones((1, 3)), torch.device("cpu"))
    change = torch.tensor([[1.0, -2, 3, 4, 5, -6, 7, 8, 9, 1, 2, 3]], dtype=torch.float64)
    swapped = Poses(pose.to_followup, pose.to_baseline)
    for one, other in zip(pose.halves(change), swapped.halves(-change)[::-1], strict=True):
        assert torch.equal(one, other)


def test_turns_come_with_their_inverses_and_leave_no_gap():
    turns = np.degrees(turns_within(70.0))
    assert {tuple(t) for t in turns.round(6) + 0.0} == {tuple(t) for t in (-turns).round(6) + 0.0}
    probes = np.random.RandomState(0).uniform(-40, 40, (300, 3))
    probes = probes[np.linalg.norm(probes, axis=1) < 60]
    assert np.linalg.norm(probes[:, None] - turns, axis=2).min(axis=1).max() < 16


def test_masked_correlation_is_pearsons_where_both_were_seen():
    """Against the sum over voxels, for one shift, with parts of either image unseen."""
    size = 8
    images = tuple(torch.rand(1, size, size, size, generator=RANDOM) for _ in range(2))
    fields = tuple((torch.rand(1, size, size, size, generator=RANDOM) > 0.3).float() for _ in range(2))
    score = masked_correlation(images, fields, fields)
    shifted, seen = (torch.roll(x, (-1, -2, 3), (1, 2, 3)) for x in (images[1], fields[1]))
    both = (fields[0] * seen) > 0
    expected = torch.corrcoef(torch.stack([images[0][both], shifted[both]]))[0, 1]
    assert float(score[0, 1, 2, -3]) == pytest.approx(float(expected), abs=1e-4)


def test_masked_correlation_needs_a_shared_region():
    one = torch.zeros(1, GRID, GRID, GRID)
    one[0, :4, :4, :4] = torch.rand(4, 4, 4, generator=RANDOM)
    region = (one > 0).float()
    score = masked_correlation((one, one), (torch.ones_like(one),) * 2, (region, region))
    assert float(score[0, 0, 0, 0]) == pytest.approx(1.0, abs=1e-4)
    assert float(score[0, 4, 0, 0]) == -1.0


def test_changed_places_get_no_weight():
    """Grey values follow from each other, but for noise, except in place 3 of 50."""
    place = torch.arange(2000) % 50
    one = torch.rand(1, 2000, generator=RANDOM)
    other = 0.9 - 0.8 * one + 0.01 * torch.randn(1, 2000, generator=RANDOM)
    other = torch.where(place == 3, 0.95, other).clamp(0, 1)
    kept = change_weight(one, other, torch.ones_like(one), place)
    assert float(kept[0, place == 3].max()) == 0.0
    assert float(kept[0, place != 3].mean()) > 0.9
    assert torch.equal(kept, change_weight(other, one, torch.ones_like(one), place))
