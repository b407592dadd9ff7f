# SPDX-License-Identifier: Apache-2.0
"""Dice of change maps, over any change, by direction or by type."""

from collections.abc import Sequence
from typing import Any

import torch
from monai.metrics.metric import CumulativeIterationMetric

from monai_microchange.enums import ChangeType
from monai_microchange.metrics._reduction import checked_reduction, reduced

__all__ = ["ANY_CHANGE", "BY_DIRECTION", "BY_TYPE", "ChangeDiceMetric", "compute_change_dice", "dice_from_counts"]

BY_TYPE = tuple((int(t),) for t in ChangeType)
"""One column for each of new, enlarging, shrinking, resolved."""

BY_DIRECTION = (
    tuple(int(t) for t in ChangeType if t.is_gain),
    tuple(int(t) for t in ChangeType if not t.is_gain),
)
"""Two columns, gain and loss. A map of the network's classes {none, gain, loss} wants `((1,), (2,))` instead."""

ANY_CHANGE = (tuple(int(t) for t in ChangeType),)
"""One column: changed or not. The only one that a reference without direction allows."""

NAN = float("nan")


def compute_change_dice(
    y_pred: torch.Tensor,
    y: torch.Tensor,
    *,
    groups: Sequence[Sequence[int]] = ANY_CHANGE,
    empty_score: float = NAN,
) -> torch.Tensor:
    """Dice of two change maps for each group of labels: voxels, not lesions, and so ruled by the largest lesion.

    Args:
        y_pred: labels (B, 1, *spatial) as in `mid/change.nii.gz` (0 none, 1 new, 2 enlarging, 3 shrinking,
            4 resolved), integer or whole-numbered float.
        y: reference labels, same shape.
        groups: labels that count as one, a column of the result each: `ANY_CHANGE`, `BY_DIRECTION`, `BY_TYPE` or own.
        empty_score: value where neither map has the group's labels.

    Returns:
        (B, len(groups)), float32.

        =====================  =============
        case                   Dice
        =====================  =============
        both empty             `empty_score`
        prediction empty       0
        reference empty        0
        no common voxel        0
        =====================  =============

        `empty_score` is NaN unless said otherwise: 0/0 has no value, and a mean over cases should not be lifted by
        those in which there was nothing to find. Change reported where there is none does count, as 0.

    Raises:
        ValueError: shapes differ or are not (B, 1, *spatial); `groups` is empty.

    Example:
        >>> pred, ref = torch.zeros(2, 1, 1, 4, 4, 4, dtype=torch.uint8)
        >>> pred[..., :2, 0, 0], ref[..., :3, 0, 0] = 1, 1     # new: 2 voxels of 3
        >>> pred[..., 0, 3], ref[..., 0, 3] = 4, 1             # a change whose direction is wrong
        >>> compute_change_dice(pred, ref).shape, compute_change_dice(pred, ref, groups=BY_DIRECTION).shape
        (torch.Size([1, 1]), torch.Size([1, 2]))
    """
    if y_pred.shape != y.shape or y.ndim < 3 or y.shape[1] != 1:
        raise ValueError(
            f"Expected two label maps (B, 1, *spatial) of one shape, got y_pred {tuple(y_pred.shape)} and y "
            f"{tuple(y.shape)}: take the argmax of logits, and decollated items one by one or as a list."
        )
    if not groups:
        raise ValueError("groups must name at least one group of labels, for example ANY_CHANGE.")
    columns = []
    for group in groups:
        wanted = torch.as_tensor(tuple(group), device=y.device)
        pred, ref = (torch.isin(labels.to(torch.int64), wanted).flatten(1) for labels in (y_pred, y))
        columns.append(dice_from_counts((pred & ref).sum(1), pred.sum(1) + ref.sum(1), empty_score=empty_score))
    return torch.stack(columns, dim=1)


def dice_from_counts(shared: torch.Tensor, total: torch.Tensor, *, empty_score: float) -> torch.Tensor:
    """Twice the shared voxels over the voxels of both masks; `empty_score` where neither has any.

    >>> dice_from_counts(torch.tensor([2, 0]), torch.tensor([5, 0]), empty_score=1.0)
    tensor([0.8000, 1.0000])
    """
    dice = 2.0 * shared / total.clamp(min=1)
    return torch.where(total > 0, dice, torch.full_like(dice, empty_score))


class ChangeDiceMetric(CumulativeIterationMetric):
    """Cumulative `compute_change_dice`, for MONAI's evaluators.

    Call it with `y_pred, y` as (B, 1, *spatial) or as lists of (1, *spatial); `aggregate` returns one tensor.

    Args:
        groups: as in `compute_change_dice`.
        empty_score: as in `compute_change_dice`.
        reduction: MONAI's reduction over (B, len(groups)): "mean" over all, "mean_batch" for one value a group,
            "none" for all. NaN entries are left out; where nothing is left the result is NaN (MONAI's own would be 0).

    Example:
        >>> metric = ChangeDiceMetric()
        >>> _ = metric(y_pred=torch.ones(2, 1, 4, 4, 4), y=torch.ones(2, 1, 4, 4, 4))
        >>> metric.aggregate().item()
        1.0
    """

    def __init__(
        self,
        *,
        groups: Sequence[Sequence[int]] = ANY_CHANGE,
        empty_score: float = NAN,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        self.groups = tuple(tuple(group) for group in groups)
        self.empty_score = empty_score
        self.reduction = checked_reduction(reduction)

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        if y is None:
            raise ValueError("ChangeDiceMetric compares with a reference: pass y.")
        return compute_change_dice(y_pred, y, groups=self.groups, empty_score=self.empty_score)

    def aggregate(self, reduction: str | None = None) -> torch.Tensor:
        """Reduce what was collected since `reset`; `reduction` overrides the constructor's."""
        return reduced(self.get_buffer(), reduction or self.reduction)
