# SPDX-License-Identifier: Apache-2.0
"""Deep supervision that does not lose small lesions on coarse grids."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["DeepScalesLoss", "coarsen_labels"]


def coarsen_labels(labels: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Labels on a coarser grid: each coarse voxel gets the largest label inside it.

    Taking the nearest voxel instead would drop most lesions of a few voxels.

    Args:
        labels: (B, 1, *spatial), whole numbers.
        size: coarse spatial shape.

    Returns:
        (B, 1, *size), float.

    Example:
        >>> coarsen_labels(torch.tensor([[[[0.0, 2.0, 0.0, 0.0]]]]), (1, 2)).flatten().tolist()
        [2.0, 0.0]
    """
    if tuple(labels.shape[2:]) == tuple(size):
        return labels.float()
    pool = F.adaptive_max_pool3d if labels.ndim == 5 else F.adaptive_max_pool2d
    return pool(labels.float(), list(size))


class DeepScalesLoss(nn.Module):
    """Sum of a loss over all scales of logits, each scale half as heavy as the next finer one.

    Args:
        loss: takes logits (B, C, *spatial) and labels (B, 1, *spatial).

    Example:
        >>> from monai.losses import DiceCELoss
        >>> loss = DeepScalesLoss(DiceCELoss(softmax=True, to_onehot_y=True))
        >>> logits = [torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 2, 2)]
        >>> float(loss(logits, torch.zeros(1, 1, 4, 4))) > 0
        True

    Source: Lee et al., 2015, Deeply-Supervised Nets, arXiv 1409.5185; weights as in nnU-Net (Isensee et al., 2021,
    doi 10.1038/s41592-020-01008-z).
    """

    def __init__(self, loss: nn.Module):
        super().__init__()
        self.loss = loss

    def forward(self, scales: Sequence[torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        """Loss of logits (B, C, *spatial / 2**i), finest first, against labels (B, 1, *spatial).

        A single tensor is one scale.
        """
        if isinstance(scales, torch.Tensor):
            scales = [scales]
        weights = [0.5**i for i in range(len(scales))]
        total = sum(
            weight * self.loss(logits, coarsen_labels(labels, logits.shape[2:]))
            for weight, logits in zip(weights, scales, strict=True)
        )
        return torch.as_tensor(total) / sum(weights)
