# SPDX-License-Identifier: Apache-2.0
"""Pairs of scans whose true alignment is known exactly, made from real scans by fixed seeds.

Both visits of a case are sampled, once each, from one real scan (or from two contrasts of one space), on grids of their
own that lie askew to the scan's; then each header is moved by half of a known pose. So neither visit is privileged,
neither is sharper for being the original, and the truth is a product of matrices.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from _registration_change import VisitChange, draw_changes, paint_change
from _registration_grid import Grid, draw_grid, random_direction, sample_on_grid
from _registration_sources import SOURCES, Source, load_source
from monai.data import MetaTensor
from scipy.spatial.transform import Rotation

from monai_microchange._frames import LPS_FROM_RAS, affine_from_image, apply_affine

__all__ = ["CASES", "Case", "draw_case"]

CASES = 40
"""In each split."""
SEEDS = {"tune": 20_260_101, "report": 20_260_202}
POSES = {"small": (10.0, 15.0), "medium": (25.0, 40.0), "large": (60.0, 100.0)}
"""Largest turn in degrees, and largest shift in mm, of half, a quarter and a quarter of the cases."""
BRAIN_POINTS = 2000


@dataclass(frozen=True)
class Case:
    """A pair with its truth.

    Attributes:
        baseline: (1, I, J, K), float32, with its affine to RAS mm.
        followup: the same of the other visit, on a grid of its own.
        baseline_to_followup: the truth (4, 4), points of the baseline to points of the follow-up, RAS mm.
        brain_points_mm: (N, 3), RAS mm of the baseline: points of the brain that both visits show.
        description: what was done.
    """

    baseline: MetaTensor
    followup: MetaTensor
    baseline_to_followup: np.ndarray
    brain_points_mm: np.ndarray
    description: str


@dataclass(frozen=True)
class _Visit:
    scan: MetaTensor
    source_to_visit: np.ndarray
    description: str


def draw_case(number: int, split: str = "tune", data: str | Path | None = None) -> Case:
    """A case, always the same one for a number and a split.

    Every fifth has two contrasts, two have CT; a half lies within 10 degrees and 15 mm, a quarter each within 25 and
    40, and within 60 and 100. Grids, tilt of the slices, noise, bias field, contrast curve, lesions, cavity, removed
    face, half a head and wrong or missing origin of the header are drawn for each.

    Args:
        number: from 0 to 39.
        split: `tune`, to develop with, or `report`, to be looked at once. They share neither seeds nor heads.
        data: folder of the real scans; by default what MICROCHANGE_DATA names.

    Raises:
        ValueError: if there is no such case.
    """
    if split not in SEEDS or not 0 <= number < CASES:
        raise ValueError(
            f"expected a number from 0 to {CASES - 1} and a split of {tuple(SEEDS)}; got {number}, {split}"
        )
    rng = np.random.default_rng([SEEDS[split], number])
    kind = "ct" if number in (12, 33) else "contrasts" if number % 5 == 4 else "same"
    root = Path(data or os.environ["MICROCHANGE_DATA"])
    source = load_source(root, str(rng.choice(SOURCES[split][kind])))
    contrasts = [str(c) for c in rng.permutation(list(source.images))]
    contrasts = contrasts[:2] if kind == "contrasts" else contrasts[:1] * 2
    pose_class = ("small", "large", "small", "medium")[number % 4]
    halves = _draw_pose(rng, *POSES[pose_class], _centre(source))
    changes = draw_changes(rng, source, root)
    visits = [
        _acquire(rng, source, contrast, half, change)
        for contrast, half, change in zip(contrasts, halves, changes, strict=True)
    ]
    truth = visits[1].source_to_visit @ np.linalg.inv(visits[0].source_to_visit)
    points = _shared_brain(rng, source, visits)
    return Case(
        visits[0].scan,
        visits[1].scan,
        truth,
        apply_affine(visits[0].source_to_visit, points),
        f"{source.name}, {pose_class} pose {_size_of(halves)}; {visits[0].description} | {visits[1].description}",
    )


def _draw_pose(
    rng: np.random.Generator, most_degrees: float, most_mm: float, centre: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Source to each visit (4, 4), RAS mm: the two halves, opposite to each other, of a turn about the centre."""
    turn = random_direction(rng) * np.radians(rng.uniform(0.2, 1.0) * most_degrees)
    shift = random_direction(rng) * rng.uniform(0.2, 1.0) * most_mm
    halves = []
    for sign in (-0.5, 0.5):
        half = np.eye(4)
        half[:3, :3] = Rotation.from_rotvec(sign * turn).as_matrix()
        half[:3, 3] = centre - half[:3, :3] @ centre + sign * shift
        halves.append(half)
    return halves[0], halves[1]


