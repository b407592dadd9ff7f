# SPDX-License-Identifier: Apache-2.0
"""Poses of two scans about a space half-way between them, and small changes of these poses."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from monai_microchange.transforms.midspace import half_linear

__all__ = ["RADIUS_MM", "Poses", "generators"]

RADIUS_MM = 70.0
"""Turns, scales and shears are measured by how far they move a point at this distance from the centre."""


def generators() -> np.ndarray:
    """The ways (12, 4, 4) to change a linear transform a little, per mm.

    Three shifts, three turns (together 6 degrees of freedom), one scale for all axes (7), two stretches that keep the
    volume (9), three shears (12).
    """
    ways = np.zeros((12, 4, 4))
    for axis, (i, j) in enumerate(((1, 2), (2, 0), (0, 1))):
        ways[axis, axis, 3] = 1
        ways[3 + axis, j, i], ways[3 + axis, i, j] = 1 / RADIUS_MM, -1 / RADIUS_MM
        ways[9 + axis, i, j] = ways[9 + axis, j, i] = 1 / RADIUS_MM
    for row, scales in enumerate(((1, 1, 1), (1, -1, 0), (0, 1, -1))):
        ways[6 + row, range(3), range(3)] = np.asarray(scales) / RADIUS_MM
    return ways


class Poses:
    """K candidate transforms between two scans, each as two halves from a mid-space that is centred at 0.

    A change moves the one scan by half of it, and the other by half of its inverse. So exchanging the scans exchanges
    the halves and negates changes, to the last bit, and nothing else.

    Args:
        to_baseline: mid-space to baseline (K, 4, 4), float64, RAS mm.
        to_followup: mid-space to follow-up (K, 4, 4), likewise.
    """

    def __init__(self, to_baseline: torch.Tensor, to_followup: torch.Tensor):
        self.to_baseline = to_baseline
        self.to_followup = to_followup
        self._ways = torch.from_numpy(generators()).to(to_baseline.device)

    @classmethod
    def about(
        cls, centres: Sequence[np.ndarray], turns: np.ndarray, shifts: np.ndarray, device: torch.device
    ) -> "Poses":
        """Turns (K, 3), rotation vectors, and shifts (K, 3), of two scans whose centres (3,) meet at 0."""
        halves = []
        for centre, sign in zip(centres, (-0.5, 0.5), strict=True):
            matrix = np.tile(np.eye(4), (len(turns), 1, 1))
            matrix[:, :3, :3] = Rotation.from_rotvec(sign * turns).as_matrix()
            matrix[:, :3, 3] = centre + np.einsum("kij,kj->ki", matrix[:, :3, :3], sign * shifts)
            halves.append(torch.from_numpy(matrix).to(device))
        return cls(*halves)

    @classmethod
    def of_transform(cls, transform: np.ndarray, centres: Sequence[np.ndarray], device: torch.device) -> "Poses":
        """One pose: that of a transform (4, 4), points of the baseline to points of the follow-up, RAS mm."""
        here, there = np.eye(4), np.eye(4)
        here[:3, 3], there[:3, 3] = centres
        half = half_linear(np.linalg.inv(there) @ transform @ here)
        return cls(*(torch.from_numpy(m[None]).to(device) for m in (here @ np.linalg.inv(half), there @ half)))

    def __len__(self) -> int:
        return len(self.to_baseline)

    @property
    def device(self) -> torch.device:
        """Where the matrices are."""
        return self.to_baseline.device

    @property
    def transforms(self) -> np.ndarray:
        """Points of the baseline to points of the follow-up, (K, 4, 4), RAS mm."""
        return self.to_followup.cpu().numpy() @ np.linalg.inv(self.to_baseline.cpu().numpy())

    def halves(self, change: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Mid-space to baseline and to follow-up, (K, 4, 4) each, after changes (K, degrees of freedom) in mm."""
        if change is None:
            return self.to_baseline, self.to_followup
        return self.to_baseline @ self.moves(-change / 2), self.to_followup @ self.moves(change / 2)

    def moves(self, change: torch.Tensor) -> torch.Tensor:
        """Changes (K, degrees of freedom) as matrices (K, 4, 4) of mid-space."""
        return torch.matrix_exp(torch.einsum("kp,pij->kij", change, self._ways[: change.shape[1]]))

    def changed(self, change: torch.Tensor) -> "Poses":
        """The poses after changes (K, degrees of freedom)."""
        return Poses(*self.halves(change))

    def pick(self, index: Sequence[int]) -> "Poses":
        """Some of the poses, in this order."""
        return Poses(self.to_baseline[list(index)], self.to_followup[list(index)])

    def joined(self, others: "Poses") -> "Poses":
        """These poses and others."""
        return Poses(*(torch.cat(pair) for pair in zip(self.halves(), others.halves(), strict=True)))
