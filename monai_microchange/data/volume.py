# SPDX-License-Identifier: Apache-2.0
"""Reads one volume from a NIfTI, NRRD or MetaImage file, or refuses it with a reason."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from monai_microchange._frames import affine_from_image, array_from_image, spacing_from_affine
from monai_microchange.data.errors import InputError

__all__ = ["VOLUME_SUFFIXES", "MAX_SHEAR", "read_volume", "has_volume_suffix"]

NIFTI_SUFFIXES = (".nii", ".nii.gz")
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
VOLUME_SUFFIXES = NIFTI_SUFFIXES + ITK_SUFFIXES
"""File name endings that `read_volume` takes."""

MAX_SHEAR = 1e-3
"""Largest cosine between two voxel axes that still counts as a right angle (0.06 degrees: rounding in headers)."""

_NIFTI_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    MemoryError,
    zlib.error,
    ImageFileError,
    HeaderDataError,
    WrapStructError,
)


def has_volume_suffix(path: str | Path) -> bool:
    """Whether the file name ends as one of `VOLUME_SUFFIXES`.

    >>> has_volume_suffix("scan.NII.gz"), has_volume_suffix("scan.dcm")
    (True, False)
    """
    return str(path).lower().endswith(VOLUME_SUFFIXES)


def read_volume(path: str | Path, *, allow_constant: bool = False) -> MetaTensor:
    """Read one 3D image file.

    NIfTI goes through nibabel, which shows the header as it was written (ITK replaces zero spacings and unusable sforms
    without a word); its sform is preferred to its qform, as in nibabel and MONAI. The other formats go through ITK.

    Args:
        path: a file that ends as one of `VOLUME_SUFFIXES`.
        allow_constant: accept an image whose voxels are all equal (a mask may be).

    Returns:
        Image (1, I, J, K), float32, whose affine leads from voxel indices to RAS mm. `meta["orientation_stated"]` is
        False for a NIfTI file that leaves its orientation open (sform and qform codes are both 0).

    Raises:
        InputError: missing, damaged or truncated file; not 3D (trailing axes of length 1 are dropped); colour or vector
            voxels; NaN or infinite values; a constant image; spacing that is not positive; singular or sheared affine.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "ramp.nii.gz"
        >>> ramp = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
        >>> nib.save(nib.Nifti1Image(ramp, np.diag([2.0, 2.0, 3.0, 1.0])), file)
        >>> read_volume(file).shape, spacing_from_affine(read_volume(file).affine.numpy()).tolist()
        (torch.Size([1, 2, 3, 4]), [2.0, 2.0, 3.0])
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: expected an image file, but there is none; check the path.")
    if not has_volume_suffix(path):
        raise InputError(f"{path}: expected a file that ends in {', '.join(VOLUME_SUFFIXES)}, or a DICOM folder.")
    if path.name.lower().endswith(NIFTI_SUFFIXES):
        array, affine, orientation_stated = _read_nifti(path)
    else:
        (array, affine), orientation_stated = _read_itk(path), True
    check_voxels(array, str(path), allow_constant=allow_constant)
    return as_scan(array, affine, path, orientation_stated=orientation_stated)


def as_scan(array: np.ndarray, affine: np.ndarray, path: Path, *, orientation_stated: bool = True) -> MetaTensor:
    """Wrap voxels (I, J, K) and their affine to RAS mm into an image (1, I, J, K) that MONAI transforms understand."""
    meta = {
        "filename_or_obj": str(path),
        "original_affine": np.array(affine, dtype=np.float64),
        "spatial_shape": np.array(array.shape),
        "orientation_stated": orientation_stated,
    }
    voxels = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)[None])
    return MetaTensor(voxels, affine=torch.as_tensor(np.asarray(affine, dtype=np.float64)), meta=meta)


def check_voxels(array: np.ndarray, name: str, *, allow_constant: bool = False) -> None:
    """Refuse voxels (I, J, K) that hold NaN, infinity or nothing but one value; `name` begins the message."""
    bad = int(array.size - np.count_nonzero(np.isfinite(array)))
    if bad:
        raise InputError(f"{name}: expected finite voxel values, got {bad} that are NaN or infinite; replace them.")
    if not allow_constant and array.min() == array.max():
        raise InputError(f"{name}: expected an image, got one constant value ({array.flat[0]:g}) in every voxel.")


def check_shape(shape: tuple[int, ...], name: str) -> None:
    """Refuse a shape that is not 3D (trailing axes of length 1 removed by the caller)."""
    if len(shape) > 3:
        raise InputError(f"{name}: expected a 3D image, got {len(shape)}D of shape {shape}; extract one volume of it.")
    if len(shape) < 3 or min(shape) < 2:
        raise InputError(f"{name}: expected a 3D image, got a 2D one of shape {shape}; give the whole volume.")


