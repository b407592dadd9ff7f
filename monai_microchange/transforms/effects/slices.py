# SPDX-License-Identifier: Apache-2.0
"""How a volume is cut into slices, and put back a little wrongly."""

from dataclasses import dataclass
from typing import ClassVar, Literal, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dct
from scipy.spatial.transform import Rotation
from torch.nn import functional as F

from monai_microchange.transforms.effects._effect import Effect
from monai_microchange.transforms.effects._fields import along_axes, banded, smooth_noise

__all__ = ["SliceProtocol", "put_back", "resample_voxels", "through_slices"]

WARP_KNOT_MM = 28.0
"""Gradients of two scanners bend a head differently from place to place about this far apart."""

LINEAR_BLUR_MM2 = 1 / 3
"""Variance that two linear interpolations at any phase, into slices and back, add along an axis of 1 mm voxels."""

Profile = Literal["gaussian", "rectangular"]
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class SliceProtocol(Effect):
    """How a volume is cut into slices, and how far the slices are put back wrongly.

    Args:
        axis: array axis that the slices are stacked along.
        thickness_mm: slice thickness (of a Gaussian profile: its full width at half maximum).
        in_plane_mm: voxel size within a slice.
        degrees: rotation of the slices against the volume, about the array axes.
        phase_mm: shift of the slices against the volume.
        misplaced_mm: residual misalignment of the result.
        misturned_degrees: residual rotation of the result, about the centre of the volume.
        gap_mm: between one slice and the next.
        profile: sensitivity along the slice axis.
        warp_mm: spread of the smooth displacement, along each axis, that the scanner's gradients leave.
        warp_seed: of that displacement.

    Raises:
        ValueError: if a size is not positive, or there is no such axis or profile.
    """

    axis: int = 2
    thickness_mm: float = 1.0
    in_plane_mm: float = 1.0
    degrees: Triple = (0.0, 0.0, 0.0)
    phase_mm: Triple = (0.0, 0.0, 0.0)
    misplaced_mm: Triple = (0.0, 0.0, 0.0)
    misturned_degrees: Triple = (0.0, 0.0, 0.0)
    gap_mm: float = 0.0
    profile: Profile = "gaussian"
    warp_mm: float = 0.0
    warp_seed: int = 0

    moves: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.axis not in (0, 1, 2):
            raise ValueError(f"axis must be 0, 1 or 2, got {self.axis}")
        if not (self.thickness_mm > 0 and self.in_plane_mm > 0 and self.gap_mm >= 0):
            raise ValueError(
                f"thickness_mm and in_plane_mm must be positive and gap_mm not negative, got {self.thickness_mm}, "
                f"{self.in_plane_mm} and {self.gap_mm}"
            )
        if self.profile not in get_args(Profile):
            raise ValueError(f"profile must be one of {', '.join(get_args(Profile))}, got {self.profile!r}")

    def _apply(self, image: torch.Tensor) -> torch.Tensor:
        slices, back = through_slices(image, self)
        return put_back(slices, back, self, tuple(image.shape[1:]))

    @classmethod
    def draw(
        cls, random: np.random.RandomState, *, severity: float = 1.0, already_mm: float = 1.0, axis: int | None = None
    ) -> Self:
        """Draw a clinical protocol: 2D slices of 1 to 5 mm, or an isotropic one.

        Args:
            random: source of the draws.
            severity: 0 leaves the volume as it is, 1 is clinical.
            already_mm: slice thickness that the scan has already. Blurs add by their squares, so only the missing part
                is applied, and thick slices are cut along their own axis.
            axis: that the slices are stacked along; drawn where not given.
        """
        flat = random.random_sample() < 0.25
        thick = 1.0 if flat else 1.0 + severity * random.uniform(0.0, 4.0)
        upright = already_mm > 2 or random.random_sample() < 0.93
        drawn_axis = 2 if upright else int(random.randint(0, 2))
        voxel = 1.0 + severity * random.uniform(-0.2, 0.15)
        return cls(
            axis=drawn_axis if axis is None else axis,
            # the slices of the scan itself are about a voxel apart on its 1 mm grid, whatever they were
            thickness_mm=float(np.sqrt(max(thick**2 - already_mm**2, 0.0) + 1.0)),
            in_plane_mm=float(voxel),
            degrees=_triple(severity * random.normal(0, 4.0, 3)),
            phase_mm=_triple(severity * random.uniform(-2, 2, 3)),
            # from one scanner used twice to two scanners of different make
            misplaced_mm=_triple(severity * random.normal(0, np.exp(random.uniform(*np.log((0.02, 0.25)))), 3)),
            misturned_degrees=_triple(severity * random.normal(0, np.exp(random.uniform(*np.log((0.02, 0.25)))), 3)),
            gap_mm=float(severity * max(random.uniform(-0.6, 0.6), 0.0)) if thick > 2 else 0.0,
            profile="rectangular" if random.random_sample() < 0.5 else "gaussian",
            warp_mm=float(severity * np.exp(random.uniform(*np.log((0.03, 0.3))))),
            warp_seed=int(random.randint(0, 2**31 - 1)),
        )


