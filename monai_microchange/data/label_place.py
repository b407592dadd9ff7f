# SPDX-License-Identifier: Apache-2.0
"""Reads where a label lies: the matrix from its space to the baseline's."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from monai_microchange._frames import matrix_from_transform
from monai_microchange.data.errors import InputError

__all__ = ["read_json", "read_place"]


def read_place(given: Any, what: str) -> np.ndarray:
    """Read what a case says of its label's place.

    Args:
        given: None for the same space; a matrix (4, 4), RAS mm; or a file that holds it: an ITK transform (LPS; the
            one that resamples the baseline onto the label's grid), JSON with the matrix, or a phantom's `truth.json`.
        what: begins the messages.

    Returns:
        Matrix (4, 4), points of the label to points of the baseline scan, RAS mm.

    Raises:
        InputError: if a file cannot be read or the matrix is not an invertible (4, 4).

    Example:
        >>> bool((read_place(None, "case 1") == np.eye(4)).all())
        True
    """
    if given is None:
        return np.eye(4)
    source = f"{what}: label_to_baseline"
    if isinstance(given, str | Path):
        source, path = f"{what}: {given}", Path(given)
        given = read_json(path) if path.suffix == ".json" else _read_itk_matrix(path)
        if isinstance(given, Mapping):
            given = given.get("transforms", {}).get("anatomy_to_baseline")
    try:
        matrix = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-6:
        raise InputError(
            f"{source}: expected an invertible matrix (4, 4) in RAS mm, got {str(given)[:60]}; correct it."
        )
    return matrix


def read_json(path: Path) -> Any:
    """Content of a JSON file, or `InputError`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a JSON file, but it cannot be read ({error}); check it.") from error


def _read_itk_matrix(path: Path) -> np.ndarray:
    try:
        transform = sitk.ReadTransform(str(path))
    except RuntimeError as error:
        raise InputError(f"{path}: expected an ITK transform file, but it cannot be read; check the path.") from error
    if not transform.IsLinear():
        raise InputError(f"{path}: expected a linear transform, got {transform.GetName()}; move the label first.")
    return matrix_from_transform(transform)
