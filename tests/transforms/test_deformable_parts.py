# SPDX-License-Identifier: Apache-2.0
"""Splines, their exponential, local correlation and the weights against change, each by itself."""

import numpy as np
import pytest
import torch
from monai.networks.blocks import DVF2DDF

from monai_microchange.transforms.registration.local_likeness import LocalCorrelation, local_change_weight
from monai_microchange.transforms.registration.velocity import (
    VelocityLattice,
    displacement_of_velocity,
    grid_positions,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def lattice():
    region = np.zeros((30, 34, 28))
    region[4:26, 3:31, 5:22] = 1
    return VelocityLattice(region, (2.0, 2.0, 2.0), 12.0, CPU)


@pytest.fixture(scope="module")
def numbers(lattice):
    return torch.randn(len(lattice), dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_splines_of_equal_height_give_a_constant(lattice):
    """Cubic B-splines add up to 1, where none is left out."""
    axes = grid_positions(lattice.low + 12, lattice.high - 12, 1.0)
    bases = [lattice.basis(axis, at) for axis, at in enumerate(axes)]
    velocity = lattice.velocity(torch.ones(len(lattice), dtype=torch.float64), bases)
    torch.testing.assert_close(velocity, torch.ones_like(velocity))


def test_velocity_is_0_at_the_ends_of_its_reach(lattice, numbers):
    axes = [np.array(ends) for ends in zip(*lattice.reach, strict=True)]
    inner = [np.linspace(low, high, 9) for low, high in axes]
    for axis in range(3):
        places = [axes[a] if a == axis else inner[a] for a in range(3)]
        assert lattice.velocity(numbers, [lattice.basis(a, at) for a, at in enumerate(places)]).abs().max() == 0


def test_bending_is_the_integral_of_squared_second_derivatives(lattice, numbers):
    """Against finite differences on a grid of 1 mm."""
    step = 1.0
    axes = grid_positions(*lattice.reach, step)
    velocity = lattice.velocity(numbers, [lattice.basis(axis, at) for axis, at in enumerate(axes)]).numpy()
    total = 0.0
    for part in velocity:
        for slope in np.gradient(part, step):
            total += sum((second**2).sum() for second in np.gradient(slope, step)) * step**3
    wanted = total / (len(lattice) / 3 * 12.0**3)
    assert float(lattice.bending(numbers)) == pytest.approx(wanted, rel=0.05)


def test_empty_region_has_no_lattice():
    with pytest.raises(ValueError, match="got an empty one"):
        VelocityLattice(np.zeros((4, 4, 4)), (1.0, 1.0, 1.0), 12.0, CPU)


def test_exponential_of_a_constant_is_itself():
    shift = displacement_of_velocity(torch.full((1, 3, 6, 6, 6), 1.5), 2.0)
    torch.testing.assert_close(shift, torch.full((1, 3, 6, 6, 6), 1.5))


def test_exponential_of_a_stretch():
    """dx/dt = x / 10 leads from x to x * exp(0.1)."""
    x = (torch.arange(41.0, dtype=torch.float64) - 20).view(1, 41, 1, 1).expand(1, 41, 9, 9)
    velocity = torch.stack([0.1 * x, 0 * x, 0 * x], 1)
    shift = displacement_of_velocity(velocity, 1.0, 10)[0, 0]
    torch.testing.assert_close(shift[8:-8], (np.exp(0.1) - 1) * x[0][8:-8], rtol=1e-3, atol=0)


@pytest.mark.filterwarnings("ignore:monai.networks.blocks.Warp")
def test_exponential_agrees_with_monai(lattice, numbers):
    axes = grid_positions(lattice.low, lattice.high, 3.0)
    velocity = lattice.velocity(numbers, [lattice.basis(axis, at) for axis, at in enumerate(axes)])[None].float()
    ours = displacement_of_velocity(velocity, 3.0, 6)
    # MONAI counts in voxels
    foreign = 3.0 * DVF2DDF(num_steps=6, padding_mode="border")(velocity / 3.0)
    torch.testing.assert_close(ours, foreign, atol=1e-4, rtol=0)


def test_negative_velocity_gives_the_negative_of_time_and_nearly_of_space(lattice, numbers):
    axes = grid_positions(*lattice.reach, 3.0)
    velocity = 0.5 * lattice.velocity(numbers, [lattice.basis(axis, at) for axis, at in enumerate(axes)])[None]
    forth, back = displacement_of_velocity(velocity, 3.0), displacement_of_velocity(-velocity, 3.0)
    both = displacement_of_velocity(torch.cat([velocity, -velocity]), 3.0)
    assert torch.equal(both, torch.cat([forth, back]))
    assert (forth + back).abs().max() < 0.2 * forth.abs().max()


def test_local_correlation_is_the_naive_one():
    random = np.random.RandomState(0)
    pair, weight = random.rand(2, 13, 12, 11), random.rand(13, 12, 11)
    found = LocalCorrelation(torch.from_numpy(weight).float(), 2.0, 4.0)
    squares = found.squares(torch.from_numpy(pair).float())[0].numpy()
    # windows lie two voxels apart; the second along each axis, counted by hand
    centre = [(n - 1) % 2 / 2 + 2 for n in weight.shape]
    index = np.indices(weight.shape)
    window = np.prod(
        [np.exp(-0.5 * ((i - c) / 2) ** 2) * (abs(i - c) * 0.5 < 3.5) for i, c in zip(index, centre, strict=True)],
        axis=0,
    )
    share = window * weight / (window * weight).sum()
    one, other = (image - (share * image).sum() for image in pair)
    spreads = [(share * image**2).sum() + 0.02**2 for image in (one, other)]
    assert squares[1, 1, 1] == pytest.approx((share * one * other).sum() ** 2 / np.prod(spreads), rel=1e-3)


@pytest.mark.parametrize("slope", [1.0, 0.4, -0.7])
def test_a_line_of_the_other_image_is_wholly_alike(slope):
    image = torch.rand(12, 12, 12, generator=torch.Generator().manual_seed(1))
    alike = LocalCorrelation(torch.ones(12, 12, 12), 2.0, 5.0)
    assert float(alike(torch.stack([image, 0.5 + slope * (image - 0.5)]))) > 0.95
    assert float(alike(torch.rand(2, 12, 12, 12, generator=torch.Generator().manual_seed(2)))) < 0.1


def test_nothing_to_compare_is_alike_by_0():
    assert float(LocalCorrelation(torch.zeros(8, 8, 8), 2.0, 5.0)(torch.rand(2, 8, 8, 8))) == 0.0


def test_change_loses_its_weight_and_the_rest_keeps_it():
    random = torch.Generator().manual_seed(4)
    image = torch.rand(24, 24, 24, generator=random)
    other = (image + 0.03 * torch.randn(24, 24, 24, generator=random)).clamp(0, 1)
    other[10:14, 10:14, 10:14] += 0.8
    weight = local_change_weight(torch.stack([image, other.clamp(0, 1)]), torch.ones(24, 24, 24), 2.0, 4.0)
    assert weight[10:14, 10:14, 10:14].mean() < 0.2
    far = torch.ones(24, 24, 24, dtype=torch.bool)
    far[6:18, 6:18, 6:18] = False
    assert weight[far].mean() > 0.7
    swapped = local_change_weight(torch.stack([other.clamp(0, 1), image]), torch.ones(24, 24, 24), 2.0, 4.0)
    assert torch.equal(weight, swapped)
