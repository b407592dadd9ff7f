# SPDX-License-Identifier: Apache-2.0
"""How good a registration seems: overlap, likeness, and whether all parts of the head agree on it."""

from collections.abc import Sequence

import numpy as np
import torch

from monai_microchange._frames import apply_affine
from monai_microchange.transforms.registration.likeness import normalized_mutual_information
from monai_microchange.transforms.registration.optimise import minimise
from monai_microchange.transforms.registration.poses import Poses
from monai_microchange.transforms.registration.sampling import draw_points
from monai_microchange.transforms.registration.volume import Volume

__all__ = ["agreement", "disagreement_mm"]

SPACING_MM = 3
"""Voxel size at which quality is judged."""
POINTS, POINTS_PER_PART = 40_000, 5_000
"""Samples of the head, and at most so many of each of its parts."""
MIN_SHARE = 0.02
"""Parts that hold less of the samples than this are not asked."""


def agreement(volumes: Sequence[Volume], transform: np.ndarray) -> tuple[float, float, float]:
    """Overlap of the regions (share of the smaller), and Pearson's correlation and mutual information inside both.

    The mean of what is seen at the voxels of either scan, so that no number depends on which comes first.

    Args:
        volumes: of the baseline and of the follow-up, on voxels of 1 mm.
        transform: (4, 4), points of the baseline to points of the follow-up, RAS mm.
    """
    one, other = (volume.pooled(SPACING_MM) for volume in volumes)
    numbers = [_agreement(one, other, transform), _agreement(other, one, np.linalg.inv(transform))]
    overlap, correlation, information = (float(value) for value in np.mean(numbers, axis=0))
    return overlap, correlation, information


def _agreement(one: Volume, other: Volume, transform: np.ndarray) -> tuple[float, float, float]:
    inside = one.channels[1] > 0.5
    at = apply_affine(one.affine, inside.nonzero().cpu().numpy())
    points = torch.from_numpy(at.astype(np.float32)).to(one.channels.device)
    grey, there = other.sample(torch.from_numpy(transform).to(points.device)[None], points)
    both = there[0] > 0.5
    overlap = float(both.sum()) / max(min(len(points), int((other.channels[1] > 0.5).sum())), 1)
    pair = torch.stack([one.channels[0][inside][both], grey[0][both]])
    if pair.shape[1] < 2 or bool((pair.std(1) == 0).any()):
        return overlap, 0.0, 1.0
    information = normalized_mutual_information(pair[:1], pair[1:], torch.ones_like(pair[:1]))
    return min(overlap, 1.0), float(torch.corrcoef(pair.double())[0, 1]), float(information)


def disagreement_mm(volumes: Sequence[Volume], pose: Poses, seed: int = 1) -> float:
    """How far the octants of the head, each aligned by itself, lie from where the alignment of the whole puts them.

    The root of the mean square over octants of the mean shift of each. Octants of one head agree to a fraction of a
    voxel; those of two heads, or of a false alignment, do not agree at all.

    Args:
        volumes: of the baseline and of the follow-up, on voxels of 1 mm.
        pose: the alignment (a batch of one).
        seed: of the samples' places.
    """
    small = [volume.pooled(SPACING_MM) for volume in volumes]
    points = draw_points(pose, small, POINTS, seed).points
    octant = (points > 0).long() @ torch.tensor([4, 2, 1], device=points.device)
    parts = [points[octant == number] for number in range(8)]
    parts = [part for part in parts if len(part) >= MIN_SHARE * len(points)]
    # parts with few samples use them again: all have the same shape, and none more weight for it
    count = min(POINTS_PER_PART, max(len(part) for part in parts))
    rows = [part[torch.arange(count, device=points.device) % len(part)] for part in parts]
    stack, poses = torch.stack(rows), pose.pick([0] * len(parts))

    def unlike(change: torch.Tensor) -> torch.Tensor:
        halves = poses.halves(change)
        (one, here), (other, there) = (v.sample(half, stack) for v, half in zip(small, halves, strict=True))
        return -normalized_mutual_information(one, other, here * there)

    none = torch.zeros(len(parts), 6, dtype=torch.float64, device=pose.device)
    found = minimise(unlike, none, max_step=2.0, tolerance=0.02, iterations=12)
    # the whole change maps the baseline's side of mid-space to the follow-up's
    moves = poses.moves(found.point).to(stack.dtype)
    shifts = (stack @ (moves[:, :3, :3] - torch.eye(3, device=stack.device)).transpose(1, 2)).mean(1) + moves[:, :3, 3]
    return float(shifts.square().sum(1).mean().sqrt())
