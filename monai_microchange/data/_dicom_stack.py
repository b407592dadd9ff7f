# SPDX-License-Identifier: Apache-2.0
"""Turns the slices of one DICOM series into one volume, or refuses their geometry by name."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk

from monai_microchange._frames import LPS_FROM_RAS
from monai_microchange.data._dicom_header import Frame
from monai_microchange.data.errors import InputError
from monai_microchange.data.volume import check_spacing, first_line, quiet_itk

__all__ = ["MAX_GAP_ERROR", "MAX_TILT_MM", "stack_frames"]

MAX_TILT_MM = 0.2
"""How far, in mm, the slices of a series may drift sideways from their common normal (rounding in headers)."""

MAX_GAP_ERROR = 0.1
"""How far the distance between two slices may differ from the usual one, as a part of it."""


def stack_frames(frames: Sequence[Frame], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Check the frames of one series, sort them along their normal and read their pixels.

    Args:
        frames: in any order.
        name: what messages call the series.

    Returns:
        Voxels (I, J, K), float32, rescaled: I along the columns, J along the rows, K along the normal; and the affine
        (4, 4) from voxels to RAS mm.

    Raises:
        InputError: fewer than two frames, frames unlike each other, tilt, duplicate or missing slices, damaged pixels.
    """
    _check_alike(frames, name)
    ordered, positions = _sort_along_normal(frames)
    _check_positions(ordered, positions, name)
    return _read_pixels(ordered), _affine_of(ordered, positions)


def _check_alike(frames: Sequence[Frame], name: str) -> None:
    """Refuse frames that differ in size, pixel spacing or orientation, and single ones."""
    if len(frames) < 2:
        raise InputError(f"{name}: expected a 3D image, got a single 2D slice; give the folder of the whole series.")
    sizes = sorted({frame.size for frame in frames})
    if len(sizes) > 1:
        raise InputError(f"{name}: expected slices of one size, got mixed sizes {sizes}; separate them.")
    for attribute, what in (("spacing", "pixel spacing"), ("orientation", "orientation")):
        values = np.array([getattr(frame, attribute) for frame in frames])
        odd = np.abs(values - values[0]).max(axis=1) > 1e-3
        if odd.any():
            examples = f"{np.round(values[0], 3).tolist()} and {np.round(values[odd][0], 3).tolist()}"
            raise InputError(f"{name}: expected slices of one {what}, got mixed {what}s, as {examples}; separate them.")
    check_spacing(np.array(frames[0].spacing), name)
    along_row, along_column = np.reshape(frames[0].orientation, (2, 3))
    if abs(along_row @ along_column) > 1e-3 or abs(np.linalg.norm([along_row, along_column]) ** 2 - 2) > 1e-2:
        raise InputError(f"{name}: expected slice axes of length 1 at right angles, got {frames[0].orientation}.")


def _normal(frame: Frame) -> np.ndarray:
    normal = np.cross(frame.orientation[:3], frame.orientation[3:])
    return normal / np.linalg.norm(normal)


def _sort_along_normal(frames: Sequence[Frame]) -> tuple[list[Frame], np.ndarray]:
    """Frames in the order of their position along the slice normal, and their positions (N, 3), LPS mm."""
    positions = np.array([frame.position for frame in frames])
    order = np.argsort(positions @ _normal(frames[0]), kind="stable")
    return [frames[i] for i in order], positions[order]


def _check_positions(frames: Sequence[Frame], positions: np.ndarray, name: str) -> None:
    """Refuse sorted positions (N, 3) with duplicates, tilt or uneven gaps."""
    normal = _normal(frames[0])
    along = positions @ normal
    gaps = np.diff(along)
    usual = float(np.median(gaps[gaps > 1e-3])) if (gaps > 1e-3).any() else 0.0
    double = np.flatnonzero(gaps <= max(1e-3, MAX_GAP_ERROR * usual))
    if double.size:
        one, two = frames[double[0]], frames[double[0] + 1]
        kinds = f" (they are {one.kind} and {two.kind})" if one.kind != two.kind else ""
        raise InputError(
            f"{name}: expected one image at each slice position, got duplicate slices at {double.size} of them, first "
            f"{one.path.name} and {two.path.name} at {along[double[0]]:.2f} mm{kinds}; keep one of each."
        )
    drift = positions - positions[0] - np.outer(along - along[0], normal)
    if np.linalg.norm(drift, axis=1).max() > MAX_TILT_MM:
        step = positions[-1] - positions[0]
        degrees = np.degrees(np.arccos(min(1.0, step @ normal / np.linalg.norm(step))))
        raise InputError(
            f"{name}: expected slices stacked along their normal, got a gantry tilt of {degrees:.1f} degrees; "
            "resample the series onto a regular grid first."
        )
    uneven = np.flatnonzero(np.abs(gaps - usual) > MAX_GAP_ERROR * usual)
    if uneven.size:
        at = uneven[0]
        raise InputError(
            f"{name}: expected evenly spaced slices ({usual:.2f} mm), got {gaps[at]:.2f} mm between slice positions "
            f"{along[at]:.2f} and {along[at + 1]:.2f} mm: slices are missing or their spacing varies."
        )


def _affine_of(frames: Sequence[Frame], positions: np.ndarray) -> np.ndarray:
    """Affine (4, 4), voxel (column, row, slice) to RAS mm, of sorted frames."""
    frame, normal = frames[0], _normal(frames[0])
    lps = np.eye(4)
    lps[:3, 0] = np.array(frame.orientation[:3]) * frame.spacing[1]
    lps[:3, 1] = np.array(frame.orientation[3:]) * frame.spacing[0]
    lps[:3, 2] = normal * ((positions[-1] - positions[0]) @ normal / (len(frames) - 1))
    lps[:3, 3] = positions[0]
    return LPS_FROM_RAS @ lps


def _read_pixels(frames: Sequence[Frame]) -> np.ndarray:
    """Voxels (I, J, K), rescaled, of sorted frames: each file is read once."""
    rows, columns = frames[0].size
    array = np.empty((columns, rows, len(frames)), dtype=np.float32)
    by_path: dict[Path, list[int]] = defaultdict(list)
    for k, frame in enumerate(frames):
        by_path[frame.path].append(k)
    for path, places in by_path.items():
        stack = _read_file(path, [frames[k] for k in places])
        array[:, :, places] = stack.transpose(2, 1, 0)
    return array


def _read_file(path: Path, frames: Sequence[Frame]) -> np.ndarray:
    """Rescaled pixels (N, rows, columns) of the given frames of one file."""
    try:
        if len({frame.rescale for frame in frames}) > 1:  # GDCM applies the first frame's to all
            stored = np.atleast_3d(pydicom.dcmread(path).pixel_array)
            return np.stack([stored[frame.index] * frame.rescale[0] + frame.rescale[1] for frame in frames])
        with quiet_itk():
            pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(path), sitk.sitkFloat32))
        return pixels[[frame.index for frame in frames]]
    except (RuntimeError, ValueError, IndexError, AttributeError) as error:
        raise InputError(f"{path}: damaged DICOM file, its pixels cannot be read ({first_line(error)}).") from error
