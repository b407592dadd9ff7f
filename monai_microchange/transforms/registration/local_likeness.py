# SPDX-License-Identifier: Apache-2.0
"""How alike two images are place by place, and where they differ more than a shift explains."""

from collections.abc import Sequence

import torch

from monai_microchange.transforms.registration.likeness import joint_histogram
from monai_microchange.transforms.registration.robust import unexplained

__all__ = ["LocalCorrelation", "gaussian_windows", "local_change_weight"]

NOISE = 0.02
"""Local spread, as a share of the range of grey values, below which there is nothing to align."""
CHANGE_MM = 2.0
"""Width of the Gaussian over which residuals are averaged before they count as change."""
ROUNDS = 2


def gaussian_windows(
    shape: Sequence[int], step_mm: float, sigma_mm: float, stride: int, device: torch.device
) -> list[torch.Tensor]:
    """Matrices (windows, voxels), one for each axis, of Gaussian windows every `stride` voxels; rows have sum 1."""
    windows = []
    for count in shape:
        start = (count - 1) % stride / 2
        centres = start + stride * torch.arange((count - 1) // stride + 1, dtype=torch.float64)
        distance = (centres[:, None] - torch.arange(count)) * (step_mm / sigma_mm)
        weight = torch.exp(-0.5 * distance.square()) * (distance.abs() < 3.5)
        windows.append((weight / weight.sum(1, keepdim=True)).float().to(device))
    return windows


def _smooth(images: torch.Tensor, windows: Sequence[torch.Tensor]) -> torch.Tensor:
    """(C, I, J, K) seen through windows along each axis."""
    out = windows[1] @ (images @ windows[2].T)
    return (windows[0] @ out.flatten(2)).unflatten(2, out.shape[2:])


class LocalCorrelation:
    """Mean of the squared local correlation of two images: 1 where each is a line of the other, whatever its slope.

    Args:
        weight: (I, J, K), how much each voxel counts, within its window and among windows.
        step_mm: voxel size.
        sigma_mm: width of the Gaussian windows.

    Source: Avants et al., 2008, doi 10.1016/j.media.2007.06.004 (there in cubes, here in Gaussian windows).
    """

    def __init__(self, weight: torch.Tensor, step_mm: float, sigma_mm: float):
        stride = max(1, int(sigma_mm / step_mm + 1e-6))
        self.windows = gaussian_windows(weight.shape, step_mm, sigma_mm, stride, weight.device)
        self.weight = weight[None]
        mass = _smooth(self.weight, self.windows)
        self.mass = mass.clamp(min=1e-6)
        self.share = torch.where(mass > 0.05, mass, 0.0) / mass.where(mass > 0.05, 0.0).sum().clamp(min=1e-6)

    def __call__(self, pair: torch.Tensor) -> torch.Tensor:
        """Likeness, from 0 to 1, of images (2, I, J, K) from 0 to 1. Exchanging them changes no bit."""
        return (self.share * self.squares(pair)).double().sum()

    def squares(self, pair: torch.Tensor) -> torch.Tensor:
        """Squared local correlation (1, i, j, k) in each window."""
        # about the middle grey, or the variance would drown in rounding
        pair = pair - 0.5
        mean = _smooth(self.weight * pair, self.windows) / self.mass
        square = _smooth(self.weight * pair.square(), self.windows) / self.mass
        product = _smooth(self.weight * (pair[:1] * pair[1:]), self.windows) / self.mass
        spread = (square - mean.square()).clamp(min=0) + NOISE**2
        return (product - mean[:1] * mean[1:]).square() / (spread[:1] * spread[1:])


def local_change_weight(pair: torch.Tensor, region: torch.Tensor, step_mm: float, cutoff: float) -> torch.Tensor:
    """Weight (I, J, K) of voxels, from 1 down to 0 where two images differ more than their grey values explain.

    As `change_weight`, with the residual averaged by a Gaussian about each voxel.

    Args:
        pair: (2, I, J, K), grey values from 0 to 1.
        region: (I, J, K), what counts.
        step_mm: voxel size.
        cutoff: robust standard deviations of the mean residual beyond which a voxel counts for nothing.
    """
    windows = gaussian_windows(region.shape, step_mm, CHANGE_MM, 1, region.device)
    mass = _smooth(region[None], windows).clamp(min=1e-3)
    inside = region > 0.5
    one, other = (image[inside][None] for image in pair)
    keep = torch.ones_like(region)
    for _ in range(ROUNDS):
        table = joint_histogram(one, other, keep[inside][None])
        kept = []
        for residual in (unexplained(table, one, other), unexplained(table.mT.contiguous(), other, one)):
            placed = torch.zeros_like(region)
            placed[inside] = residual[0].to(region.dtype)
            mean = (_smooth((placed * region)[None], windows) / mass)[0]
            kept.append(_biweight(mean[inside], cutoff))
        keep = torch.zeros_like(region)
        keep[inside] = kept[0] * kept[1]
    return keep


def _biweight(residual: torch.Tensor, cutoff: float) -> torch.Tensor:
    middle = residual.median()
    spread = 1.4826 * (residual - middle).abs().median().clamp(min=1e-6)
    return (1 - ((residual - middle) / (cutoff * spread)).square()).clamp(min=0).square()
