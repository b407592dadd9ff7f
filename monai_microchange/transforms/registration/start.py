# SPDX-License-Identifier: Apache-2.0
"""Where to begin: turns and shifts that make two scans alike, when headers do not say how they lie to each other."""

from collections.abc import Sequence

import numpy as np
import torch

from monai_microchange.transforms.registration.likeness import normalized_mutual_information
from monai_microchange.transforms.registration.optimise import minimise
from monai_microchange.transforms.registration.poses import RADIUS_MM, Poses
from monai_microchange.transforms.registration.sampling import draw_points
from monai_microchange.transforms.registration.volume import Volume

__all__ = ["find_start", "masked_correlation", "turns_within"]

STEP_DEGREES = 28.0
"""Distance of neighbouring turns that are tried."""
MAX_DEGREES = 70.0
"""Largest turn that is tried."""
GRID, GRID_MM = 32, 12
"""Voxels along each axis, and their size, on which shifts are tried: room for two heads side by side."""
MIN_SHARED = 0.35
"""Least share of the smaller region that both scans must show."""
CHUNK = 16
"""So many turns are tried at once, to bound memory."""
CANDIDATES = 12
"""So many turns of the search are refined."""
REFINE_MM, POINTS = 6, 4000
"""Voxel size and number of samples of that refinement."""
SURE = 1.25
"""A pose is sure where its mutual information is so many times the most that any turn from it by 20 degrees has.

True poses of heads have 1.4 to 3.6 (several contrasts, parts of heads), others at most 1.15, since a wrong pose is as
good as its neighbours.
"""
UNSURE_KEPT = 3
"""So many poses are handed on if none is sure."""


def find_start(volumes: Sequence[Volume], seed: int) -> Poses:
    """Poses to refine, best first: one if it is sure, else a few.

    First the pose that the headers give, and the best shift without a turn, are refined on 6 mm voxels. If the better
    one is not sure (`SURE`), turns up to 70 degrees are tried, each with its best shift, and the best of them refined
    and compared by mutual information over all that either region holds, within both fields of view.

    Args:
        volumes: of the baseline and of the follow-up, on voxels of 1 mm.
        seed: of the samples' places.

    Raises:
        ValueError: if the regions do not meet in any pose tried.
    """
    device = volumes[0].channels.device
    coarse = [volume.pooled(GRID_MM).masked() for volume in volumes]
    medium = [volume.pooled(REFINE_MM).masked() for volume in volumes]
    turns = turns_within(MAX_DEGREES)
    unturned, _ = _try_turns(coarse, turns[:1])
    centres = [volume.centre for volume in volumes]
    as_headers_say = Poses.about(centres, np.zeros((1, 3)), (centres[0] - centres[1])[None], device)
    first, value = _refine(medium, as_headers_say.joined(unturned), seed)
    best = first.pick([int(value.argmax())])
    if _sharpness(medium, best, seed) > SURE:
        return best
    tried, score = _try_turns(coarse, turns)
    likely = tried.pick(score.argsort(descending=True)[:CANDIDATES].tolist())
    found, value = _refine(medium, best.joined(likely), seed)
    order = value.argsort(descending=True).tolist()
    best = found.pick(order[:1])
    return best if _sharpness(medium, best, seed) > SURE else found.pick(order[:UNSURE_KEPT])


