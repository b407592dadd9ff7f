# SPDX-License-Identifier: Apache-2.0
"""Smooth stationary velocities on a lattice of cubic B-splines, and the displacements to which they lead."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.interpolate import BSpline
from torch.nn import functional

__all__ = ["VelocityLattice", "displacement_of_velocity", "grid_positions"]

ORDERS = ((2, 0, 0), (0, 2, 0), (0, 0, 2), (1, 1, 0), (1, 0, 1), (0, 1, 1))
"""Second derivatives: how often along each axis."""
SPLINE = BSpline.basis_element([-2, -1, 0, 1, 2])
DOUBLINGS = 6
"""A velocity is followed in 2**6 equal steps, each of which becomes two, and so on."""


class VelocityLattice:
    """Cubic B-splines about a region: velocities (3, ...) in mm, along the axes of the grid that the region lies on.

    Splines more than a knot and a half from the region are left out, and each reaches two knots, so that the velocity
    fades to 0 beyond the region.

    Args:
        region: (I, J, K), what is above 0 is to move.
        spacing_mm: voxel size along each axis.
        knot_mm: distance of the splines' centres; a spline alone is about 1.4 times as wide (full width at half
            maximum).
        device: of all tensors.

    Raises:
        ValueError: if the region is empty.
    """

    def __init__(self, region: np.ndarray, spacing_mm: Sequence[float], knot_mm: float, device: torch.device):
        at = np.argwhere(np.asarray(region) > 0) * np.asarray(spacing_mm, dtype=float)
        if len(at) == 0:
            raise ValueError("expected a region to deform, got an empty one")
        self.knot_mm = knot_mm
        self.low, self.high = at.min(axis=0), at.max(axis=0)
        counts = np.ceil((self.high - self.low) / knot_mm).astype(int) + 3
        # centred on the region, so that a mirrored region gets the mirrored lattice
        first = (self.low + self.high - knot_mm * (counts - 1)) / 2
        self.knots = [start + knot_mm * np.arange(count) for start, count in zip(first, counts, strict=True)]
        near = np.zeros(counts, dtype=bool)
        nearest = np.rint((at - first) / knot_mm).astype(int)
        near[tuple(nearest.T)] = True
        wide = functional.max_pool3d(torch.from_numpy(near)[None].float(), 3, 1, 1)[0] > 0
        self.free = wide.flatten().nonzero()[:, 0].to(device)
        self._grams = [self._gram(axis) for axis in range(3)]

    def __len__(self) -> int:
        """How many numbers describe a velocity."""
        return 3 * len(self.free)

    @property
    def reach(self) -> tuple[np.ndarray, np.ndarray]:
        """Least and greatest position (3,) each, mm, between which a velocity may differ from 0."""
        ends = np.array([[knots[0], knots[-1]] for knots in self.knots])
        return ends[:, 0] - 2 * self.knot_mm, ends[:, 1] + 2 * self.knot_mm

    def basis(self, axis: int, positions: np.ndarray, derivative: int = 0) -> torch.Tensor:
        """Values (positions, knots) of an axis' splines, or of their derivative by mm."""
        place = (positions[:, None] - self.knots[axis]) / self.knot_mm
        spline = SPLINE.derivative(derivative) if derivative else SPLINE
        value = np.where(np.abs(place) < 2, spline(np.clip(place, -2, 2)), 0.0) / self.knot_mm**derivative
        return torch.from_numpy(value)

    def full(self, numbers: torch.Tensor) -> torch.Tensor:
        """The lattice (3, a, b, c) of some numbers (3 * n,)."""
        sizes = [len(knots) for knots in self.knots]
        lattice = numbers.new_zeros(3, int(np.prod(sizes))).index_copy(1, self.free, numbers.view(3, -1))
        return lattice.view(3, *sizes)

    def velocity(self, numbers: torch.Tensor, bases: Sequence[torch.Tensor]) -> torch.Tensor:
        """Velocity (3, I, J, K) in mm on a grid whose axes have these bases."""
        return _along_axes(self.full(numbers).to(bases[0].dtype), bases)

    def bending(self, numbers: torch.Tensor) -> torch.Tensor:
        """Integral of the squared second derivatives of the velocity, by volume of the free splines: 1 / mm^2."""
        lattice = self.full(numbers)
        total = numbers.new_zeros(())
        for orders in ORDERS:
            grams = [self._grams[axis][order].to(numbers) for axis, order in enumerate(orders)]
            # mixed derivatives count in either order
            total = total + (1 if 2 in orders else 2) * (lattice * _along_axes(lattice, grams)).sum()
        return total / (len(self.free) * self.knot_mm**3)

    def _gram(self, axis: int) -> list[torch.Tensor]:
        """Integrals of products of an axis' splines, of their first, and of their second derivatives."""
        step = self.knot_mm / 8
        reach = self.knots[axis][0] - 2 * self.knot_mm, self.knots[axis][-1] + 2 * self.knot_mm
        at = np.arange(reach[0] + step / 2, reach[1], step)
        bases = [self.basis(axis, at, order) for order in range(3)]
        return [basis.T @ basis * step for basis in bases]


def _along_axes(lattice: torch.Tensor, matrices: Sequence[torch.Tensor]) -> torch.Tensor:
    """(C, a, b, c) by a matrix (n, a), (m, b), (k, c) along each axis: (C, n, m, k)."""
    first, second, third = matrices
    out = lattice @ third.T
    out = second @ out
    return (first @ out.flatten(2)).unflatten(2, out.shape[2:])


def grid_positions(low: np.ndarray, high: np.ndarray, step_mm: float) -> list[np.ndarray]:
    """Positions along each axis of a grid of this step that covers a box and is centred on it."""
    counts = np.ceil((high - low) / step_mm - 1e-6).astype(int) + 1
    first = (low + high - step_mm * (counts - 1)) / 2
    return [start + step_mm * np.arange(count) for start, count in zip(first, counts, strict=True)]


def displacement_of_velocity(velocity: torch.Tensor, step_mm: float, doublings: int = DOUBLINGS) -> torch.Tensor:
    """Where a stationary velocity has led after a unit of time, less where it began: scaling and squaring.

    Args:
        velocity: (B, 3, I, J, K), mm along the axes of a grid; what lies beyond counts as its border.
        step_mm: voxel size of the grid.
        doublings: number of squarings.

    Returns:
        Displacement (B, 3, I, J, K), mm. The negative velocity gives the inverse.

    Source: Arsigny et al., 2006, doi 10.1007/11866565_113.
    """
    shape = velocity.shape[2:]
    to_cube = velocity.new_tensor([2 / (max(n - 1, 1) * step_mm) for n in reversed(shape)])
    lines = [torch.linspace(-1, 1, n, dtype=velocity.dtype, device=velocity.device) for n in shape]
    rest = torch.stack(torch.meshgrid(*lines, indexing="ij")[::-1], -1)
    moved = velocity / 2**doublings
    for _ in range(doublings):
        at = rest + moved.movedim(1, -1).flip(-1) * to_cube
        moved = moved + functional.grid_sample(moved, at, padding_mode="border", align_corners=True)
    return moved
