# SPDX-License-Identifier: Apache-2.0
"""What a scanner makes of an anatomy: pose, slices of a certain thickness, bias field, noise and integer voxels."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from monai_microchange._frames import apply_affine, array_from_image, image_from_array

__all__ = ["Protocol", "draw_pose", "acquire"]

Plane = Literal["axial", "sagittal", "coronal"]

# RAS directions of the array axes (i, j, k): rows, columns and slice order as scanners store them. Each triple is
# right-handed, so that the slice normal that DICOM derives from rows and columns points along k.
_AXES: dict[str, NDArray[np.float64]] = {
    "axial": np.array([[-1.0, 0, 0], [0, -1, 0], [0, 0, 1]]),
    "sagittal": np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]),
    "coronal": np.array([[-1.0, 0, 0], [0, 0, -1], [0, -1, 0]]),
}
_SAMPLES_PER_MM = 1.5


@dataclass(frozen=True)
class Protocol:
    """How one visit is scanned.

    Args:
        plane: Orientation of the slices, before the tilt.
        in_plane_mm: Voxel size within a slice.
        slice_mm: Slice thickness, and distance between slices: there is no gap.
        tilt_degrees: Rotation of the slices about the scanner's right, anterior and superior axes.
        white_matter: Stored value of white matter.
        noise: Standard deviation of the noise before the magnitude is taken, relative to white matter.
        bias: Greatest relative deviation of the signal by the coil.

    Raises:
        ValueError: Unknown plane, or a size that is not positive.

    Example:
        >>> Protocol("coronal", slice_mm=4.0).slice_mm
        4.0
    """

    plane: Plane = "axial"
    in_plane_mm: float = 1.0
    slice_mm: float = 3.0
    tilt_degrees: tuple[float, float, float] = (0.0, 0.0, 0.0)
    white_matter: float = 240.0
    noise: float = 0.02
    bias: float = 0.15

    def __post_init__(self) -> None:
        if self.plane not in get_args(Plane):
            raise ValueError(f"plane must be one of {', '.join(get_args(Plane))}, got {self.plane!r}")
        for name in ("in_plane_mm", "slice_mm", "white_matter"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("noise", "bias"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is relative and must lie in [0, 1), got {getattr(self, name)}")


def draw_pose(rng: np.random.Generator, *, max_degrees: float = 5.0, max_mm: float = 6.0) -> NDArray[np.float64]:
    """Draw how the head lies in the scanner: a rigid matrix (4, 4), anatomical RAS mm to scanner RAS mm.

    Args:
        rng: Source of the draws.
        max_degrees: Largest rotation about each axis; 0 gives none.
        max_mm: Largest shift along each axis.

    Example:
        >>> draw_pose(np.random.default_rng(0), max_degrees=0, max_mm=0).tolist() == np.eye(4).tolist()
        True
    """
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", rng.uniform(-max_degrees, max_degrees, 3), degrees=True).as_matrix()
    pose[:3, 3] = rng.uniform(-max_mm, max_mm, 3)
    return pose


def acquire(
    rng: np.random.Generator,
    flair: NDArray[np.float32],
    affine: NDArray,
    anatomy_to_scan: NDArray,
    protocol: Protocol,
) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """Scan an anatomy.

    The signal is integrated over the slice thickness, multiplied by a smooth coil bias, made noisy with a Rician
    distribution (Gudbjartsson 1995, doi 10.1002/mrm.1910340618) and rounded. The field of view is cropped to the head.

    Args:
        rng: Source of bias and noise.
        flair: Signal (I, J, K), white matter 1.
        affine: (4, 4), voxel to anatomical RAS mm.
        anatomy_to_scan: (4, 4) rigid, anatomical RAS mm to scanner RAS mm.
        protocol: Slices, noise and scale.

    Returns:
        Voxels (I, J, K), int16, and their affine (4, 4) to scanner RAS mm.
    """
    scan_affine, shape = _field_of_view(flair, affine, anatomy_to_scan, protocol)
    signal = _integrate_slices(flair, affine, anatomy_to_scan, scan_affine, shape)
    signal *= _coil_bias(rng, shape, protocol.bias)
    real = signal + protocol.noise * rng.standard_normal(shape, dtype=np.float32)
    imaginary = protocol.noise * rng.standard_normal(shape, dtype=np.float32)
    return np.rint(protocol.white_matter * np.hypot(real, imaginary)).astype(np.int16), scan_affine


def _field_of_view(
    flair: NDArray, affine: NDArray, anatomy_to_scan: NDArray, protocol: Protocol
) -> tuple[NDArray[np.float64], tuple[int, int, int]]:
    """Affine and shape of the scan: the head with 3 mm around it, but little of the neck."""
    head = np.argwhere(flair[::3, ::3, ::3] > 0.2) * 3
    points = apply_affine(anatomy_to_scan @ affine, head[head[:, 2] >= 18])
    tilt = Rotation.from_euler("xyz", protocol.tilt_degrees, degrees=True).as_matrix()
    directions = tilt @ _AXES[protocol.plane].T
    spacing = np.array([protocol.in_plane_mm, protocol.in_plane_mm, protocol.slice_mm])
    along = points @ directions
    low, high = along.min(axis=0) - 3, along.max(axis=0) + 3
    shape = np.ceil((high - low) / spacing).astype(int)
    scan_affine = np.eye(4)
    scan_affine[:3, :3] = directions * spacing
    scan_affine[:3, 3] = directions @ (low + spacing / 2)
    return scan_affine, (int(shape[0]), int(shape[1]), int(shape[2]))


def _integrate_slices(
    flair: NDArray, affine: NDArray, anatomy_to_scan: NDArray, scan_affine: NDArray, shape: tuple[int, int, int]
) -> NDArray[np.float32]:
    """Mean signal (I, J, K) over the thickness of each slice, from several thin slices within it."""
    samples = max(1, round(_SAMPLES_PER_MM * float(np.linalg.norm(scan_affine[:3, 2]))))
    thin = np.eye(4)
    thin[2, 2], thin[2, 3] = 1 / samples, 0.5 / samples - 0.5
    # The anatomy is moved into the scanner by its affine alone, so it is interpolated once.
    anatomy = image_from_array(flair, anatomy_to_scan @ affine)
    grid = image_from_array(np.zeros((1, 1, 1), np.float32), scan_affine @ thin)
    size = [shape[0], shape[1], shape[2] * samples]
    resampler = sitk.ResampleImageFilter()
    resampler.SetReferenceImage(grid)
    resampler.SetSize(size)
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.UseNearestNeighborExtrapolatorOn()  # the neck goes on below the anatomy; elsewhere its border is air
    fine = resampler.Execute(anatomy)
    return array_from_image(fine).reshape(*shape, samples).mean(axis=-1)


def _coil_bias(rng: np.random.Generator, shape: tuple[int, int, int], greatest: float) -> NDArray[np.float32]:
    """Second-order polynomial (I, J, K) over the field of view, within 1 - greatest and 1 + greatest."""
    i, j, k = np.meshgrid(*[np.linspace(-1, 1, n, dtype=np.float32) for n in shape], indexing="ij", sparse=True)
    terms = (i, j, k, i * i, j * j, k * k, i * j, j * k, i * k)
    field = np.zeros(shape, np.float32)
    for weight, term in zip(rng.uniform(-1, 1, len(terms)).astype(np.float32), terms, strict=True):
        field += weight * term
    field -= (field.max() + field.min()) / 2
    return 1 + field * np.float32(greatest / np.abs(field).max())