def _acquire(
    rng: np.random.Generator, source: Source, contrast: str, source_to_scanner: np.ndarray, change: VisitChange
) -> _Visit:
    """One visit: sampled on a grid of its own, with its own noise, bias field, contrast and header."""
    is_ct = contrast == "CT"
    grid, words = draw_grid(rng, source, change)
    image = paint_change(source, contrast, change)
    values = sample_on_grid(image, grid, source.air)
    if not is_ct:
        values, more = _degrade(rng, values, source, contrast)
        words += more
    else:
        values = values + rng.normal(0, 20, values.shape)
    header, told = _draw_header(rng, grid)
    affine = header @ source_to_scanner @ grid.affine
    scan = MetaTensor(torch.from_numpy(values.astype(np.float32))[None], affine=torch.from_numpy(affine))
    return _Visit(scan, header @ source_to_scanner, f"{contrast} {words}{change.description}{told}")


def _degrade(rng: np.random.Generator, values: np.ndarray, source: Source, contrast: str) -> tuple[np.ndarray, str]:
    """A monotone contrast curve, a smooth bias field, Rician noise and another scale of grey values."""
    brain = sitk.GetArrayViewFromImage(source.images[contrast])[sitk.GetArrayViewFromImage(source.brain) > 0]
    scale = np.percentile(brain, 99)
    gamma, strength, noise = np.exp(rng.uniform(-0.4, 0.4)), rng.uniform(0.0, 0.3), rng.uniform(0.01, 0.06)
    x = np.clip(values / scale, 0, None)
    bright = x**gamma * np.exp(strength * _smooth_field(rng, values.shape))
    noisy = np.hypot(bright + rng.normal(0, noise, x.shape), rng.normal(0, noise, x.shape))
    if source.is_stripped:
        noisy[x < 0.02] = 0
    words = f" gamma {gamma:.2f} bias {strength:.2f} noise {noise:.2f}"
    return noisy * rng.uniform(150, 1500), words


def _smooth_field(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Field (I, J, K) of about unit spread that varies over half of the field of view."""
    field = np.zeros(shape)
    for _ in range(4):
        waves = [rng.uniform(-0.7, 0.7) * np.pi * np.linspace(0, 1, n) for n in shape]
        phase = waves[0][:, None, None] + waves[1][:, None] + waves[2] + rng.uniform(0, 2 * np.pi)
        field += np.cos(phase) / np.sqrt(2)
    return field


def _draw_header(rng: np.random.Generator, grid: Grid) -> tuple[np.ndarray, str]:
    """How a wrong header moves the scan (4, 4): mostly not at all."""
    moved, chance = np.eye(4), rng.random()
    if chance < 0.1:
        moved[:3, 3] = -grid.affine[:3, 3]
        return moved, ", origin missing"
    if chance < 0.2:
        moved[:3, 3] = random_direction(rng) * rng.uniform(20, 100)
        return moved, ", origin wrong"
    return moved, ""


def _shared_brain(rng: np.random.Generator, source: Source, visits: list[_Visit]) -> np.ndarray:
    """Points (N, 3) of the brain, RAS mm of the source, within both fields of view."""
    brain = np.argwhere(sitk.GetArrayViewFromImage(source.brain) > 0)[:, ::-1]
    points = apply_affine(affine_from_image(source.brain), rng.permutation(brain)[: 10 * BRAIN_POINTS])
    for visit in visits:
        to_index = np.linalg.inv(visit.scan.affine.numpy()) @ visit.source_to_visit
        index = apply_affine(to_index, points)
        points = points[((index >= -0.5) & (index <= np.asarray(visit.scan.shape[1:]) - 0.5)).all(axis=1)]
    return points[:BRAIN_POINTS]


def _centre(source: Source) -> np.ndarray:
    box = sitk.LabelShapeStatisticsImageFilter()
    box.Execute(source.brain)
    return LPS_FROM_RAS[:3, :3] @ np.asarray(box.GetCentroid(1))


def _size_of(halves: tuple[np.ndarray, np.ndarray]) -> str:
    whole = halves[1] @ np.linalg.inv(halves[0])
    return f"{np.degrees(Rotation.from_matrix(whole[:3, :3]).magnitude()):.0f}°"
