# SPDX-License-Identifier: Apache-2.0
"""Residual block whose channels are weighed by what the whole image shows."""

import torch
from monai.networks.layers.factories import Conv, Norm
from torch import nn

__all__ = ["ChannelAttentionResBlock"]


class ChannelGate(nn.Module):
    """Weigh channels by a squeeze of features that need not be the ones weighed.

    Args:
        channels: channels in and out.
        reduction: how many times fewer hidden units there are.
    """

    def __init__(self, channels: int, reduction: int = 4):
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.fc = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels), nn.Sigmoid()
        )

    def weights(self, seen: torch.Tensor) -> torch.Tensor:
        """Weight (B, channels), from 0 to 1, of each channel, from features (B, channels, *spatial)."""
        return self.fc(seen.flatten(2).mean(dim=2))

    def forward(self, x: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """Weigh `x` (B, channels, *spatial) by what `seen`, of the same shape, shows."""
        return (x.flatten(2) * self.weights(seen).unsqueeze(2)).reshape(x.shape)


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

    channel_attention: torch.jit.Final[bool]

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
        self.channel_attention = channel_attention
        self.attention = ChannelGate(out_channels) if channel_attention else nn.Identity()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = conv(in_channels, out_channels, kernel_size=1, stride=stride, bias=False)
        self.activation = nn.LeakyReLU(0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, in_channels, *spatial) to (B, out_channels, *spatial / stride)."""
        features = self.body(x)
        if self.channel_attention:
            # squeezed after the activation: the mean of normalised features is their bias, whatever the image
            features = self.attention(features, self.activation(features))
        return self.activation(features + self.shortcut(x))
