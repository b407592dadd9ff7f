# SPDX-License-Identifier: Apache-2.0
"""Write a deformable way between mid-space and a scan as an ITK file that Slicer, ANTs and SimpleITK load."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from monai_microchange._frames import LPS_FROM_RAS, image_from_array, transform_from_matrix
from monai_microchange.transforms.displacement import WarpField

__all__ = ["write_inverse_warp", "write_warp"]


def write_warp(path: Path | str, mid_to_scan: np.ndarray, warp: WarpField) -> None:
    """Write `<visit>_to_mid_warp.h5`, the transform that resamples a scan into mid-space.

    As ITK has it, it maps a point of mid-space to a point of the scan, in LPS mm: first the displacement, then the
    linear transform. The file holds both as one composite, so that no `.tfm` is needed beside it.

    Args:
        path: file to write, ending in `.h5`.
        mid_to_scan: (4, 4), the linear way from mid-space to the scan, RAS mm.
        warp: of mid-space, before it.

    Raises:
        ValueError: if the name ends otherwise.
    """
    # ITK applies the last one first
    _write(path, [transform_from_matrix(mid_to_scan), _displacement(warp)])


def write_inverse_warp(path: Path | str, mid_to_scan: np.ndarray, inverse_warp: WarpField) -> None:
    """Write `<visit>_to_mid_warp_inverse.h5`, the transform that resamples an image of mid-space onto the scan.

    Args:
        path: file to write, ending in `.h5`.
        mid_to_scan: (4, 4), the linear way from mid-space to the scan, RAS mm.
        inverse_warp: the visit's `MidSpace.inverse_warp`.

    Raises:
        ValueError: if the name ends otherwise.
    """
    _write(path, [_displacement(inverse_warp), transform_from_matrix(np.linalg.inv(mid_to_scan))])


def _displacement(warp: WarpField) -> sitk.Transform:
    vectors = np.einsum("ab,bijk->aijk", LPS_FROM_RAS[:3, :3], warp.vectors.astype(np.float64))
    parts = [image_from_array(part, warp.affine) for part in vectors]
    return sitk.DisplacementFieldTransform(sitk.Compose(*parts))


def _write(path: Path | str, transforms: list[sitk.Transform]) -> None:
    if Path(path).suffix != ".h5":
        raise ValueError(f"expected a file name that ends in .h5, got {path}")
    sitk.WriteTransform(sitk.CompositeTransform(transforms), str(path))
