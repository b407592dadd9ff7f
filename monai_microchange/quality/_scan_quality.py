# SPDX-License-Identifier: Apache-2.0
"""What one scan is like by itself: its sharpness, its noise, its tissues."""

import numpy as np
import torch
from scipy import ndimage as ndi

from monai_microchange._frames import apply_affine
from monai_microchange.enums import Anatomy

__all__ = ["noise_deviation", "smoothness_mm", "tissue_levels"]

TISSUES = {"grey": Anatomy.CORTEX, "deep_grey": Anatomy.DEEP_GREY, "csf": Anatomy.VENTRICLE}
"""Tissues whose brightness is set against white matter's."""
MIN_VOXELS = 200
"""A tissue of fewer voxels has no brightness worth telling."""
MOST_POINTS = 200_000


def tissue_levels(scan: torch.Tensor, anatomy: torch.Tensor) -> dict[str, float]:
    """Median brightness of `white`, `grey`, `deep_grey` and `csf`, of those that the anatomy has.

    Args:
        scan: (1, I, J, K).
        anatomy: `Anatomy` labels on that grid.
    """
    values, labels = np.asarray(scan), np.asarray(anatomy)
    levels = {}
    for name, label in {"white": Anatomy.WHITE_MATTER, **TISSUES}.items():
        inside = values[labels == label]
        if inside.size >= MIN_VOXELS:
            levels[name] = float(np.median(inside))
    return levels


def noise_deviation(native: torch.Tensor, native_affine: np.ndarray, points_mm: np.ndarray) -> float:
    """Standard deviation of the noise, from second differences within the slices of the scan as it was acquired.

    The differences see no slope, and their median no edges; interpolation by the scanner makes noise smooth, and the
    estimate too small.

    Args:
        native: scan (1, I, J, K) on its own grid.
        native_affine: (4, 4), voxel to RAS mm.
        points_mm: (N, 3), RAS mm of the scan: where to look, white matter if possible.

    Returns:
        The deviation in the scan's units; NaN without a point inside.

    Source: Immerkær, 1996, doi 10.1006/cviu.1996.0060; with a median in place of the mean.
    """
    scan = np.asarray(native)[0]
    spacing = np.linalg.norm(native_affine[:3, :3], axis=0)
    order = np.argsort(spacing, kind="stable")
    rows, columns = np.eye(3, dtype=int)[order[0]], np.eye(3, dtype=int)[order[1]]
    at = np.unique(np.rint(apply_affine(np.linalg.inv(native_affine), points_mm)).astype(int), axis=0)
    edge = rows + columns
    at = at[((at >= edge) & (at < np.asarray(scan.shape) - edge)).all(axis=1)]
    if not len(at):
        return float("nan")
    at = at[:: max(1, len(at) // MOST_POINTS)]
    total = np.zeros(len(at))
    for row, along in ((-1, 1), (0, -2), (1, 1)):
        for column, across in ((-1, 1), (0, -2), (1, 1)):
            total += along * across * scan[tuple((at + row * rows + column * columns).T)]
    return float(1.4826 * np.median(np.abs(total)) / 6)  # the weights' root sum of squares is 6


def smoothness_mm(scan: torch.Tensor, mask: torch.Tensor, *, spacing_mm: float) -> list[float]:
    """Width at half height along each axis (3,) of a Gaussian that would make noise as smooth as the scan.

    Not the resolution itself, since a brain is no noise; but for two scans of one brain the ratio is telling.

    Args:
        scan: (1, I, J, K) on an isotropic grid.
        mask: (1, I, J, K), where to look.
        spacing_mm: voxel size of the grid.

    Returns:
        Widths in mm; NaN where the scan has one value only.

    Source: Forman et al., 1995, doi 10.1002/mrm.1910330508.
    """
    inside = np.asarray(mask)[0] > 0
    values = np.asarray(scan)[0].astype(np.float32)
    fine = values - ndi.uniform_filter(values, max(3, round(12 / spacing_mm)))
    inside = inside & (np.abs(fine) <= 5 * 1.4826 * np.median(np.abs(fine[inside])))
    widths = []
    for axis in range(3):
        here, there = (np.moveaxis(x, axis, 0) for x in (fine, inside))
        both = there[1:] & there[:-1]
        one, other = here[1:][both].astype(np.float64), here[:-1][both].astype(np.float64)
        scale = float((one**2).sum() + (other**2).sum()) / 2
        alike = float((one * other).sum()) / scale if scale > 0 else float("nan")
        widths.append(float(2.3548 * spacing_mm / np.sqrt(-4 * np.log(alike))) if 0 < alike < 1 else float("nan"))
    return widths
