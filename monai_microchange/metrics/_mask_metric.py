# SPDX-License-Identifier: Apache-2.0
"""What the metrics over masks share: checks of a batch, a loop over its volumes, and the cumulative class."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.metrics.metric import CumulativeIterationMetric

from monai_microchange.metrics._reduction import checked_reduction, reduced
from monai_microchange.metrics.lesion_matching import checked_spacing

__all__ = ["NAN", "MaskMetric", "each_volume", "score_volumes"]

NAN = float("nan")

Volume = tuple[tuple[int, int], np.ndarray, np.ndarray, tuple[float, ...]]


def each_volume(y_pred: torch.Tensor, y: torch.Tensor, spacing_mm: npt.ArrayLike) -> list[Volume]:
    """Take a batch (B, C, I, J, K) apart: (item, channel), prediction, reference and spacing of each volume.

    Raises:
        ValueError: shapes differ or are not (B, C, I, J, K); spacing neither (3,) nor (B, 3), or not positive.
    """
    if y_pred.shape != y.shape or y.ndim != 5:
        raise ValueError(
            f"Expected two masks (B, C, I, J, K) of one shape, got y_pred {tuple(y_pred.shape)} and y {tuple(y.shape)}."
        )
    given = np.asarray(spacing_mm, dtype=np.float64)
    if given.shape not in ((3,), (len(y), 3)):
        raise ValueError(f"spacing_mm must have shape (3,) or ({len(y)}, 3), got {given.shape}.")
    spacings = [tuple(checked_spacing(one).tolist()) for one in np.broadcast_to(given, (len(y), 3))]
    pred, ref = (masks.detach().cpu().numpy() for masks in (y_pred, y))
    return [((b, c), pred[b, c], ref[b, c], spacings[b]) for b, c in np.ndindex(*pred.shape[:2])]


def score_volumes(
    y_pred: torch.Tensor,
    y: torch.Tensor,
    spacing_mm: npt.ArrayLike,
    score: Callable[[np.ndarray, np.ndarray, tuple[float, ...]], float],
) -> torch.Tensor:
    """A score for each volume of a batch, (B, C), float32, on the device of `y`.

    >>> masks = torch.zeros(2, 1, 2, 2, 3)
    >>> score_volumes(masks, masks, (1, 1, 2), lambda pred, ref, spacing: spacing[2]).tolist()
    [[2.0], [2.0]]
    """
    volumes = each_volume(y_pred, y, spacing_mm)
    scores = torch.empty(y.shape[:2], dtype=torch.float32)
    for place, pred, ref, spacing in volumes:
        scores[place] = score(pred, ref, spacing)
    return scores.to(y.device)


class MaskMetric(CumulativeIterationMetric):
    """Base of the cumulative metrics that need the size of a voxel.

    A subclass computes (B, C) in `_score`. Call it with `y_pred, y` as (B, C, I, J, K) or as lists of (C, I, J, K);
    `aggregate` returns one tensor.

    Args:
        spacing_mm: voxel size of every mask along I, J, K in mm: volumes and distances are never guessed from an array.
            Where cases differ, `metric(y_pred, y, spacing_mm=...)` overrides it for that call (one for all of a list).
        reduction: MONAI's reduction over (B, C): "mean" over all, "mean_batch" for one value a channel, "none" for all.
            NaN entries are left out; where nothing is left the result is NaN (MONAI's own would be 0).

    Raises:
        ValueError: a spacing or reduction that cannot be.
    """

    def __init__(self, *, spacing_mm: Sequence[float], reduction: str = "mean") -> None:
        super().__init__()
        self.spacing_mm = tuple(checked_spacing(spacing_mm).tolist())
        self.reduction = checked_reduction(reduction)

    @abstractmethod
    def _score(self, y_pred: torch.Tensor, y: torch.Tensor, spacing_mm: npt.ArrayLike) -> torch.Tensor:
        """Scores (B, C), or rows to collect, of masks (B, C, I, J, K)."""

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        name = type(self).__name__
        if y is None:
            raise ValueError(f"{name} compares with a reference: pass y.")
        spacing_mm = kwargs.pop("spacing_mm", self.spacing_mm)
        if kwargs:
            raise TypeError(f"{name} takes only spacing_mm beside the masks, got {', '.join(kwargs)}.")
        return self._score(y_pred, y, spacing_mm)

    def aggregate(self, reduction: str | None = None) -> torch.Tensor:
        """Reduce what was collected since `reset`; `reduction` overrides the constructor's."""
        return reduced(self.get_buffer(), reduction or self.reduction)
