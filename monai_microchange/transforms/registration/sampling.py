# SPDX-License-Identifier: Apache-2.0
"""Points of mid-space at which two scans are compared: the same whichever scan comes first."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from monai_microchange.transforms.registration.poses import Poses
from monai_microchange.transforms.registration.volume import Volume

__all__ = ["Samples", "draw_points"]

CELL_MM = 6.0
"""Each cell of such a grid that both regions reach gets its share of the points, at random places within."""
MAX_REACH_MM = 200.0
"""Farthest that samples lie from the centre of mid-space."""
LEAST_POINTS = 4000
"""Fewer would leave the histogram of grey values with holes."""


@dataclass(frozen=True)
class Samples:
    """Points of mid-space.

    Attributes:
        points: (N, 3), mm.
        place: which cell (N,) each lies in.
        mm3: volume that each stands for.
    """

    points: torch.Tensor
    place: torch.Tensor
    mm3: float


def draw_points(poses: Poses, volumes: Sequence[Volume], most: int, seed: int) -> Samples:
    """Points spread evenly, by chance within cells, over where both regions lie in any of the poses.

    The cells form a grid about 0, and their order does not depend on the scans. There are `most` points, or as many as
    there are voxels if these are fewer (but 4000 at least).

    Raises:
        ValueError: if the regions do not meet.
    """
    reach = max(volume.reach_mm for volume in volumes)
    ends = math.ceil(min(reach, MAX_REACH_MM) / CELL_MM)
    axis = torch.arange(-ends, ends + 1, device=poses.device) * CELL_MM
    cells = torch.cartesian_prod(axis, axis, axis)
    with torch.no_grad():
        inside = [volume.sample(half, cells)[1] for volume, half in zip(volumes, poses.halves(), strict=True)]
    cells = cells[(inside[0] * inside[1] > 0.05).any(0)]
    if len(cells) == 0:
        raise ValueError("the regions of the two scans do not meet in any pose")
    inside_mm3 = CELL_MM**3 * len(cells)
    voxels = inside_mm3 / volumes[0].spacing_mm ** 3
    count = min(most, max(LEAST_POINTS, math.ceil(voxels)))
    random = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(cells), generator=random).repeat(math.ceil(count / len(cells)))[:count]
    jitter = (torch.rand(count, 3, generator=random) - 0.5) * CELL_MM
    order = order.to(poses.device)
    return Samples(cells[order] + jitter.to(poses.device), order, inside_mm3 / count)
