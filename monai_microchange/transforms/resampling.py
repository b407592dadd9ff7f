# SPDX-License-Identifier: Apache-2.0
"""Sample a scan in mid-space, and an image of mid-space on a scan's grid, by one interpolation."""

from typing import cast

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Resample, SpatialResample

from monai_microchange.transforms.displacement import WarpField
from monai_microchange.transforms.midspace import MidSpace

__all__ = ["from_mid_space", "into_mid_space"]


def into_mid_space(
    scan: MetaTensor,
    space: MidSpace,
    visit: str,
    *,
    mode: str | int = "bilinear",
    padding_mode: str = "border",
    step: int = 1,
) -> MetaTensor:
    """A scan, or a mask of it, at the voxels of mid-space.

    Args:
        scan: (C, I, J, K) with its affine to RAS mm.
        space: mid-space.
        visit: whose scan it is.
        mode: interpolation, as in MONAI's `Resample`.
        padding_mode: what lies outside the scan, as there.
        step: only every so many voxels of mid-space.

    Returns:
        (C, *spatial), float32, with what was applied to the scan before.
    """
    grid = space.affine @ np.diag([step, step, step, 1.0])
    shape = tuple(-(-n // step) for n in space.shape)
    return _sampled(scan, grid, shape, space.warp(visit), space.mid_to(visit), mode, padding_mode)


def from_mid_space(
    image: MetaTensor,
    grid: tuple[np.ndarray, tuple[int, ...]],
    mid_to_scan: np.ndarray,
    inverse_warp: WarpField | None = None,
    *,
    mode: str | int = "bilinear",
) -> MetaTensor:
    """An image of mid-space at the voxels of a scan; 0 where mid-space does not reach.

    Args:
        image: (C, I, J, K) with its affine to RAS mm of mid-space.
        grid: affine (voxel to RAS mm) and spatial shape of the scan.
        mid_to_scan: (4, 4), the linear way from mid-space to the scan.
        inverse_warp: the visit's `MidSpace.inverse_warp`.
        mode: interpolation, as in MONAI's `Resample`.
    """
    affine, shape = grid
    scan_to_mid = np.linalg.inv(mid_to_scan)
    native = _sampled(image, scan_to_mid @ affine, shape, inverse_warp, np.eye(4), mode, "zeros")
    native.affine = torch.as_tensor(affine)
    return native


def _sampled(
    image: MetaTensor,
    grid: np.ndarray,
    shape: tuple[int, ...],
    warp: WarpField | None,
    to_image: np.ndarray,
    mode: str | int,
    padding_mode: str,
) -> MetaTensor:
    """An image where the voxels of a grid lie, once warped and then led to it by a linear transform."""
    moved = image.clone()  # with what was applied before, so that a whole Compose inverts
    if warp is None:
        moved.affine = torch.as_tensor(np.linalg.inv(to_image)) @ image.affine
        onto = SpatialResample(mode=mode, padding_mode=padding_mode, dtype=np.float64)
        with onto.trace_transform(False):
            moved = cast(MetaTensor, onto(moved, dst_affine=torch.as_tensor(grid), spatial_size=shape))
        moved = cast(MetaTensor, moved.to(torch.float32))
    else:
        places = _voxels(grid, shape, warp, np.linalg.inv(np.asarray(image.affine)) @ to_image)
        # MONAI counts from the middle of the image
        places -= (np.asarray(image.shape[1:]) - 1).reshape(3, 1, 1, 1) / 2
        sample = Resample(mode=mode, padding_mode=padding_mode, dtype=np.float64)
        moved = cast(MetaTensor, sample(moved, torch.from_numpy(places)))
    moved.affine = torch.as_tensor(grid)  # as it was asked for, without rounding
    return moved


def _voxels(grid: np.ndarray, shape: tuple[int, ...], warp: WarpField, to_voxel: np.ndarray) -> np.ndarray:
    """Where in an image (3, *shape), in voxels, the warped points of a grid lie."""
    places = np.einsum("ab,bijk->aijk", to_voxel[:3, :3], warp.on(grid, shape))
    whole = to_voxel @ grid
    lines = np.ogrid[tuple(slice(n) for n in shape)]
    for axis in range(3):
        places[axis] += whole[axis, 3] + sum(whole[axis, other] * lines[other] for other in range(3))
    return places
