# SPDX-License-Identifier: Apache-2.0
"""Residual block whose channels are weighed by what the whole image shows."""

import torch
from monai.networks.blocks import ChannelSELayer
from monai.networks.layers.factories import Conv, Norm
from torch import nn

__all__ = ["ChannelAttentionResBlock"]


class ChannelAttentionResBlock(nn.Module):
    """Two normalised convolutions with a shortcut and squeeze-and-excitation.

    Normalisation is per image and channel, so that no visit, and no direction of time, can see another through it.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels that come in.
        out_channels: channels that go out.
        stride: 2 halves the grid (rounding up).
        channel_attention: whether channels are weighed (off for ablation).

    Example:
        >>> ChannelAttentionResBlock(2, 3, 8, stride=2)(torch.rand(1, 3, 9, 8)).shape
        torch.Size([1, 8, 5, 4])

    Source: Hu et al., 2018, Squeeze-and-Excitation Networks, doi 10.1109/CVPR.2018.00745.
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, *, stride: int = 1, channel_attention: bool = True
    ):
        super().__init__()
        conv, norm = Conv[Conv.CONV, spatial_dims], Norm[Norm.INSTANCE, spatial_dims]
        self.body = nn.Sequential(
            conv(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False),
            norm(out_channels, affine=True),
            nn.LeakyReLU(0.01),
            conv(out_channels, out_channels, kernel_size=3, padding=1, bias=False),
            norm(out_channels, affine=True),
        )
        self.attention: nn.Module = nn.Identity()
        if channel_attention:
            self.attention = ChannelSELayer(spatial_dims, out_channels, r=min(4, out_channels))
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = conv(in_channels, out_channels, kernel_size=1, stride=stride, bias=False)
        self.activation = nn.LeakyReLU(0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, in_channels, *spatial) to (B, out_channels, *spatial / stride)."""
        return self.activation(self.attention(self.body(x)) + self.shortcut(x))
