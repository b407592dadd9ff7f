# SPDX-License-Identifier: Apache-2.0
"""Write a linear transform as an ITK file that Slicer, ANTs and SimpleITK load."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from monai_microchange._frames import transform_from_matrix

__all__ = ["write_transform"]


def write_transform(path: Path | str, mid_to_scan: np.ndarray) -> None:
    """Write `<visit>_to_mid.tfm`, the transform that resamples a scan into mid-space.

    As ITK has it, such a transform maps a point of mid-space to a point of the scan, in LPS mm. Applied in Slicer to
    the scan it brings the scan into mid-space. The file holds an affine transform, also where the matrix is rigid.

    Args:
        path: file to write, ending in `.tfm` or `.txt`.
        mid_to_scan: (4, 4), maps points of mid-space to points of the scan, RAS mm.

    Raises:
        ValueError: if the matrix is not an invertible (4, 4) with last row 0 0 0 1, or the name ends otherwise.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_transform(f"{folder}/a.tfm", np.array([[1, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
        ...     sitk.ReadTransform(f"{folder}/a.tfm").TransformPoint((0.0, 0.0, 0.0))
        (-5.0, 0.0, 0.0)
    """
    matrix = np.asarray(mid_to_scan, dtype=float)
    if matrix.shape != (4, 4) or not np.allclose(matrix[3], [0, 0, 0, 1]) or not abs(np.linalg.det(matrix)) > 0:
        raise ValueError(f"expected an invertible (4, 4) matrix with last row 0 0 0 1, got {matrix.tolist()}")
    if Path(path).suffix not in (".tfm", ".txt"):
        raise ValueError(f"expected a file name that ends in .tfm or .txt, got {path}")
    sitk.WriteTransform(transform_from_matrix(matrix), str(path))
