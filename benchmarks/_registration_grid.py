# SPDX-License-Identifier: Apache-2.0
"""Grids that a scanner might have chosen, and the one interpolation that puts a head on them."""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from _registration_change import VisitChange
from _registration_sources import Source
from scipy.spatial.transform import Rotation

from monai_microchange._frames import LPS_FROM_RAS, affine_from_image, corners_mm

__all__ = ["Grid", "draw_grid", "random_direction", "sample_on_grid"]

SPACINGS_MM = ((1, 1, 1), (0.9, 0.9, 3), (1, 1, 3), (0.7, 0.7, 4), (1, 1, 6), (2, 2, 2), (0.6, 0.6, 3.3))


@dataclass(frozen=True)
class Grid:
    """Affine (4, 4), voxel to RAS mm, and number of voxels."""

    affine: np.ndarray
    shape: tuple[int, int, int]

    @property
    def spacing_mm(self) -> np.ndarray:
        """Voxel size along each axis (3,)."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)


def draw_grid(rng: np.random.Generator, source: Source, change: VisitChange) -> tuple[Grid, str]:
    """Slices along one of the body's planes, tilted; the field of view follows the head, or a half of it."""
    spacing = np.asarray(SPACINGS_MM[rng.integers(len(SPACINGS_MM))], dtype=float)
    slices_along = int(rng.choice(3, p=[0.2, 0.1, 0.7]))
    axes = np.eye(3)[[a for a in range(3) if a != slices_along] + [slices_along]].T
    most = 30.0 if rng.random() < 0.25 else 12.0
    tilt = rng.uniform(2.0, most)
    directions = Rotation.from_rotvec(random_direction(rng) * np.radians(tilt)).as_matrix() @ axes
    low, high = _extent(_head(source), directions)
    margins = rng.uniform(-4.0, 20.0, (2, 3))
    low, high = low - margins[0], high + margins[1]
    if change.half is not None:
        axis = int(np.argmax(np.abs(directions[change.half.axis])))
        brain_low, brain_high = (ends[axis] for ends in _extent(source.brain, directions))
        upwards = (directions[change.half.axis, axis] > 0) == change.half.keeps_high
        cut = change.half.share * (brain_high - brain_low)
        if upwards:
            low[axis] = brain_high - cut
        else:
            high[axis] = brain_low + cut
    shape = np.maximum(np.ceil((high - low) / spacing), 1).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = directions @ (low + spacing / 2)
    plane = ("sagittal", "coronal", "axial")[slices_along]
    size = "x".join(f"{s:g}" for s in spacing)
    return Grid(affine, (int(shape[0]), int(shape[1]), int(shape[2]))), f"{size} mm {plane} tilted {tilt:.0f}°"


def sample_on_grid(image: sitk.Image, grid: Grid, air: float) -> np.ndarray:
    """Values (I, J, K): thick voxels are the mean of what they hold, sampled every mm or closer."""
    parts = np.maximum(np.round(grid.spacing_mm), 1).astype(int)
    fine = grid.affine @ np.diag([*(1 / parts), 1.0])
    fine[:3, 3] = grid.affine[:3, 3] - grid.affine[:3, :3] @ ((1 - 1 / parts) / 2)
    lps = LPS_FROM_RAS @ fine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize([int(n) for n in np.asarray(grid.shape) * parts])
    resampler.SetOutputSpacing(spacing.tolist())
    resampler.SetOutputDirection((lps[:3, :3] / spacing).ravel().tolist())
    resampler.SetOutputOrigin(lps[:3, 3].tolist())
    resampler.SetDefaultPixelValue(air)
    values = sitk.GetArrayFromImage(resampler.Execute(image)).transpose(2, 1, 0)
    i, j, k = grid.shape
    return values.reshape(i, parts[0], j, parts[1], k, parts[2]).mean(axis=(1, 3, 5))


def _head(source: Source) -> sitk.Image:
    image = next(iter(source.images.values()))
    return sitk.OtsuThreshold(image, 0, 1)


def _extent(mask: sitk.Image, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends (3,) of a mask along three axes, mm."""
    box = sitk.LabelShapeStatisticsImageFilter()
    box.Execute(mask)
    start, size = np.split(np.asarray(box.GetBoundingBox(1)), 2)
    shifted = affine_from_image(mask) @ np.block([[np.eye(3), start[:, None]], [np.zeros(3), 1.0]])
    along = corners_mm(shifted, tuple(size)) @ directions
    return along.min(axis=0), along.max(axis=0)


def random_direction(rng: np.random.Generator) -> np.ndarray:
    """A unit vector (3,), any direction alike."""
    vector = rng.normal(size=3)
    return vector / np.linalg.norm(vector)
