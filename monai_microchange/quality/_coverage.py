# SPDX-License-Identifier: Apache-2.0
"""How much of what one scan shows the other shows too."""

import numpy as np
import torch

from monai_microchange._frames import apply_affine

__all__ = ["coverage"]


def coverage(
    regions: tuple[torch.Tensor, torch.Tensor],
    region_affines: tuple[np.ndarray, np.ndarray],
    fields: tuple[tuple[np.ndarray, tuple[int, ...]], tuple[np.ndarray, tuple[int, ...]]],
) -> float:
    """Share of the brain (or head) that one scan shows and the other has in its field of view; the lesser of both ways.

    Args:
        regions: brain mask (1, i, j, k) of the baseline and of the follow-up, each on a grid of its own.
        region_affines: (4, 4) of each, voxel to RAS mm of mid-space.
        fields: affine (voxel to RAS mm of mid-space) and shape of each scan as it was acquired.

    Returns:
        From 0 to 1; 0 if a mask is empty.

    Example:
        >>> whole, half = torch.ones(1, 4, 4, 4), torch.ones(1, 4, 4, 2)
        >>> fields = ((np.eye(4), (4, 4, 4)), (np.eye(4), (4, 4, 2)))
        >>> coverage((whole, half), (np.eye(4), np.eye(4)), fields)
        0.5
    """
    shares = []
    for region, affine, (field, shape) in zip(regions, region_affines, fields[::-1], strict=True):
        points = apply_affine(np.linalg.inv(field) @ affine, np.argwhere(np.asarray(region)[0] > 0))
        seen = np.all((points > -0.5) & (points < np.asarray(shape) - 0.5), axis=1)
        shares.append(float(seen.mean()) if len(points) else 0.0)
    return min(shares)
