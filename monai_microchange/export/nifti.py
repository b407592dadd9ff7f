# SPDX-License-Identifier: Apache-2.0
"""Write an array of voxels as NIfTI, the same bytes for the same content."""

import gzip
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np

from monai_microchange._frames import spacing_from_affine

__all__ = ["write_nifti"]

_DTYPES = ("uint8", "int16", "int32", "float32")
_CODES = {"scanner": 1, "aligned": 2}


def write_nifti(
    path: Path | str, array: np.ndarray, affine: np.ndarray, *, frame: Literal["scanner", "aligned"] = "scanner"
) -> None:
    """Write voxels to a `.nii.gz` or `.nii` file, with their dtype, millimetres and both of NIfTI's affines.

    The gzip header holds neither time nor name, so equal content gives equal bytes. An existing file is overwritten.

    Args:
        path: file to write; its folder exists.
        array: voxels (I, J, K), uint8, int16, int32 or float32.
        affine: (4, 4), voxel to RAS mm. With shear, which a qform cannot hold, the sform alone is valid.
        frame: what RAS mm mean: a scanner's coordinates, or a space aligned with another scan such as the mid-space.

    Raises:
        TypeError: if the dtype is another one.
        ValueError: if the array is not 3D, the affine is not an invertible (4, 4), or the name ends otherwise.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_nifti(f"{folder}/a.nii.gz", np.ones((2, 3, 4), np.uint8), np.eye(4))
        ...     nib.load(f"{folder}/a.nii.gz").shape
        (2, 3, 4)
    """
    _check(array, affine)
    image = nib.Nifti1Image(np.asarray(array), np.asarray(affine, dtype=float))
    image.set_sform(affine, code=_CODES[frame])
    image.set_qform(affine, code=0 if _has_shear(affine) else _CODES[frame])
    image.header.set_xyzt_units(xyz="mm")
    name = str(path)
    if name.endswith(".nii.gz"):
        Path(path).write_bytes(gzip.compress(image.to_bytes(), compresslevel=6, mtime=0))
    elif name.endswith(".nii"):
        Path(path).write_bytes(image.to_bytes())
    else:
        raise ValueError(f"expected a file name that ends in .nii.gz or .nii, got {name}")


def _check(array: np.ndarray, affine: np.ndarray) -> None:
    """Refuse what NIfTI would hold in a way that readers disagree on."""
    if array.dtype.name not in _DTYPES:
        raise TypeError(f"expected voxels of dtype {', '.join(_DTYPES)}, got {array.dtype}: convert them first")
    if array.ndim != 3:
        raise ValueError(f"expected voxels (I, J, K), got shape {array.shape}: take one channel")
    if np.shape(affine) != (4, 4) or not abs(np.linalg.det(affine)) > 0:
        raise ValueError(f"expected an invertible affine (4, 4), got {np.asarray(affine).tolist()}")


def _has_shear(affine: np.ndarray) -> bool:
    """Whether the axes of the grid are not at right angles."""
    axes = np.asarray(affine, dtype=float)[:3, :3] / spacing_from_affine(affine)
    return not np.allclose(axes.T @ axes, np.eye(3), atol=1e-5)
