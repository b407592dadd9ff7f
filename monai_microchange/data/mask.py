# SPDX-License-Identifier: Apache-2.0
"""Reads a user's mask onto the grid of a scan."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from monai.data import MetaTensor

from monai_microchange._frames import array_from_image, image_from_array
from monai_microchange.data.errors import InputError
from monai_microchange.data.volume import read_volume

__all__ = ["read_mask_like"]


def read_mask_like(
    path: str | Path, image: MetaTensor, *, what: str = "brain mask", allow_empty: bool = False
) -> MetaTensor:
    """Read a mask file and bring it onto the grid of an image with nearest-neighbour interpolation.

    A voxel is inside where its value is above 0.5, so label maps are taken whole and probabilities cut at one half.
    Outside of the mask file's grid nothing is inside.

    Args:
        path: NIfTI, NRRD (`.seg.nrrd` of one layer too) or MetaImage file, on any grid.
        image: image (1, I, J, K) with an affine to RAS mm.
        what: what messages call the mask.
        allow_empty: accept a mask without any voxel.

    Returns:
        Mask (1, I, J, K), uint8, 0 or 1, with the affine of `image`.

    Raises:
        InputError: whatever `read_volume` refuses, but not a constant mask; an empty mask, unless allowed; no
            overlap with the image.

    Example:
        >>> import tempfile
        >>> import nibabel as nib
        >>> file = Path(tempfile.mkdtemp()) / "mask.nii.gz"
        >>> nib.save(nib.Nifti1Image(np.ones((2, 2, 2), dtype=np.uint8), np.diag([2.0, 2.0, 2.0, 1.0])), file)
        >>> scan = MetaTensor(torch.zeros(1, 4, 4, 4), affine=torch.eye(4))
        >>> mask = read_mask_like(file, scan)
        >>> mask.dtype, int(mask.sum())  # 4 mm of mask, from -1 to 3 mm, over voxels at 0, 1, 2 and 3 mm
        (torch.uint8, 27)
    """
    name = f"{what} {path}"
    try:
        loaded = read_volume(path, allow_constant=True)
    except InputError as error:
        raise InputError(f"{what} {error}") from error
    inside = (loaded[0].numpy() > 0.5).astype(np.uint8)
    if not inside.any() and not allow_empty:
        raise InputError(f"{name}: expected a mask with voxels above 0.5, got an empty one; check the file.")
    empty = not inside.any()
    affine, shape = np.asarray(image.affine, dtype=float), tuple(image.shape[-3:])
    if inside.shape != shape or not np.allclose(loaded.affine, affine, atol=1e-4):
        inside = _resample_nearest(inside, np.asarray(loaded.affine, dtype=float), affine, shape)
    if not inside.any() and not empty:
        raise InputError(f"{name}: expected a mask that overlaps the scan, got none of it inside the scan's grid.")
    return MetaTensor(torch.from_numpy(inside[None]), affine=image.affine.clone(), meta={"filename_or_obj": str(path)})


def _resample_nearest(
    mask: np.ndarray, affine: np.ndarray, to_affine: np.ndarray, to_shape: tuple[int, ...]
) -> np.ndarray:
    """Mask (I, J, K) resampled onto another grid."""
    grid = image_from_array(np.zeros(to_shape, dtype=np.uint8), to_affine)
    moved = sitk.Resample(image_from_array(mask, affine), grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    return array_from_image(moved)
