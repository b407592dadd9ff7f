# SPDX-License-Identifier: Apache-2.0
"""Registration in mid-space with PyTorch: both scans move, by halves of one transform, on the CPU or a GPU."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from monai_microchange.transforms.registration.likeness import normalized_mutual_information
from monai_microchange.transforms.registration.optimise import Minimum, minimise
from monai_microchange.transforms.registration.poses import Poses
from monai_microchange.transforms.registration.robust import change_weight
from monai_microchange.transforms.registration.sampling import draw_points
from monai_microchange.transforms.registration.volume import Volume

__all__ = ["Level", "refine_poses"]


@dataclass(frozen=True)
class Level:
    """One step from coarse to fine.

    Attributes:
        spacing_mm: voxel size.
        points: number of samples.
        bins: of grey values.
        max_step_mm: longest step of the optimiser.
        tolerance_mm: the optimiser stops at shorter steps.
        iterations: at most so many.
        robust: leave out what changed.
    """

    spacing_mm: int
    points: int
    bins: int
    max_step_mm: float
    tolerance_mm: float
    iterations: int
    robust: bool = False


LEVELS = (
    Level(6, 10_000, 32, 6.0, 0.05, 25),
    Level(3, 40_000, 32, 2.0, 0.02, 20),
    Level(1, 60_000, 64, 1.0, 0.005, 12, robust=True),
)


def refine_poses(
    volumes: Sequence[Volume],
    poses: Poses,
    *,
    degrees_of_freedom: int = 6,
    levels: Sequence[Level] | None = None,
    seed: int = 1,
) -> Poses:
    """The best of some poses, refined from 6 mm voxels to 1 mm: a batch of one.

    Normalised mutual information is maximised over one transform whose halves move both scans to samples that lie in
    mid-space. Everything is symmetric: exchanging the scans gives the inverse but for rounding.

    Args:
        volumes: of the baseline and of the follow-up, on voxels of 1 mm.
        poses: within about 20 degrees and 20 mm.
        degrees_of_freedom: 6, 7, 9 (scales along the axes of mid-space) or 12; the coarsest level is always rigid.
        levels: at least two; `LEVELS` by default.
        seed: of the samples' places.
    """
    curvature = None
    for number, level in enumerate(LEVELS if levels is None else levels):
        free = degrees_of_freedom if number else 6
        found = _refine(volumes, poses, level, free, seed + number, _widened(curvature, free))
        poses, curvature = poses.changed(found.point), found.curvature
        if number:
            # only now do several poses tell right from wrong
            best = int(found.value.argmin())
            poses, curvature = poses.pick([best]), curvature[best : best + 1]
    return poses


def _refine(
    volumes: Sequence[Volume],
    poses: Poses,
    level: Level,
    degrees_of_freedom: int,
    seed: int,
    curvature: torch.Tensor | None,
) -> Minimum:
    small = [volume.pooled(level.spacing_mm) for volume in volumes]
    samples = draw_points(poses, small, level.points, seed)
    kept = torch.ones(1, device=poses.device)

    def sample(change: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        halves = poses.halves(change)
        (one, here), (other, there) = (v.sample(half, samples.points) for v, half in zip(small, halves, strict=True))
        return one, other, here * there * kept

    if level.robust:
        kept = change_weight(*sample(), samples.place)
    return minimise(
        lambda change: -normalized_mutual_information(*sample(change), level.bins),
        torch.zeros(len(poses), degrees_of_freedom, dtype=torch.float64, device=poses.device),
        max_step=level.max_step_mm,
        tolerance=level.tolerance_mm,
        iterations=level.iterations,
        curvature=curvature,
    )


def _widened(curvature: torch.Tensor | None, degrees_of_freedom: int) -> torch.Tensor | None:
    """Curvature for more degrees of freedom: what is new is taken to be as stiff as the rest on average."""
    if curvature is None or curvature.shape[1] == degrees_of_freedom:
        return curvature
    stiffness = curvature.diagonal(dim1=1, dim2=2).mean(1)
    wider = torch.eye(degrees_of_freedom, dtype=curvature.dtype, device=curvature.device) * stiffness[:, None, None]
    wider[:, : curvature.shape[1], : curvature.shape[1]] = curvature
    return wider
