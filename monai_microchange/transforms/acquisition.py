# SPDX-License-Identifier: Apache-2.0
"""What a scanner does to a head: slices, noise, bias, contrast. Confounders of change, each a function of its own."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

__all__ = ["SliceProtocol", "add_bias", "add_rician_noise", "apply_contrast", "resample_voxels", "through_slices"]


@dataclass(frozen=True)
class SliceProtocol:
    """How a volume is cut into slices, and how far the slices are put back wrongly.

    Attributes:
        axis: array axis that the slices are stacked along.
        thickness_mm: slice thickness.
        in_plane_mm: voxel size within a slice.
        degrees: rotation of the slices against the volume (3,), about the array axes.
        phase_mm: shift of the slices against the volume (3,).
        misplaced_mm: residual misalignment of the result (3,).
        misturned_degrees: residual rotation of the result (3,), about the centre of the volume.
    """

    axis: int
    thickness_mm: float
    in_plane_mm: float
    degrees: np.ndarray
    phase_mm: np.ndarray
    misplaced_mm: np.ndarray
    misturned_degrees: np.ndarray


def resample_voxels(volume: torch.Tensor, out_to_in: np.ndarray, shape: tuple[int, ...]) -> torch.Tensor:
    """Sample a volume linearly at affinely mapped voxel positions; beyond its border the border is repeated.

    Args:
        volume: (C, I, J, K).
        out_to_in: (4, 4), voxel index of the result to voxel index of `volume`.
        shape: spatial shape of the result (3,).

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
    return F.grid_sample(volume[None], grid, mode="bilinear", padding_mode="border", align_corners=True)[0]


def through_slices(volume: torch.Tensor, protocol: SliceProtocol) -> tuple[torch.Tensor, np.ndarray]:
    """Cut a 1 mm volume into slices.

    Args:
        volume: (C, I, J, K), 1 mm isotropic.
        protocol: thickness, pose and so on.

    Returns:
        The slices (C, *acquired), and the matrix (4, 4) from voxel index of the volume to voxel index of the slices
        that puts them back: `resample_voxels(slices, matrix, volume.shape[1:])`, with the protocol's residual
        misalignment.
    """
    voxel = np.full(3, protocol.in_plane_mm)
    voxel[protocol.axis] = protocol.thickness_mm
    shape = tuple(int(np.ceil(n / v)) + 1 for n, v in zip(volume.shape[1:], voxel, strict=True))
    slices_to_volume = (
        _translation((np.asarray(volume.shape[1:]) - 1) / 2 + protocol.phase_mm)
        @ _rotation(protocol.degrees)
        @ np.diag([*voxel, 1.0])
        @ _translation(-(np.asarray(shape) - 1) / 2)
    )
    blurred = _blur_axis(volume, protocol.axis, protocol.thickness_mm)
    slices = resample_voxels(blurred, slices_to_volume, shape)
    centre = (np.asarray(volume.shape[1:]) - 1) / 2
    misplacement = (
        _translation(centre + protocol.misplaced_mm) @ _rotation(protocol.misturned_degrees) @ _translation(-centre)
    )
    return slices, np.linalg.inv(slices_to_volume) @ misplacement


def add_rician_noise(image: torch.Tensor, deviation: float, noise: torch.Tensor) -> torch.Tensor:
    """Magnitude of the image with complex Gaussian noise.

    Args:
        image: (1, *spatial), not negative.
        deviation: standard deviation of either part.
        noise: standard normal (2, *spatial).

    Source: Gudbjartsson and Patz, 1995, doi 10.1002/mrm.1910340618.
    """
    return ((image + deviation * noise[:1]).square() + (deviation * noise[1:]).square()).sqrt()


def add_bias(image: torch.Tensor, log_field: torch.Tensor) -> torch.Tensor:
    """Multiply an image (1, *spatial) by a smooth field, given as its logarithm on a coarse grid (1, i, j, k)."""
    field = F.interpolate(log_field[None], size=image.shape[1:], mode="trilinear", align_corners=True)[0]
    return image * field.exp()


def apply_contrast(image: torch.Tensor, gamma: float) -> torch.Tensor:
    """Monotone contrast curve that leaves 0 and 1 (white matter) where they are."""
    return image.clamp(min=0).pow(gamma)


def _blur_axis(volume: torch.Tensor, axis: int, width_mm: float) -> torch.Tensor:
    """Gaussian of this full width at half maximum along one axis of a 1 mm volume: the slice profile."""
    sigma = width_mm / 2.355
    if sigma < 0.3:
        return volume
    radius = int(np.ceil(2.5 * sigma))
    weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=volume.dtype) / sigma) ** 2)
    weights /= weights.sum()
    length = volume.shape[1 + axis]
    blurred = torch.zeros_like(volume)
    index = torch.arange(length)
    for weight, offset in zip(weights.tolist(), range(-radius, radius + 1), strict=True):
        blurred += weight * volume.index_select(1 + axis, (index + offset).clamp(0, length - 1))
    return blurred


def _rotation(degrees: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        turn = np.eye(4)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        matrix = turn @ matrix
    return matrix


def _translation(offset: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = offset
    return matrix
