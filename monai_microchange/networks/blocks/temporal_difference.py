# SPDX-License-Identifier: Apache-2.0
"""What one visit shows that the other does not."""

import torch
from monai.networks.layers.factories import Conv, Norm
from torch import nn

__all__ = ["TemporalDifference"]


class TemporalDifference(nn.Module):
    """Fuse the features of two visits, in one direction of time, into features of change.

    It sees (to, to - from), of which (from, to, to - from) is a linear mixture. The difference is given rather than
    left to be learnt, since it is what the task is about.

    Args:
        spatial_dims: 2 or 3.
        channels: channels of each visit's features, and of the result.
        difference: whether the difference is given; off (for ablation) it sees (to, from).

    Example:
        >>> x = torch.rand(1, 4, 5, 5)
        >>> TemporalDifference(2, 4)(x, x).shape
        torch.Size([1, 4, 5, 5])

    Source: the weighing of features by their difference follows Rokuss et al., 2024, LongiSeg, arXiv 2409.13416.
    """

    def __init__(self, spatial_dims: int, channels: int, *, difference: bool = True):
        super().__init__()
        self.difference = difference
        conv, norm = Conv[Conv.CONV, spatial_dims], Norm[Norm.INSTANCE, spatial_dims]
        self.fuse = nn.Sequential(
            conv(2 * channels, channels, kernel_size=1, bias=False),
            norm(channels, affine=True),
            nn.LeakyReLU(0.01),
        )

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Fuse features (B, channels, *spatial) of the visit one comes from with those of the visit one goes to."""
        other = target - source if self.difference else source
        return self.fuse(torch.cat([target, other], dim=1))
