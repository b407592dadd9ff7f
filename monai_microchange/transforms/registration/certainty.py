# SPDX-License-Identifier: Apache-2.0
"""Whether two scans show one head: do its small parts fit best where the alignment puts them, and not mirrored?"""

from collections.abc import Sequence

import torch

from monai_microchange.transforms.registration.likeness import joint_histogram
from monai_microchange.transforms.registration.poses import Poses
from monai_microchange.transforms.registration.robust import expected_grey
from monai_microchange.transforms.registration.start import find_start
from monai_microchange.transforms.registration.torch_engine import LEVELS, refine_poses
from monai_microchange.transforms.registration.volume import Volume

__all__ = ["LEAST_SETTLED", "fits_mirrored", "settled_share"]

STEP_MM = 3
"""Voxel size of the common grid, and distance of neighbouring shifts."""
POOLED_MM = 2
"""The scans are averaged over such blocks before."""
PART = 5
"""Voxels along each side of a part: 15 mm, some folds of the cortex."""
REACH = 2
"""Parts are shifted by up to so many voxels."""
LEAST_VARIANCE = 1e-4
"""Of grey values from 0 to 1: a part with less has nothing to go by."""
LEAST_SETTLED = 0.7
"""Smallest share of settled parts that is believed.

Two heads, or a head and its mirror image, have at most 0.57; pairs of one head at least 0.82. Measured on painted label
maps and single visits of other patients than the benchmark's, slices of 1 to 6 mm, several contrasts.
"""
SURE = 0.85
"""Where so large a share is settled, the scans need not be tried mirrored."""


def settled_share(volumes: Sequence[Volume], pose: Poses) -> float:
    """Share (0 to 1) of the small parts of the head that fit best where the alignment puts them.

    Two heads can be of one size and shape, and a head and its mirror image nearly are; but their folds differ. So the
    scans, aligned, are cut into cubes of 15 mm, and each cube of one scan is shifted over the other, by up to 6 or
    7 mm. How well it fits is its correlation with what its grey values mostly are in the other scan, so
    contrasts may differ. A cube is settled if it fits best within 3 mm of where it was. Cubes count by how much better
    their best shift is than their middling one: those that show nothing, or only noise, have no say.

    Cubes of both scans are asked, so exchanging the scans changes nothing.

    Args:
        volumes: of the baseline and of the follow-up, on voxels of 1 mm, with the inner part of their regions: outlines
            of two heads are alike.
        pose: the alignment (a batch of one).

    Returns:
        Near 1 for one head; about 0.2 for two, where the cubes fit anywhere; 0 if the scans share no cube.
    """
    (one, here), (other, there) = _on_common_grid([volume.pooled(POOLED_MM) for volume in volumes], pose)
    table = joint_histogram(one.view(1, -1), other.view(1, -1), (here * there).view(1, -1))
    fixed_and_moved = (
        (_expected(table, one) * here, here, other, there),
        (_expected(table.mT, other) * there, there, one, here),
    )
    axis = range(-REACH, REACH + 1)
    shifts = [(i, j, k) for i in axis for j in axis for k in axis if i**2 + j**2 + k**2 <= REACH**2 + 1]
    near = torch.tensor([sum(abs(n) for n in shift) <= 1 for shift in shifts], device=one.device)
    full = _sums(here * there) >= PART**3 / 2
    fits = [
        torch.stack([_fit(fixed, region, _rolled(moved, s), _rolled(seen, s))[full] for s in shifts])
        for fixed, region, moved, seen in fixed_and_moved
    ]
    fit = fits[0] + fits[1].flip(0)  # a cube of the other scan moves the other way
    if not fit.numel():
        return 0.0
    best = fit.max(0).values
    say = best - fit.median(0).values
    settled = fit[near].max(0).values >= best
    return float((say * settled).sum() / say.sum().clamp(min=1e-9))


def fits_mirrored(volumes: Sequence[Volume], share: float, seed: int = 1) -> bool:
    """Whether the scans fit better when one of them is mirrored, so that left and right are exchanged in one.

    Each is mirrored in turn and registered to the other, on 3 mm voxels; both ways must settle more parts than as they
    are, and enough to be believed.

    Args:
        volumes: as of `settled_share`.
        share: `settled_share` of the alignment; nothing is tried where it is sure.
        seed: of the samples' places.
    """
    if share >= SURE:
        return False
    one, other = volumes
    for pair in ((one.mirrored(), other), (one, other.mirrored())):
        try:
            pose = refine_poses(pair, find_start(pair, seed), levels=LEVELS[:2], seed=seed)
        except ValueError:  # mirrored, they do not meet
            return False
        if settled_share(pair, pose) <= max(share, LEAST_SETTLED):
            return False
    return True


def _on_common_grid(volumes: Sequence[Volume], pose: Poses) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Grey values, 0 outside, and region, 0 or 1, of each scan (I, J, K) on one grid of whole parts."""
    reach = int(max(volume.reach_mm for volume in volumes) // STEP_MM)
    axis = torch.arange(-reach, reach + 1, device=pose.device) * float(STEP_MM)
    side = (len(axis),) * 3
    points = torch.cartesian_prod(axis, axis, axis)
    halves = zip(volumes, pose.halves(), strict=True)
    sampled = [[part.view(side) for part in volume.sample(half, points)] for volume, half in halves]
    both = ((sampled[0][1] > 0.5) & (sampled[1][1] > 0.5)).nonzero()
    if len(both) == 0:
        both = torch.full((1, 3), reach, device=pose.device)
    # one part more at each end: what is rolled over the edge lies outside of what both show
    low, high = (both.min(0).values - PART).clamp(min=0).tolist(), (both.max(0).values + 1 + PART).tolist()
    box = [-(-(end - start) // PART) * PART for start, end in zip(low, high, strict=True)]
    window = tuple(slice(start, start + count) for start, count in zip(low, box, strict=True))
    scans = []
    for grey, region in sampled:
        inside = (region[window] > 0.5).to(grey.dtype)
        missing = [end for n, count in zip(inside.shape[::-1], box[::-1], strict=True) for end in (0, count - n)]
        padded = torch.nn.functional.pad(torch.stack([grey[window] * inside, inside]), missing)
        scans.append((padded[0], padded[1]))
    return scans


def _expected(table: torch.Tensor, grey: torch.Tensor) -> torch.Tensor:
    return expected_grey(table, grey.reshape(1, -1)).view(grey.shape)


def _rolled(image: torch.Tensor, shift: tuple[int, ...]) -> torch.Tensor:
    return torch.roll(image, shift, (0, 1, 2))


def _sums(values: torch.Tensor) -> torch.Tensor:
    """Sums over parts, of (..., I, J, K)."""
    i, j, k = (n // PART for n in values.shape[-3:])
    return values.reshape(*values.shape[:-3], i, PART, j, PART, k, PART).sum((-5, -3, -1))


def _fit(one: torch.Tensor, here: torch.Tensor, other: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """Correlation within each part, where both scans show the region; 0 if it is negative."""
    sums = _sums(torch.stack([here * there, one * there, other * here, one**2 * there, other**2 * here, one * other]))
    mean, other_mean, square, other_square, product = sums[1:] / sums[0].clamp(min=1)
    variance, other_variance = (square - mean**2), (other_square - other_mean**2)
    spread = (variance.clamp(min=LEAST_VARIANCE) * other_variance.clamp(min=LEAST_VARIANCE)).sqrt()
    return ((product - mean * other_mean) / spread).clamp(min=0)
