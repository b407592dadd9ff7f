# SPDX-License-Identifier: Apache-2.0
"""How alike two aligned scans are: their grey values, their structure, their edges."""

import numpy as np
import torch
from scipy import ndimage as ndi

from monai_microchange.quality._work_grid import block_means, slopes, smoothed, standardized, work_factor

__all__ = ["edge_distance_mm", "likeness"]

STRONG = 0.9
"""Edges are where the gradient is above this quantile of the mask."""
MIN_VOXELS = 64
"""Fewer working voxels, a cube of 8 mm, say nothing of two brains."""
FLAT = 1e-5
"""Values that differ by less, relative to the largest, differ by rounding."""


def likeness(
    scans: list[torch.Tensor], mask: torch.Tensor, *, spacing_mm: float, resolution_mm: np.ndarray
) -> tuple[float, float, float]:
    """Correlation of grey values, correlation of local structure, and distance of edges in mm.

    Structure is what is left when the scans are smoothed alike and local mean and deviation are taken out: grey values
    of two heads correlate, since all heads have white matter inside and CSF outside, but their structure does not.

    Args:
        scans: baseline and follow-up (1, I, J, K) on one isotropic grid.
        mask: (1, I, J, K), not empty.
        spacing_mm: voxel size of the grid.
        resolution_mm: extent of the coarser scan's voxels along each axis (3,).

    Returns:
        The two correlations, NaN where a scan has one value only or the mask is too small, and the distance.
    """
    factor = work_factor(spacing_mm)
    coarse_mm, inside = factor * spacing_mm, block_means(mask > 0, factor) > 0.5
    inside = inside if inside.any() else block_means(mask > 0, factor) > 0
    alike = [smoothed(block_means(scan, factor), resolution_mm, spacing_mm=coarse_mm) for scan in scans]
    local = [standardized(scan, inside.astype(np.float32), spacing_mm=coarse_mm) for scan in alike]
    edges = [_strong_edges(scan, inside) for scan in local]
    distance = edge_distance_mm(edges[0], edges[1], spacing_mm=coarse_mm)
    if inside.sum() < MIN_VOXELS or any(_is_flat(scan, mask) for scan in scans):
        return float("nan"), float("nan"), distance
    return _correlation(alike, inside), _correlation(local, inside), distance


def edge_distance_mm(one: np.ndarray, other: np.ndarray, *, spacing_mm: float) -> float:
    """Mean distance from an edge voxel to the nearest one of the other image, both ways; NaN if one has none.

    >>> one, other = np.zeros((2, 5, 5, 5), bool)
    >>> one[1], other[3] = True, True
    >>> edge_distance_mm(one, other, spacing_mm=2.0)
    4.0
    """
    if not one.any() or not other.any():
        return float("nan")
    ways = [
        ndi.distance_transform_edt(~to, sampling=spacing_mm)[start].mean() for start, to in ((one, other), (other, one))
    ]
    return float(np.mean(ways))


def _correlation(scans: list[np.ndarray], inside: np.ndarray) -> float:
    one, other = (scan[inside] - scan[inside].mean(dtype=np.float64) for scan in scans)
    scale = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return float((one * other).sum()) / scale if scale > 0 else float("nan")


def _is_flat(scan: torch.Tensor, mask: torch.Tensor) -> bool:
    """Whether it has one value in the mask but for rounding: smoothing would carry in what lies around."""
    values = scan[mask > 0]
    return float(values.max() - values.min()) <= FLAT * float(values.abs().max())


def _strong_edges(scan: np.ndarray, inside: np.ndarray) -> np.ndarray:
    slope = np.sqrt(sum(axis**2 for axis in slopes(scan, spacing_mm=1.0)))
    return inside & (slope > max(float(np.quantile(slope[inside], STRONG)), 1e-6))