def resample_voxels(
    volume: torch.Tensor, out_to_in: NDArray, shape: tuple[int, ...], *, displacement: torch.Tensor | None = None
) -> torch.Tensor:
    """Sample a volume linearly at affinely mapped voxel positions; beyond its border the border is repeated.

    Args:
        volume: (C, I, J, K).
        out_to_in: (4, 4), voxel index of the result to voxel index of `volume`.
        shape: spatial shape of the result (3,).
        displacement: voxels (3, *shape) that each position is moved by before it is mapped.

    Returns:
        (C, *shape).

    Example:
        >>> volume = torch.arange(4.0).view(1, 1, 1, 4)
        >>> shift = np.eye(4); shift[2, 3] = 0.5
        >>> resample_voxels(volume.expand(1, 2, 2, 4), shift, (2, 2, 3))[0, 0, 0]
        tensor([0.5000, 1.5000, 2.5000])
    """
    to_unit = [np.eye(4), np.eye(4)]
    for matrix, extent in zip(to_unit, (volume.shape[1:], shape), strict=True):
        size = np.maximum(np.asarray(extent, dtype=float) - 1, 1)
        matrix[:3, :3] = np.diag(2 / size)
        # a lone voxel is the middle, not the first of two ends
        matrix[:3, 3] = np.where(np.asarray(extent) > 1, -1.0, 0.0)
    theta = to_unit[0] @ out_to_in @ np.linalg.inv(to_unit[1])
    flip = [2, 1, 0]  # grid_sample names the last axis first
    theta = torch.as_tensor(theta[:3][flip][:, [*flip, 3]].copy(), dtype=volume.dtype, device=volume.device)
    grid = F.affine_grid(theta[None], [1, 1, *shape], align_corners=True)
    if displacement is not None:
        scale = torch.as_tensor(to_unit[1][:3, :3], dtype=volume.dtype) @ displacement.flatten(1)
        bent = theta[:, :3] @ scale[flip]
        grid = grid + bent.T.reshape(1, *shape, 3)
    return F.grid_sample(volume[None], grid, mode="bilinear", padding_mode="border", align_corners=True)[0]


def through_slices(volume: torch.Tensor, protocol: SliceProtocol) -> tuple[torch.Tensor, NDArray]:
    """Cut a 1 mm volume into slices.

    Args:
        volume: (C, I, J, K), 1 mm isotropic.
        protocol: thickness, pose and so on.

    Returns:
        The slices (C, *acquired), and the matrix (4, 4) from voxel index of the volume to voxel index of the slices
        that `put_back` takes, with the protocol's residual misalignment.
    """
    voxel = np.full(3, protocol.in_plane_mm)
    voxel[protocol.axis] = protocol.thickness_mm + protocol.gap_mm
    centre = (np.asarray(volume.shape[1:]) - 1) / 2
    turn = _rotation(protocol.degrees)
    # the slices reach every corner of the volume; unturned slices of 1 mm are its own voxels
    reach = np.abs(turn[:3, :3].T) @ centre + np.abs(protocol.phase_mm)
    shape = tuple(int(n) + 1 for n in np.ceil(2 * reach / voxel - 1e-6))
    slices_to_volume = (
        _translation(centre + protocol.phase_mm)
        @ turn
        @ np.diag([*voxel, 1.0])
        @ _translation(-(np.asarray(shape) - 1) / 2)
    )
    slices = resample_voxels(_blur(volume, protocol), slices_to_volume, shape)
    misplacement = (
        _translation(centre + protocol.misplaced_mm) @ _rotation(protocol.misturned_degrees) @ _translation(-centre)
    )
    return slices, np.linalg.inv(slices_to_volume) @ misplacement


