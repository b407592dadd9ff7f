# SPDX-License-Identifier: Apache-2.0
"""Dropout that treats both directions of time alike."""

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["SharedDropout"]


class SharedDropout(nn.Module):
    """Drop the same channels in both halves of a batch, which hold the two directions of time of the same pairs.

    With separate masks a pair of identical scans would show change while training.

    Args:
        rate: share of channels dropped, from 0 to 1 (1 excluded).

    Example:
        >>> out = SharedDropout(0.5)(torch.ones(4, 8, 2, 2))
        >>> bool(torch.equal(out[:2], out[2:]))
        True
    """

    def __init__(self, rate: float = 0.0):
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"rate must be at least 0 and below 1; got {rate}")
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (2 * B, C, *spatial) to the same shape; outside training it is returned as it is."""
        if not self.training or self.rate == 0.0:
            return x
        ones = torch.ones_like(x[: x.shape[0] // 2, :, :1]).flatten(2)[:, :, :1]
        mask = F.dropout(ones, self.rate, True)
        mask = torch.cat([mask, mask])
        return (x.flatten(2) * mask).reshape(x.shape)