def turns_within(degrees: float) -> np.ndarray:
    """Rotation vectors (n, 3), radians, in a ball: the null turn first, and with each turn its inverse.

    Example:
        >>> len(turns_within(20.0)), len(turns_within(28.0))
        (1, 15)
    """
    reach = int(degrees // STEP_DEGREES) + 1
    steps = np.arange(-reach, reach + 1) * STEP_DEGREES
    lattice = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    # body-centred: no turn is far from one that is tried
    vectors = np.concatenate([lattice, lattice + STEP_DEGREES / 2])
    size = np.linalg.norm(vectors, axis=1)
    order = np.argsort(size, kind="stable")
    return np.radians(vectors[order][size[order] <= degrees + 1e-6])


def masked_correlation(
    images: tuple[torch.Tensor, torch.Tensor],
    fields: tuple[torch.Tensor, torch.Tensor],
    regions: tuple[torch.Tensor, torch.Tensor],
) -> torch.Tensor:
    """Pearson's correlation (K, I, J, K) of two images for each whole shift of the second one, cyclic.

    At shift d, voxel x of the first image is compared with x + d of the second, where both were seen.

    Args:
        images: (K, I, J, K) each.
        fields: 1 where the image was seen, else 0, of the same shape.
        regions: what must be shared: -1 is returned where both show less than `MIN_SHARED` of the smaller region.

    Source: Padfield, 2012, doi 10.1109/TIP.2011.2181402.
    """
    size, axes = images[0].shape[1:], (1, 2, 3)
    waves = [
        [torch.fft.rfftn(x, dim=axes) for x in (image * field, image.square() * field, field, region)]
        for image, field, region in zip(images, fields, regions, strict=True)
    ]

    def over(which: int, other_which: int) -> torch.Tensor:
        return torch.fft.irfftn(waves[0][which].conj() * waves[1][other_which], s=size, dim=axes)

    value, square, field, region = range(4)
    count = over(field, field).clamp(min=1.0)
    total, other_total = over(value, field), over(field, value)
    spread = (over(square, field) - total.square() / count).clamp(min=0)
    other_spread = (over(field, square) - other_total.square() / count).clamp(min=0)
    both = (spread * other_spread).sqrt()
    score = (over(value, value) - total * other_total / count) / both.clamp(min=1e-3 * float(both.max()) + 1e-12)
    least = MIN_SHARED * torch.minimum(*(part.sum(axes) for part in regions))
    return torch.where(over(region, region) >= least[:, None, None, None], score, -1.0)


def _try_turns(volumes: Sequence[Volume], turns: np.ndarray) -> tuple[Poses, torch.Tensor]:
    """Each turn with the shift at which the scans are most alike, and how alike (n,)."""
    device, centres = volumes[0].channels.device, [volume.centre for volume in volumes]
    axis = (torch.arange(GRID, device=device) - (GRID - 1) / 2) * GRID_MM
    points = torch.cartesian_prod(axis, axis, axis)
    shifts, scores = [], []
    for some in np.array_split(turns, -(-len(turns) // CHUNK)):
        halves = Poses.about(centres, some, np.zeros_like(some), device).halves()
        seen = [
            [part.view(-1, GRID, GRID, GRID) for part in (*volume.sample(half, points), volume.sees(half, points))]
            for volume, half in zip(volumes, halves, strict=True)
        ]
        images, regions, fields = zip(*seen, strict=True)
        score, at = masked_correlation(images, fields, regions).flatten(1).max(1)
        voxels = np.stack(np.unravel_index(at.cpu().numpy(), (GRID,) * 3), 1)
        # the second half of a cyclic axis are the negative shifts
        shifts.append((voxels - GRID * (voxels >= GRID // 2)) * float(GRID_MM))
        scores.append(score)
    return Poses.about(centres, turns, np.concatenate(shifts), device), torch.cat(scores)


def _likeness(
    volumes: Sequence[Volume], poses: Poses, points: torch.Tensor, change: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mutual information over either region within both fields, and how much of the samples both regions hold."""
    halves = poses.halves(change)
    (one, here), (other, there) = (v.sample(half, points) for v, half in zip(volumes, halves, strict=True))
    seen = volumes[0].sees(halves[0], points) * volumes[1].sees(halves[1], points)
    alike = normalized_mutual_information(one, other, torch.maximum(here, there) * seen)
    return alike, (here * there).sum(1)


def _refine(volumes: Sequence[Volume], poses: Poses, seed: int) -> tuple[Poses, torch.Tensor]:
    """Better poses, and the mutual information of each (K,); 0 where too little of the regions is shared."""
    samples = draw_points(poses, volumes, POINTS, seed)
    none = torch.zeros(len(poses), 6, dtype=torch.float64, device=poses.device)
    found = minimise(
        lambda change: -_likeness(volumes, poses, samples.points, change)[0],
        none,
        max_step=12.0,
        tolerance=0.5,
        iterations=12,
    )
    better = poses.changed(found.point)
    shared_mm3 = _likeness(volumes, better, samples.points)[1] * samples.mm3
    least_mm3 = MIN_SHARED * min(volume.region_mm3 for volume in volumes)
    return better, torch.where(shared_mm3 >= least_mm3, -found.value, 0.0)


def _sharpness(volumes: Sequence[Volume], pose: Poses, seed: int) -> float:
    """Mutual information of a pose over the most that any turn from it by 20 degrees has."""
    turns = torch.zeros(7, 6, dtype=torch.float64, device=pose.device)
    turns[1:4, 3:] = np.radians(20) * RADIUS_MM * torch.eye(3)
    turns[4:, 3:] = -turns[1:4, 3:]
    samples = draw_points(pose, volumes, POINTS, seed)
    above_chance = _likeness(volumes, pose.pick([0] * 7).changed(turns), samples.points)[0] - 1
    return float(above_chance[0] / above_chance[1:].max().clamp(min=1e-6))
