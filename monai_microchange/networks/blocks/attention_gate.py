# SPDX-License-Identifier: Apache-2.0
"""Spatial attention on a skip connection."""

import torch
from monai.networks.layers.factories import Conv
from torch import nn

__all__ = ["AdditiveAttentionGate"]


class AdditiveAttentionGate(nn.Module):
    """Weigh each voxel of a skip connection by how much the coarser scale asks for it.

    Args:
        spatial_dims: 2 or 3.
        skip_channels: channels of the skip connection.
        gate_channels: channels of the coarser features, already on the skip's grid.

    Example:
        >>> gate = AdditiveAttentionGate(3, skip_channels=4, gate_channels=8)
        >>> gate(torch.rand(1, 4, 6, 5, 4), torch.rand(1, 8, 6, 5, 4)).shape
        torch.Size([1, 4, 6, 5, 4])

    Source: Oktay et al., 2018, Attention U-Net, arXiv 1804.03999, equations 1 and 2.
    """

    def __init__(self, spatial_dims: int, skip_channels: int, gate_channels: int):
        super().__init__()
        hidden = max(skip_channels // 2, 4)
        conv = Conv[Conv.CONV, spatial_dims]
        self.from_skip = conv(skip_channels, hidden, kernel_size=1, bias=False)
        self.from_gate = conv(gate_channels, hidden, kernel_size=1)
        self.to_weight = conv(hidden, 1, kernel_size=1)

    def weights(self, skip: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
        """Attention (B, 1, *spatial), from 0 to 1."""
        return torch.sigmoid(self.to_weight(torch.relu(self.from_skip(skip) + self.from_gate(gate))))

    def forward(self, skip: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
        """Weigh `skip` (B, skip_channels, *spatial) by `gate` (B, gate_channels, *spatial)."""
        return skip * self.weights(skip, gate)
