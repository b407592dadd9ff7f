# SPDX-License-Identifier: Apache-2.0
"""The only code that turns RAS into LPS and voxels into millimetres.

Inside the package every affine maps voxel indices (i, j, k) to RAS millimetres, as in nibabel and MONAI, and arrays are
indexed (I, J, K). ITK, DICOM and the transform files use LPS and (K, J, I); the crossing happens here.
"""

import numpy as np
import SimpleITK as sitk

__all__ = [
    "LPS_FROM_RAS",
    "apply_affine",
    "corners_mm",
    "image_from_array",
    "array_from_image",
    "affine_from_image",
    "spacing_from_affine",
    "transform_from_matrix",
    "matrix_from_transform",
]

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Its own inverse: the same matrix leads from LPS to RAS."""


def apply_affine(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map points (..., 3) by a 4x4 matrix.

    >>> apply_affine(np.diag([2.0, 2.0, 2.0, 1.0]), np.array([1.0, 2.0, 3.0])).tolist()
    [2.0, 4.0, 6.0]
    """
    return np.asarray(points) @ matrix[:3, :3].T + matrix[:3, 3]


def spacing_from_affine(affine: np.ndarray) -> np.ndarray:
    """Voxel size in mm along each array axis (3,).

    >>> spacing_from_affine(np.diag([0.5, -1.0, 3.0, 1.0])).tolist()
    [0.5, 1.0, 3.0]
    """
    return np.linalg.norm(np.asarray(affine, dtype=float)[:3, :3], axis=0)


def corners_mm(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The eight outer corners (8, 3), RAS mm, of a grid: voxel faces, not voxel centres.

    >>> corners_mm(np.eye(4), (2, 2, 2)).min(axis=0).tolist()
    [-0.5, -0.5, -0.5]
    """
    ends = np.stack([np.full(3, -0.5), np.asarray(shape[-3:]) - 0.5])
    index = np.stack(np.meshgrid(*ends.T, indexing="ij"), axis=-1).reshape(8, 3)
    return apply_affine(affine, index)


def affine_from_image(image: sitk.Image) -> np.ndarray:
    """Affine (4, 4), voxel to RAS mm, of a 3D SimpleITK image."""
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(image.GetDirection()).reshape(3, 3) * np.asarray(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return LPS_FROM_RAS @ affine


def array_from_image(image: sitk.Image) -> np.ndarray:
    """Voxels (I, J, K) of a scalar 3D SimpleITK image."""
    return np.ascontiguousarray(sitk.GetArrayFromImage(image).transpose(2, 1, 0))


def image_from_array(array: np.ndarray, affine: np.ndarray) -> sitk.Image:
    """SimpleITK image of voxels (I, J, K) whose affine maps to RAS mm. The affine must have no shear."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(np.asarray(array).transpose(2, 1, 0)))
    lps = LPS_FROM_RAS @ np.asarray(affine, dtype=float)
    spacing = spacing_from_affine(lps)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def transform_from_matrix(a_to_b: np.ndarray) -> sitk.AffineTransform:
    """ITK transform (LPS mm) of a matrix (4, 4) that maps points of a to points of b in RAS mm."""
    lps = LPS_FROM_RAS @ np.asarray(a_to_b, dtype=float) @ LPS_FROM_RAS
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(lps[:3, :3].ravel().tolist())
    transform.SetTranslation(lps[:3, 3].tolist())
    return transform


def matrix_from_transform(transform: sitk.Transform) -> np.ndarray:
    """Matrix (4, 4) in RAS mm of a linear ITK transform: the inverse of `transform_from_matrix`.

    Read off at four points, so any linear kind of transform (versor, Euler, affine, composite of these) will do.

    >>> m = np.array([[1.0, 0.1, 0, 3], [0, 1, 0, -2], [0, 0, 1, 5], [0, 0, 0, 1]])
    >>> bool(np.allclose(matrix_from_transform(transform_from_matrix(m)), m))
    True
    """
    lps = np.eye(4)
    lps[:3, 3] = transform.TransformPoint((0.0, 0.0, 0.0))
    for axis in range(3):
        lps[:3, axis] = np.array(transform.TransformPoint(np.eye(3)[axis].tolist())) - lps[:3, 3]
    return LPS_FROM_RAS @ lps @ LPS_FROM_RAS
