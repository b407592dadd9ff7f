# SPDX-License-Identifier: Apache-2.0
"""Self-attention between all voxels of a coarse grid."""

import torch
from monai.networks.layers.factories import Conv
from torch import nn
from torch.nn import functional as F

__all__ = ["GridSelfAttention"]


class GridSelfAttention(nn.Module):
    """Let every voxel of the coarsest scale look at every other.

    Starts as the identity (a learnt gain, zero at first), so it never harms a short training.

    Args:
        spatial_dims: 2 or 3.
        channels: channels in and out; a multiple of `heads`.
        heads: how many kinds of likeness are attended to at once.

    Raises:
        ValueError: if `channels` is no multiple of `heads`.

    Example:
        >>> x = torch.rand(1, 8, 3, 4)
        >>> bool(torch.equal(GridSelfAttention(2, 8)(x), x))
        True

    Source: Wang et al., 2018, Non-local Neural Networks, doi 10.1109/CVPR.2018.00813; heads as in Vaswani et al., 2017,
    arXiv 1706.03762.
    """

    def __init__(self, spatial_dims: int, channels: int, *, heads: int = 4):
        super().__init__()
        if channels % heads:
            raise ValueError(f"channels must be a multiple of heads; got {channels} channels and {heads} heads")
        conv = Conv[Conv.CONV, spatial_dims]
        self.heads = heads
        self.to_qkv = conv(channels, 3 * channels, kernel_size=1, bias=False)
        self.to_out = conv(channels, channels, kernel_size=1)
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, channels, *spatial) to the same shape."""
        tokens = self.to_qkv(x).flatten(2)  # (B, 3 * channels, N)
        batch, width, count = tokens.shape
        tokens = tokens.reshape(batch, 3, self.heads, width // (3 * self.heads), count).transpose(3, 4)
        attended = F.scaled_dot_product_attention(tokens[:, 0], tokens[:, 1], tokens[:, 2])  # (B, heads, N, d)
        return x + self.gain * self.to_out(attended.transpose(2, 3).reshape(x.shape))
