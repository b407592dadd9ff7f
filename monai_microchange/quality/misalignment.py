# SPDX-License-Identifier: Apache-2.0
"""How far apart two aligned scans still lie, place by place."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage as ndi
from torch.nn import functional

from monai_microchange.quality._work_grid import block_means, slopes, smoothed, standardized, work_factor

__all__ = ["Misalignment", "residual_misalignment"]

BLOCK = 3
"""Working voxels along the edge of a block, for which one shift is estimated, from a Gaussian window around it: one
block wide (standard deviation), which with the block itself is 15 mm at half its height."""
LEVELS = ((3.0, 3), (0.0, 4))
"""Further smoothing in mm, and how often the shifts are refined there: coarse for shifts up to 4 mm, then fine."""
OUTLIER = 4.0
"""Residuals of so many robust deviations count nothing: lesions that came or went, not structure that moved."""
DAMPING = 0.03
"""Added to the gradients' energy, relative to the median block's: a shift that nothing shows stays 0."""
MIN_STRUCTURE, MIN_FILLED, MIN_TRUST = 0.15, 0.3, 0.5
"""A block is trusted that has this share of the median block's energy along the direction where there is least, and of
which this share lies in the mask; what is trusted less than the last counts as not estimated."""


@dataclass(frozen=True, eq=False)
class Misalignment:
    """What is left between two aligned scans.

    Attributes:
        distance_mm: (1, I, J, K) float32, how far apart the scans show the same point; 0 outside the mask.
        displacement_mm: (3, I, J, K) float32, along the grid's axes, from where the baseline shows a point to where
            the follow-up does.
        estimated_share: share of the mask with structure enough to measure; the rest is filled from around.
    """

    distance_mm: torch.Tensor
    displacement_mm: torch.Tensor
    estimated_share: float


def residual_misalignment(
    baseline: torch.Tensor,
    followup: torch.Tensor,
    mask: torch.Tensor,
    *,
    spacing_mm: float = 1.0,
    resolution_mm: Sequence[float] = (1.0, 1.0, 1.0),
) -> Misalignment:
    """Local shifts between two aligned scans, by least squares on their gradients, the same whichever comes first.

    Both scans are smoothed alike and standardised locally. In a window around each block the shift is sought that
    explains their difference by the mean of their gradients, half of it in each scan; both are warped by what was
    found, and the rest is estimated again. Voxels whose difference no shift explains lose their weight, so that a
    lesion that appears is no misalignment. Shifts beyond about 5 mm are not found.

    Args:
        baseline: scan (1, I, J, K) on an isotropic grid.
        followup: the other scan on that grid.
        mask: (1, I, J, K), where not zero the shifts are wanted: the brain, or the head.
        spacing_mm: voxel size of the grid.
        resolution_mm: extent of the coarser scan's voxels along each axis of the grid (3,); thicker slices are smoothed
            more, since nothing is known between them.

    Returns:
        The shifts, free of NaN. Without any structure in the mask, or on a grid of one working voxel
        along an axis, they are 0 and the share estimated is 0.

    Raises:
        ValueError: if the shapes differ, or the mask is empty.

    Example:
        >>> wave = torch.arange(48.0).div(3).sin()
        >>> scan = (wave.view(-1, 1, 1) * wave.view(1, -1, 1) + wave)[None]
        >>> found = residual_misalignment(scan, scan, torch.ones_like(scan))
        >>> float(found.distance_mm.max())
        0.0

    Source: Lucas and Kanade, 1981 (least squares on gradients), made symmetric; weights of Beaton and Tukey, 1974, doi
    10.1080/00401706.1974.10489171.
    """
    shape = tuple(baseline.shape)
    if len(shape) != 4 or shape[0] != 1 or tuple(followup.shape) != shape or tuple(mask.shape) != shape:
        shapes = ", ".join(str(tuple(image.shape)) for image in (baseline, followup, mask))
        raise ValueError(f"expected two scans and a mask of one shape (1, I, J, K); got {shapes}")
    inside = torch.as_tensor(mask).as_subclass(torch.Tensor) > 0  # type: ignore[arg-type]
    if not bool(inside.any()):
        raise ValueError("the mask is empty: there is no place to measure the alignment at")
    factor = work_factor(spacing_mm)
    weight = (block_means(inside, factor) > 0).astype(np.float32)
    field = _ShiftField([block_means(scan, factor) for scan in (baseline, followup)], weight, factor * spacing_mm)
    for further_mm, rounds in LEVELS:
        field.refine(np.asarray(resolution_mm), further_mm, rounds)
    displacement = torch.from_numpy(_enlarged(field.shift_mm, factor * BLOCK, shape[1:])) * inside
    return Misalignment(displacement.square().sum(0, keepdim=True).sqrt(), displacement, field.estimated_share())


class _ShiftField:
    """One shift for each block of two scans, refined in rounds.

    Args:
        scans: two of (I, J, K) on the working grid.
        weight: (I, J, K), 1 where shifts are wanted, else 0.
        spacing_mm: voxel size of the working grid.
    """

    def __init__(self, scans: Sequence[np.ndarray], weight: np.ndarray, spacing_mm: float):
        self.scans = scans
        self.weight = weight
        self.spacing_mm = spacing_mm
        self.filled = _window_means(weight)
        self.core = self.filled >= min(MIN_FILLED, float(self.filled.max()))
        self.trust = np.zeros_like(self.filled)
        self.shift_mm = np.zeros((3, *self.filled.shape), np.float32)

    def refine(self, resolution_mm: np.ndarray, further_mm: float, rounds: int) -> None:
        """Estimate what is left, several times; robustly at the finest level, where nothing is smoothed further."""
        mm = self.spacing_mm
        alike = [smoothed(scan, resolution_mm, spacing_mm=mm, further_mm=further_mm) for scan in self.scans]
        alike = [standardized(scan, self.weight, spacing_mm=mm) for scan in alike]
        for _ in range(rounds):
            half = _enlarged(self.shift_mm, BLOCK, self.weight.shape) / (2 * self.spacing_mm)
            moved = [_warped(scan, way * half) for scan, way in zip(alike, (-1, 1), strict=True)]
            self._refine_once(*moved, robust=further_mm == 0)

    def _refine_once(self, one: np.ndarray, other: np.ndarray, *, robust: bool) -> None:
        ways = [slopes(scan, spacing_mm=self.spacing_mm) for scan in (one, other)]
        slope = [(a + b) / 2 for a, b in zip(*ways, strict=True)]
        difference = one - other
        weight = self.weight * _tukey(difference, self.weight) if robust else self.weight
        kept = np.maximum(_window_means(weight), 1e-6)
        # energy and pull per voxel that counts, not per voxel of the block
        energy = np.empty((*kept.shape, 3, 3), np.float32)
        for i, j in zip(*np.triu_indices(3), strict=True):
            energy[..., i, j] = energy[..., j, i] = _window_means(weight * slope[i] * slope[j]) / kept
        pull = np.stack([_window_means(weight * along * difference) / kept for along in slope], axis=-1)
        spectrum = np.linalg.eigvalsh(energy)  # ascending
        least, _, most = np.median(spectrum[self.core], axis=0)
        damping = max(DAMPING * float(most), 1e-9) * np.eye(3, dtype=np.float32)
        left = np.linalg.solve(energy + damping, pull[..., None])[..., 0]
        structure = np.clip(spectrum[..., 0] / max(MIN_STRUCTURE * float(least), 1e-9), 0, 1)
        share = np.clip(kept / np.maximum(self.filled, 1e-6), 0, 1)
        self.trust = (structure * share * np.clip(self.filled / MIN_FILLED, 0, 1)).astype(np.float32)
        self.shift_mm = _filled(self.shift_mm + np.moveaxis(left, -1, 0), self.trust)

    def estimated_share(self) -> float:
        """Share of the voxels wanted whose block is trusted."""
        trust = _enlarged(self.trust[None], BLOCK, self.weight.shape)[0]
        return float((trust[self.weight > 0] > MIN_TRUST).mean())


def _window_means(values: np.ndarray) -> np.ndarray:
    """Means over blocks, smoothed by the window."""
    padded = torch.from_numpy(np.pad(values.astype(np.float32), [(0, -size % BLOCK) for size in values.shape]))
    means = functional.avg_pool3d(padded[None, None], BLOCK)[0, 0].numpy()
    return ndi.gaussian_filter(means, 1.0, mode="constant", truncate=3)


def _enlarged(values: np.ndarray, factor: int, shape: Sequence[int]) -> np.ndarray:
    """Values (C, i, j, k) of blocks at the voxels (I, J, K) that they stand for."""
    fine = functional.interpolate(torch.from_numpy(values)[None], scale_factor=factor, mode="trilinear")[0]
    return fine[:, : shape[0], : shape[1], : shape[2]].numpy()


def _warped(scan: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The scan (I, J, K) at places that are moved by (3, I, J, K) voxels."""
    size = np.maximum(np.asarray(scan.shape) - 1, 1)
    places = [
        2 * (index + move) / extent - 1 for index, move, extent in zip(np.indices(scan.shape), shift, size, strict=True)
    ]
    grid = torch.from_numpy(np.stack(places[::-1], axis=-1).astype(np.float32))[None]
    image = torch.from_numpy(scan)[None, None]
    return functional.grid_sample(image, grid, padding_mode="border", align_corners=True)[0, 0].numpy()


def _tukey(difference: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weights from 1, where the scans agree, to 0, where no shift will make them."""
    limit = OUTLIER * 1.4826 * float(np.median(np.abs(difference[weight > 0])))
    return np.clip(1 - (difference / max(limit, 1e-6)) ** 2, 0, None) ** 2


def _filled(shift: np.ndarray, trust: np.ndarray) -> np.ndarray:
    """Shifts (3, i, j, k) smoothed over the blocks, each with its trust; from the nearest where there is none near."""
    near = ndi.gaussian_filter(trust, 1.0, truncate=3)
    smooth = np.stack([ndi.gaussian_filter(axis * trust, 1.0, truncate=3) / np.maximum(near, 1e-6) for axis in shift])
    known = near > 1e-3
    if not known.any():
        return np.zeros_like(smooth)
    nearest = ndi.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return smooth[(slice(None), *nearest)]
