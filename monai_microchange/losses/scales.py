# SPDX-License-Identifier: Apache-2.0
"""Deep supervision that does not lose small lesions on coarse grids."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from monai_microchange.enums import ChangeLabel

__all__ = ["DeepScalesLoss", "coarsen_labels"]


def coarsen_labels(label: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Change labels on a coarser grid: what the voxels inside a coarse one say together.

    Taking the nearest voxel instead would drop most lesions of a few voxels.

    ==================================  ============
    inside                              coarse voxel
    ==================================  ============
    CHANGED, or both GAIN and LOSS      CHANGED
    GAIN but no other change            GAIN
    LOSS but no other change            LOSS
    UNKNOWN, no change                  UNKNOWN
    NONE alone                          NONE
    ==================================  ============

    Args:
        label: (B, 1, *spatial), `ChangeLabel` codes of any dtype.
        size: coarse spatial shape.

    Returns:
        (B, 1, *size), float. At the same size the codes are kept.

    Example:
        >>> coarsen_labels(torch.tensor([[[[0, 2, 1, 2, 0, 4, 4, 1]]]]), (1, 4)).flatten().tolist()
        [2.0, 3.0, 4.0, 1.0]
    """
    if tuple(label.shape[2:]) == tuple(size):
        return label.float()
    changed, unknown = label == ChangeLabel.CHANGED, label == ChangeLabel.UNKNOWN
    parts = torch.cat([(label == ChangeLabel.GAIN) | changed, (label == ChangeLabel.LOSS) | changed, unknown], dim=1)
    pool = F.adaptive_max_pool3d if label.ndim == 5 else F.adaptive_max_pool2d
    gain, loss, unknown = pool(parts.float(), list(size)).split(1, dim=1)
    # CHANGED is GAIN + LOSS in number as in meaning
    change = ChangeLabel.GAIN * gain + ChangeLabel.LOSS * loss
    return torch.where(change > 0, change, ChangeLabel.UNKNOWN * unknown)


class DeepScalesLoss(nn.Module):
    """Mean of a loss over all scales of logits, each scale half as heavy as the next finer one.

    Args:
        loss: takes logits (B, 3, *spatial) and labels (B, 1, *spatial), as `ChangeLoss`. A loss of MONAI serves where
            labels are signed and gain never lies so near to loss that a coarse voxel holds both.

    Example:
        >>> from monai_microchange.losses import ChangeLoss
        >>> loss = DeepScalesLoss(ChangeLoss())
        >>> scales = [torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 2, 2)]
        >>> float(loss(scales, torch.zeros(1, 1, 4, 4))) > 0
        True

    Source: Lee et al., 2015, Deeply-Supervised Nets, arXiv 1409.5185; weights as in nnU-Net (Isensee et al., 2021,
    doi 10.1038/s41592-020-01008-z).
    """

    def __init__(self, loss: nn.Module):
        super().__init__()
        self.loss = loss

    def forward(self, scales: Sequence[torch.Tensor] | torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Loss of logits (B, 3, *spatial / 2**i), finest first, against labels (B, 1, *spatial).

        A single tensor is one scale.
        """
        return torch.stack(list(self.terms(scales, labels).values())).sum()

    def terms(self, scales: Sequence[torch.Tensor] | torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """The summands of the loss over all scales, by the names that the inner loss's `terms` gives them.

        An inner loss without `terms` gives a single one, "loss". To log them, call this and add them up.
        """
        if isinstance(scales, torch.Tensor):
            scales = [scales]
        weights = [0.5**i for i in range(len(scales))]
        total: dict[str, torch.Tensor] = {}
        for weight, logits in zip(weights, scales, strict=True):
            for name, term in self._terms_of_scale(logits, labels).items():
                total[name] = total.get(name, 0) + weight / sum(weights) * term
        return total

    def _terms_of_scale(self, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        labels = coarsen_labels(labels, logits.shape[2:])
        terms = getattr(self.loss, "terms", None)
        return {"loss": self.loss(logits, labels)} if terms is None else terms(logits, labels)