def put_back(slices: torch.Tensor, back: NDArray, protocol: SliceProtocol, shape: tuple[int, ...]) -> torch.Tensor:
    """Bring slices (C, *acquired) that `through_slices` cut back onto the 1 mm grid, bent by the protocol's warp.

    Returns:
        (C, *shape).
    """
    warp = None
    if protocol.warp_mm > 0:
        # smooth fields at a third of the voxels: they change over centimetres
        coarse = [-(-n // 3) for n in shape]
        knots = [WARP_KNOT_MM / 3] * 3
        fields = [smooth_noise(coarse, knots, protocol.warp_seed + axis) for axis in range(3)]
        warp = protocol.warp_mm * F.interpolate(torch.stack(fields, 1), size=shape, mode="trilinear")[0]
    return resample_voxels(slices, back, shape, displacement=warp)


def _blur(volume: torch.Tensor, protocol: SliceProtocol) -> torch.Tensor:
    """Slice profile along the slice axis, truncated k-space along the others."""
    # unturned slices of 1 mm voxels are the volume's own: nothing is interpolated
    exact = not any(protocol.degrees) and not any(protocol.phase_mm) and protocol.in_plane_mm == 1
    matrices = [None if exact else _in_plane_matrix(length, protocol.in_plane_mm) for length in volume.shape[1:]]
    matrices[protocol.axis] = _slice_matrix(volume.shape[1 + protocol.axis], protocol.thickness_mm, protocol.profile)
    return along_axes(volume, matrices)


def _slice_matrix(length: int, thickness_mm: float, profile: Profile) -> NDArray | None:
    """Weights (length, length) of 1 mm samples in slices centred on each of them."""
    if thickness_mm <= 1:
        return None
    reach = int(np.ceil(1.5 * thickness_mm))
    offset = np.arange(-reach, reach + 1)
    if profile == "rectangular":
        return banded(length, np.clip(thickness_mm / 2 + 0.5 - np.abs(offset), 0, 1))
    # the voxels are a millimetre wide themselves
    sigma = np.sqrt(thickness_mm**2 - 1 + 1e-6) / 2.355
    return banded(length, np.exp(-0.5 * (offset / sigma) ** 2))


def _in_plane_matrix(length: int, voxel_mm: float) -> NDArray:
    """Truncation of k-space, and, beforehand, the sharpness (length, length) that interpolating takes away again."""
    half = LINEAR_BLUR_MM2 / 2
    sharper = banded(length, np.array([-half, 1 + 2 * half, -half]))
    truncated = _truncation_matrix(length, voxel_mm)
    return sharper if truncated is None else truncated @ sharper


def _truncation_matrix(length: int, voxel_mm: float, taper: float = 0.3) -> NDArray | None:
    """Low-pass (length, length) that keeps what voxels of this size resolve, with the ringing of a mild k-space filter.

    The outer `taper` of the frequencies fades out, as in the filters of scanners. Cosines instead of a Fourier series:
    the ends are mirrored, not joined.
    """
    if voxel_mm <= 1:
        return None
    kept = length / voxel_mm
    frequency = np.arange(length)
    fade = np.clip((kept - frequency) / (taper * kept), 0, 1)
    cosines = dct(np.eye(length), axis=0, norm="ortho")
    return cosines.T @ np.diag(np.sin(np.pi / 2 * fade) ** 2) @ cosines


def _rotation(degrees: Triple) -> NDArray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    return matrix


def _translation(offset: NDArray) -> NDArray:
    matrix = np.eye(4)
    matrix[:3, 3] = offset
    return matrix


def _triple(values: NDArray) -> Triple:
    return float(values[0]), float(values[1]), float(values[2])