def check_affine(affine: np.ndarray, name: str) -> None:
    """Refuse an affine (4, 4) that is not finite, singular, or whose voxel axes are not at right angles."""
    spacing = spacing_from_affine(affine)
    if not np.isfinite(affine).all() or spacing.min() <= 0 or abs(np.linalg.det(affine[:3, :3] / spacing)) < 1e-3:
        rows = np.round(affine[:3], 4).tolist()
        raise InputError(f"{name}: expected an invertible affine, got the singular one {rows}; correct the header.")
    axes = affine[:3, :3] / spacing
    shear = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if shear > MAX_SHEAR:
        degrees = np.degrees(np.arcsin(min(shear, 1.0)))
        raise InputError(
            f"{name}: expected voxel axes at right angles, got a sheared affine ({degrees:.2g} degrees off); "
            "resample the image onto a regular grid first."
        )


def check_spacing(spacing: np.ndarray, name: str) -> None:
    """Refuse voxel sizes in mm that are not positive and finite."""
    if not np.isfinite(spacing).all() or np.min(spacing) <= 0:
        got = [round(float(value), 4) for value in spacing]
        raise InputError(f"{name}: expected positive voxel spacing in mm, got {got}; correct the header.")


@contextmanager
def quiet_itk() -> Iterator[None]:
    """Keep ITK's warnings off the terminal: what matters in them is checked here and refused by name."""
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)


def first_line(error: Exception) -> str:
    """The telling line of a reader's error message: ITK puts it last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray, bool]:
    """Voxels (I, J, K), affine to RAS mm and whether the header states an orientation."""
    try:
        with nib.imageglobals.LoggingOutputSuppressor():
            image: Any = nib.load(path)
        if not isinstance(image, nib.Nifti1Image):
            raise ImageFileError("another format under this name")
        with image.file_map["image"].get_prepare_fileobj("rb") as file:
            header: Any = type(image.header).from_fileobj(file, check=False)  # unchecked: `load` repairs its copy
        affine = header.get_best_affine()
    except _NIFTI_ERRORS as error:
        raise InputError(f"{path}: expected a NIfTI file, but it cannot be read ({first_line(error)}).") from error
    shape = _drop_trailing_ones(header.get_data_shape())
    check_shape(shape, str(path))
    if header.get_data_dtype().kind not in "iuf":
        raise InputError(f"{path}: expected one number a voxel, got {header.get_data_dtype()}; give a scalar image.")
    check_spacing(np.asarray(header["pixdim"][1:4], dtype=float), str(path))
    check_affine(affine, str(path))
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused as infinite
            array = np.asarray(image.dataobj, dtype=np.float32).reshape(shape)
    except _NIFTI_ERRORS as error:
        raise InputError(f"{path}: damaged or truncated, its voxels cannot be read ({first_line(error)}).") from error
    return array, affine, bool(header["sform_code"] > 0 or header["qform_code"] > 0)


def _read_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (I, J, K) and affine to RAS mm of an NRRD or MetaImage file."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    with quiet_itk():
        try:
            reader.ReadImageInformation()
        except RuntimeError as error:
            raise InputError(f"{path}: expected an image file, but it cannot be read ({first_line(error)}).") from error
        _check_itk_header(reader, path)  # before reading the voxels: ITK repairs or renames some of this then
        reader.SetOutputPixelType(sitk.sitkFloat32)
        try:
            image = reader.Execute()
        except RuntimeError as error:
            reason = first_line(error)
            raise InputError(f"{path}: damaged or truncated, its voxels cannot be read ({reason}).") from error
    while image.GetDimension() > 3:
        image = sitk.Extract(image, [*image.GetSize()[:-1], 0], [0] * image.GetDimension())
    return array_from_image(image), affine_from_image(image)


def _check_itk_header(reader: sitk.ImageFileReader, path: Path) -> None:
    if reader.GetNumberOfComponents() != 1:
        count = reader.GetNumberOfComponents()
        raise InputError(f"{path}: expected one number a voxel, got {count} components; give a scalar 3D image.")
    check_shape(_drop_trailing_ones(reader.GetSize()), str(path))
    ndim = reader.GetDimension()
    spacing = np.asarray(reader.GetSpacing())[:3]
    check_spacing(spacing, str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(reader.GetDirection()).reshape(ndim, ndim)[:3, :3] * spacing
    check_affine(affine, str(path))


def _drop_trailing_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    shape = tuple(int(size) for size in shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return shape
