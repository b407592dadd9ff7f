# SPDX-License-Identifier: Apache-2.0
"""Bring the grey values of both visits to one scale, each from its own statistics alone."""

from collections.abc import Hashable, Mapping

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from torch.nn import functional as F

__all__ = ["HarmonizeVisitsd", "StandardizeLocallyd", "local_standardize", "robust_standardize"]

CLIP = 10.0
"""Harmonised values are cut here: beyond, brighter says nothing more about change."""


def robust_standardize(image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Subtract the median and divide by the scaled median absolute deviation, both taken inside a mask.

    Args:
        image: (1, *spatial).
        mask: (1, *spatial), what is not zero counts.

    Returns:
        (1, *spatial) in robust standard deviations, cut at +-10, zero outside the mask.

    Raises:
        ValueError: if the mask is empty, or more than half of the voxels inside it have one value.

    Example:
        >>> image = torch.tensor([[[[1.0, 2.0, 3.0, 4.0, 99.0]]]])
        >>> robust_standardize(image, torch.ones_like(image)).flatten()
        tensor([-1.3490, -0.6745,  0.0000,  0.6745, 10.0000])
    """
    inside = image[mask > 0]
    if inside.numel() == 0:
        raise ValueError("the mask is empty: there is nothing to take the median of")
    median = inside.median()
    deviation = 1.4826 * (inside - median).abs().median()
    if deviation <= 0:
        raise ValueError("more than half of the voxels inside the mask have one value: is this a scan, or a mask?")
    return ((image - median) / deviation).clamp(-CLIP, CLIP) * (mask > 0)


def local_standardize(
    image: torch.Tensor, mask: torch.Tensor, *, spacing_mm: float = 1.0, sigma_mm: float = 12.0
) -> torch.Tensor:
    """Subtract a local mean and divide by a local standard deviation.

    Takes out what differs slowly between two visits (bias field, scanner), and keeps what differs fast (lesions). Means
    are Gaussian-weighted and taken inside the mask alone; they are computed on a four times coarser grid, which a
    Gaussian this wide does not notice.

    Args:
        image: (1, *spatial), 3D, isotropic.
        mask: (1, *spatial), what is not zero counts.
        spacing_mm: voxel size.
        sigma_mm: width of the Gaussian.

    Returns:
        (1, *spatial), without unit, cut at +-10, zero outside the mask.

    Example:
        >>> image, mask = torch.rand(1, 24, 24, 24), torch.ones(1, 24, 24, 24)
        >>> bool(torch.allclose(local_standardize(image, mask), local_standardize(3 * image + 2, mask), atol=1e-3))
        True
    """
    inside = (mask > 0).to(image.dtype)
    # about the global mean, or the variance would drown in rounding
    centred = (image - (image * inside).sum() / inside.sum().clamp(min=1)) * inside
    moments = torch.cat([inside, centred, centred.square()])[None]
    coarse = F.avg_pool3d(moments, 4, ceil_mode=True, count_include_pad=False)
    coarse = _gaussian_blur(coarse, sigma_mm / (4 * spacing_mm))
    weight, mean, square = F.interpolate(coarse, size=image.shape[1:], mode="trilinear")[0].split(1)
    mean, square = mean / weight.clamp(min=1e-6), square / weight.clamp(min=1e-6)
    floor = 0.05 * (centred.square().sum() / inside.sum().clamp(min=1)).sqrt()
    deviation = (square - mean.square()).clamp(min=0).sqrt() + floor
    return ((centred - mean) / deviation.clamp(min=1e-12)).clamp(-CLIP, CLIP) * inside


def _gaussian_blur(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """Separable Gaussian over (B, C, *spatial), 3D, zeros outside."""
    radius = max(int(3 * sigma + 0.5), 1)
    weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype) / sigma) ** 2)
    weights = (weights / weights.sum()).view(1, 1, -1, 1, 1)
    channels = x.shape[1]
    for axis in range(3):
        kernel = weights.movedim(2, 2 + axis).expand(channels, 1, *weights.movedim(2, 2 + axis).shape[2:])
        padding = [radius if a == axis else 0 for a in range(3)]
        x = F.conv3d(x, kernel, padding=padding, groups=channels)
    return x


class HarmonizeVisitsd(MapTransform):
    """Turn each visit's scan into two channels: standardised over the brain, and standardised locally.

    Each visit is treated by itself and alike: neither is mapped onto the other, so exchanging them exchanges the
    results.

    Args:
        keys: scans (1, *spatial) on one isotropic grid.
        mask_key: where the brain mask (1, *spatial) is.
        spacing_mm: voxel size of the grid.
        sigma_mm: width of the local statistics.
        suffix: added to each key for its result; empty puts the result in the scan's place.

    Returns:
        A copy of the data with (2, *spatial) under each key and suffix.
    """

    def __init__(
        self,
        keys: KeysCollection,
        mask_key: str = "brain",
        *,
        spacing_mm: float = 1.0,
        sigma_mm: float = 12.0,
        suffix: str = "",
    ):
        super().__init__(keys)
        self.suffix = suffix
        self.mask_key = mask_key
        self.spacing_mm = spacing_mm
        self.sigma_mm = sigma_mm

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Harmonise every key of `data`."""
        out = dict(data)
        mask = torch.as_tensor(out[self.mask_key])
        for key in self.key_iterator(out):
            scan = out[key]
            channels = [
                robust_standardize(scan, mask),
                local_standardize(scan, mask, spacing_mm=self.spacing_mm, sigma_mm=self.sigma_mm),
            ]
            out[f"{key}{self.suffix}"] = torch.cat(channels)
        return out


class StandardizeLocallyd(MapTransform):
    """Subtract from each scan its local mean and divide by its local standard deviation: `local_standardize`.

    Each scan is treated by itself and alike, so exchanging the visits exchanges the results.

    Args:
        keys: scans (1, *spatial) on one isotropic grid.
        mask_key: where the brain mask (1, *spatial) is.
        spacing_mm: voxel size of the grid.
        sigma_mm: width of the local statistics.
        suffix: added to each key for its result; empty puts the result in the scan's place.

    Returns:
        A copy of the data with the standardised scans, zero outside the mask.

    Example:
        >>> data = {"scan": torch.rand(1, 24, 24, 24), "brain": torch.ones(1, 24, 24, 24)}
        >>> bool(StandardizeLocallyd("scan")(data)["scan"].mean().abs() < 0.1)
        True
    """

    def __init__(
        self,
        keys: KeysCollection,
        mask_key: str = "brain",
        *,
        spacing_mm: float = 1.0,
        sigma_mm: float = 12.0,
        suffix: str = "",
    ):
        super().__init__(keys)
        if spacing_mm <= 0 or sigma_mm <= 0:
            raise ValueError(f"spacing_mm and sigma_mm must be above 0; got {spacing_mm} and {sigma_mm}")
        self.mask_key = mask_key
        self.spacing_mm = spacing_mm
        self.sigma_mm = sigma_mm
        self.suffix = suffix

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Standardise every key of `data`."""
        out = dict(data)
        mask = torch.as_tensor(out[self.mask_key])
        for key in self.key_iterator(out):
            out[f"{key}{self.suffix}"] = local_standardize(
                out[key], mask, spacing_mm=self.spacing_mm, sigma_mm=self.sigma_mm
            )
        return out
