# SPDX-License-Identifier: Apache-2.0
"""Context of several ranges, put beside the local features."""

from collections.abc import Sequence

import torch
from monai.networks.layers.factories import Conv, Pool
from torch import nn
from torch.nn import functional as F

__all__ = ["PyramidPooling"]


class PoolingBranch(nn.Module):
    """Average over one window size, then fewer channels.

    Args:
        pool: average pooling with stride 1 and no padding.
        squeeze: convolution with a kernel of one voxel.
        margin: half the window in voxels.
    """

    def __init__(self, pool: nn.Module, squeeze: nn.Module, margin: int):
        super().__init__()
        self.pool = pool
        self.squeeze = squeeze
        self.margin = margin

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, channels, *spatial) to (B, fewer, *spatial)."""
        sides = [self.margin] * (2 * (x.ndim - 2))
        # padded by hand, and divided by what is inside: the padding's zeros must not count, however small the image
        average = self.pool(F.pad(x, sides)) / self.pool(F.pad(torch.ones_like(x[:1, :1]), sides))
        return self.squeeze(average)


class PyramidPooling(nn.Module):
    """Average the features over windows of several sizes and fuse the averages with the features themselves.

    The windows have a fixed size in voxels, not a fixed number per image: what a voxel sees does not depend on how
    large the patch around it is.

    Args:
        spatial_dims: 2 or 3.
        channels: channels in and out.
        windows: odd window sizes in voxels.

    Example:
        >>> PyramidPooling(2, 6)(torch.rand(1, 6, 5, 7)).shape
        torch.Size([1, 6, 5, 7])

    Source: Zhao et al., 2017, Pyramid Scene Parsing Network, doi 10.1109/CVPR.2017.660; there the bins are a fixed
    number per image.
    """

    def __init__(self, spatial_dims: int, channels: int, *, windows: Sequence[int] = (3, 5, 9)):
        super().__init__()
        if any(window % 2 == 0 or window < 1 for window in windows):
            raise ValueError(f"windows must be odd, so that the grid is kept; got {tuple(windows)}")
        conv, pool = Conv[Conv.CONV, spatial_dims], Pool[Pool.AVG, spatial_dims]
        part = max(channels // len(windows), 1)
        self.branches = nn.ModuleList(
            PoolingBranch(pool(kernel_size=window, stride=1), conv(channels, part, kernel_size=1), window // 2)
            for window in windows
        )
        self.fuse = conv(channels + part * len(windows), channels, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, channels, *spatial) to the same shape."""
        parts = [x]
        for branch in self.branches:
            parts.append(branch(x))
        return F.leaky_relu(self.fuse(torch.cat(parts, dim=1)), 0.01) + x
