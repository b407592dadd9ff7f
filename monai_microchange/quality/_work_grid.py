# SPDX-License-Identifier: Apache-2.0
"""Scans on the coarser grid that they are judged on."""

import numpy as np
import torch
from scipy import ndimage as ndi
from torch.nn import functional

__all__ = ["WORK_MM", "block_means", "slopes", "smoothed", "standardized", "work_factor"]

WORK_MM = 2.0
"""Voxel size that scans are judged at: shifts of a tenth of it are seen, and it costs an eighth of 1 mm."""
SMOOTHING, MIN_SMOOTHING_MM = 0.42, 1.2
"""Standard deviation of the smoothing per mm of resolution (then as wide as a voxel at half its height), and the least
one: gradients of unsmoothed scans are noise."""
STANDARDIZE_MM = 12.0
"""Width of the local mean and deviation that are taken out, and with them bias and intensity scale."""


def work_factor(spacing_mm: float) -> int:
    """Voxels of a grid along the edge of one that is judged.

    >>> work_factor(1.0), work_factor(3.0)
    (2, 1)
    """
    return max(1, round(WORK_MM / spacing_mm))


def block_means(image: torch.Tensor, factor: int) -> np.ndarray:
    """Means (i, j, k) over blocks of `factor` voxels of (1, I, J, K); the border is repeated to fill the last ones."""
    plain = torch.as_tensor(image).as_subclass(torch.Tensor).float()[None]  # type: ignore[arg-type]
    padding = [end for size in reversed(plain.shape[2:]) for end in (0, -size % factor)]
    return functional.avg_pool3d(functional.pad(plain, padding, mode="replicate"), factor)[0, 0].numpy()


def slopes(scan: np.ndarray, *, spacing_mm: float) -> list[np.ndarray]:
    """Gradient of a scan (i, j, k) along each axis, per mm; 0 along an axis of one voxel."""
    return [
        np.gradient(scan, spacing_mm, axis=axis) if size > 1 else np.zeros_like(scan)
        for axis, size in enumerate(scan.shape)
    ]


def smoothed(scan: np.ndarray, resolution_mm: np.ndarray, *, spacing_mm: float, further_mm: float = 0.0) -> np.ndarray:
    """A scan (i, j, k) smoothed to the resolution (3,) along each axis, and further if wanted."""
    sigma_mm = np.hypot(np.maximum(SMOOTHING * np.asarray(resolution_mm, dtype=float), MIN_SMOOTHING_MM), further_mm)
    return ndi.gaussian_filter(scan, sigma_mm / spacing_mm, truncate=3)


def standardized(scan: np.ndarray, weight: np.ndarray, *, spacing_mm: float) -> np.ndarray:
    """A scan (i, j, k) less its local mean, over its local deviation, both Gaussian and of where the weight is."""
    sigma = STANDARDIZE_MM / spacing_mm
    near = ndi.gaussian_filter(weight, sigma, truncate=3) + 1e-4
    centred = scan - ndi.gaussian_filter(scan * weight, sigma, truncate=3) / near
    variance = ndi.gaussian_filter(centred**2 * weight, sigma, truncate=3) / near
    floor = 0.05**2 * float((centred**2 * weight).sum() / weight.sum())
    return (centred / np.sqrt(variance + floor + 1e-12)).astype(np.float32)
