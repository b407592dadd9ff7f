# SPDX-License-Identifier: Apache-2.0
"""Smooth fields on a 1 mm grid, by one small matrix along each axis: quicker than convolving, and exact at the ends."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import BSpline

__all__ = ["along_axes", "banded", "blur", "smooth_noise"]


def along_axes(volume: torch.Tensor, matrices: Sequence[NDArray | None]) -> torch.Tensor:
    """Multiply each spatial axis of a volume (C, I, J, K) by a matrix (out, in) of its own, or leave it (None).

    Example:
        >>> mean = np.full((1, 2), 0.5)
        >>> along_axes(torch.tensor([1.0, 3.0]).view(1, 1, 1, 2), [None, None, mean])
        tensor([[[[2.]]]])
    """
    for axis, matrix in enumerate(matrices, start=1):
        if matrix is not None:
            weights = torch.as_tensor(matrix, dtype=volume.dtype, device=volume.device)
            volume = torch.tensordot(weights, volume, dims=([1], [axis])).movedim(0, axis)
    return volume.contiguous()


def banded(length: int, weights: NDArray) -> NDArray:
    """Matrix (length, length) that weights the neighbours of each voxel, the middle weight on itself.

    Beyond the ends the last voxel is repeated.
    """
    rows = np.arange(length)
    matrix = np.zeros((length, length))
    reach = len(weights) // 2
    for weight, step in zip(weights / weights.sum(), range(-reach, reach + 1), strict=True):
        np.add.at(matrix, (rows, np.clip(rows + step, 0, length - 1)), weight)
    return matrix


def blur(volume: torch.Tensor, sigma_mm: float) -> torch.Tensor:
    """Gaussian blur of a 1 mm volume (C, I, J, K); beyond its border the border is repeated."""
    offset = np.arange(-int(4 * sigma_mm + 0.5), int(4 * sigma_mm + 0.5) + 1)
    weights = np.exp(-0.5 * (offset / sigma_mm) ** 2)
    return along_axes(volume, [banded(length, weights) for length in volume.shape[1:]])


def smooth_noise(shape: Sequence[int], knot_mm: Sequence[float], seed: int) -> torch.Tensor:
    """Cubic spline through normal noise, of mean 0 and deviation 1 over all seeds.

    Args:
        shape: of the result (3,).
        knot_mm: distance of the knots along each axis; blobs are about as large.
        seed: of the noise.

    Returns:
        (1, *shape).
    """
    bases = [_spline_basis(length, knot) for length, knot in zip(shape, knot_mm, strict=True)]
    generator = torch.Generator().manual_seed(seed)
    return along_axes(torch.randn((1, *(basis.shape[1] for basis in bases)), generator=generator), bases)


def _spline_basis(length: int, knot_mm: float) -> NDArray:
    """Cubic B-splines at each voxel (length, knots), each row of unit norm so that noise keeps its deviation."""
    count = int(np.ceil((length - 1) / knot_mm)) + 1
    place = np.arange(length)[:, None] / knot_mm - np.arange(-1, count + 1)[None]
    weights = np.nan_to_num(BSpline.basis_element(np.arange(-2, 3), extrapolate=False)(place))
    return weights / np.linalg.norm(weights, axis=1, keepdims=True)
