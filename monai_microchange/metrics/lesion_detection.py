# SPDX-License-Identifier: Apache-2.0
"""Scores that count lesions: sensitivity, precision and F1 of one-to-one matches, overall and by size."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.metrics.metric import CumulativeIterationMetric

from monai_microchange.metrics._reduction import checked_reduction, reduced
from monai_microchange.metrics.lesion_matching import LesionMatches, binary_volume, checked_spacing, match_lesions

__all__ = ["LesionF1Metric", "LesionScores", "SizeBin", "compute_lesion_f1", "score_lesions"]

NAN = float("nan")
SIZE_EDGES_MM3 = (10.0, 25.0, 100.0)


@dataclass(frozen=True)
class SizeBin:
    """Counts of lesions of `lower_mm3` (included) to `upper_mm3` (excluded), each side binned by its own volume.

    Attributes:
        lower_mm3: smallest volume.
        upper_mm3: first volume of the next bin; infinite in the last one.
        n_reference: reference lesions of this size.
        n_found: how many of them have a partner, of whatever size.
        n_predicted: predicted lesions of this size.
        n_false: how many of those have none.
    """

    lower_mm3: float
    upper_mm3: float
    n_reference: int
    n_found: int
    n_predicted: int
    n_false: int

    @property
    def sensitivity(self) -> float:
        """Found share of the reference lesions; NaN without any."""
        return _share(self.n_found, self.n_reference)

    @property
    def precision(self) -> float:
        """True share of the predicted lesions; NaN without any."""
        return _share(self.n_predicted - self.n_false, self.n_predicted)


@dataclass(frozen=True)
class LesionScores:
    """All scores of one predicted mask. Lesions obey `match_lesions`; Dice and volume ratio use every voxel.

    Attributes:
        n_reference: lesions in the reference.
        n_predicted: lesions in the prediction.
        n_found: pairs.
        sensitivity: n_found / n_reference.
        precision: n_found / n_predicted.
        f1: 2 n_found / (n_reference + n_predicted).
        dice: voxel-wise Dice.
        volume_ratio: predicted over reference volume.
        by_size: counts in bins of volume, from small to large.
    """

    n_reference: int
    n_predicted: int
    n_found: int
    sensitivity: float
    precision: float
    f1: float
    dice: float
    volume_ratio: float
    by_size: tuple[SizeBin, ...]


def score_lesions(
    y_pred: npt.ArrayLike | torch.Tensor,
    y: npt.ArrayLike | torch.Tensor,
    *,
    spacing_mm: Sequence[float],
    min_volume_mm3: float = 3.0,
    min_iou: float = 0.1,
    empty_score: float = NAN,
    size_edges_mm3: Sequence[float] = SIZE_EDGES_MM3,
) -> LesionScores:
    """Score one predicted mask against its reference.

    Args:
        y_pred: predicted mask (I, J, K), boolean or 0/1.
        y: reference mask, same shape.
        spacing_mm: voxel size along I, J, K in mm.
        min_volume_mm3: smallest component that counts as a lesion, in mm3.
        min_iou: smallest intersection over union of a pair.
        empty_score: value of F1 and Dice where neither mask has anything.
        size_edges_mm3: rising volumes between the bins of `by_size`.

    Returns:
        Scores, each undefined one NaN unless `empty_score` says otherwise:

        ===================  ===========  =========  =============  =============  ============
        case                 sensitivity  precision  F1             Dice           volume ratio
        ===================  ===========  =========  =============  =============  ============
        both empty           NaN          NaN        `empty_score`  `empty_score`  NaN
        prediction empty     0            NaN        0              0              0
        reference empty      NaN          0          0              0              NaN
        no match             0            0          0              as is          as is
        ===================  ===========  =========  =============  =============  ============

        For sensitivity, precision and F1 a mask is empty that holds no component of `min_volume_mm3`.

    Raises:
        ValueError: as `match_lesions`; or `size_edges_mm3` does not rise.

    Example:
        >>> pred, ref = np.zeros((2, 8, 8, 8), dtype=bool)
        >>> ref[1:3, 1:3, 1:3] = ref[6:8, 6:8, 6] = True
        >>> pred[1:4, 1:3, 1:3] = True
        >>> scores = score_lesions(pred, ref, spacing_mm=(1, 1, 1))
        >>> scores.sensitivity, scores.precision, round(scores.f1, 3), scores.volume_ratio
        (0.5, 1.0, 0.667, 1.0)
    """
    matches = match_lesions(y_pred, y, spacing_mm=spacing_mm, min_volume_mm3=min_volume_mm3, min_iou=min_iou)
    pred, ref = (binary_volume(mask, name) for mask, name in ((y_pred, "y_pred"), (y, "y")))
    n_pred, n_ref, n_shared = (int(np.count_nonzero(mask)) for mask in (pred, ref, pred & ref))
    return LesionScores(
        n_reference=matches.n_reference,
        n_predicted=matches.n_predicted,
        n_found=matches.n_found,
        sensitivity=_share(matches.n_found, matches.n_reference),
        precision=_share(matches.n_found, matches.n_predicted),
        f1=_share(2 * matches.n_found, matches.n_reference + matches.n_predicted, empty_score),
        dice=_share(2 * n_shared, n_pred + n_ref, empty_score),
        volume_ratio=_share(n_pred, n_ref),
        by_size=_by_size(matches, size_edges_mm3),
    )


def compute_lesion_f1(
    y_pred: torch.Tensor,
    y: torch.Tensor,
    *,
    spacing_mm: npt.ArrayLike,
    min_volume_mm3: float = 3.0,
    min_iou: float = 0.1,
    empty_score: float = NAN,
) -> torch.Tensor:
    """Lesion-wise F1 of each mask of a batch, 2 n_found / (n_reference + n_predicted).

    Args:
        y_pred: predicted masks (B, C, I, J, K), boolean or 0/1; channels are scored apart, for example gain and loss.
        y: reference masks, same shape.
        spacing_mm: voxel size along I, J, K in mm: (3,) for all or (B, 3).
        min_volume_mm3: smallest component that counts as a lesion, in mm3.
        min_iou: smallest intersection over union of a pair.
        empty_score: value where neither mask has a lesion.

    Returns:
        (B, C), float32, on the device of `y`.

        =====================  =============
        case                   F1
        =====================  =============
        both empty             `empty_score`
        prediction empty       0
        reference empty        0
        no match               0
        =====================  =============

        `empty_score` is NaN unless said otherwise: 0/0 has no value, and patients in whom nothing changed would
        otherwise lift (1) or sink (0) the mean. A false lesion in them does count, as 0.

    Raises:
        ValueError: masks not (B, C, I, J, K), of different shape or not binary; spacing of another shape.

    Example:
        >>> masks = torch.zeros(2, 1, 6, 6, 6)
        >>> masks[0, 0, :2, :2, :2] = 1
        >>> compute_lesion_f1(masks, masks, spacing_mm=(1, 1, 1)).tolist()
        [[1.0], [nan]]
    """
    if y_pred.shape != y.shape or y.ndim != 5:
        raise ValueError(
            f"Expected two masks (B, C, I, J, K) of one shape, got y_pred {tuple(y_pred.shape)} and y {tuple(y.shape)}."
        )
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    if spacing.shape not in ((3,), (len(y), 3)):
        raise ValueError(f"spacing_mm must have shape (3,) or ({len(y)}, 3), got {spacing.shape}.")
    spacing = np.broadcast_to(spacing, (len(y), 3))
    scores = torch.empty(y.shape[:2], dtype=torch.float32)
    for item, channel in np.ndindex(*y.shape[:2]):
        matches = match_lesions(
            y_pred[item, channel],
            y[item, channel],
            spacing_mm=tuple(spacing[item]),
            min_volume_mm3=min_volume_mm3,
            min_iou=min_iou,
        )
        scores[item, channel] = _share(2 * matches.n_found, matches.n_reference + matches.n_predicted, empty_score)
    return scores.to(y.device)


class LesionF1Metric(CumulativeIterationMetric):
    """Cumulative `compute_lesion_f1`, for MONAI's evaluators.

    Call it with `y_pred, y` as (B, C, I, J, K) or as lists of (C, I, J, K); `aggregate` returns one tensor.

    Args:
        spacing_mm: voxel size of every mask along I, J, K in mm: volumes are never guessed from an array. Where cases
            differ, `metric(y_pred, y, spacing_mm=...)` overrides it for that call.
        min_volume_mm3: smallest component that counts as a lesion, in mm3.
        min_iou: smallest intersection over union of a pair.
        empty_score: value where neither mask has a lesion; see the table of `compute_lesion_f1`.
        reduction: MONAI's reduction over (B, C): "mean" over all, "mean_batch" for one value a channel, "none" for
            all. NaN entries are left out; where nothing is left the result is NaN (MONAI's own would be 0).

    Raises:
        ValueError: a spacing or reduction that cannot be.

    Example:
        >>> metric = LesionF1Metric(spacing_mm=(1, 1, 1))
        >>> _ = metric(y_pred=torch.ones(2, 1, 4, 4, 4), y=torch.ones(2, 1, 4, 4, 4))
        >>> metric.aggregate().item()
        1.0
    """

    def __init__(
        self,
        *,
        spacing_mm: Sequence[float],
        min_volume_mm3: float = 3.0,
        min_iou: float = 0.1,
        empty_score: float = NAN,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        self.spacing_mm = tuple(checked_spacing(spacing_mm).tolist())
        self.min_volume_mm3 = min_volume_mm3
        self.min_iou = min_iou
        self.empty_score = empty_score
        self.reduction = checked_reduction(reduction)

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        if y is None:
            raise ValueError("LesionF1Metric compares with a reference: pass y.")
        spacing_mm = kwargs.pop("spacing_mm", self.spacing_mm)
        if kwargs:
            raise TypeError(f"LesionF1Metric takes only spacing_mm beside the masks, got {', '.join(kwargs)}.")
        return compute_lesion_f1(
            y_pred,
            y,
            spacing_mm=spacing_mm,
            min_volume_mm3=self.min_volume_mm3,
            min_iou=self.min_iou,
            empty_score=self.empty_score,
        )

    def aggregate(self, reduction: str | None = None) -> torch.Tensor:
        """Reduce what was collected since `reset`; `reduction` overrides the constructor's."""
        return reduced(self.get_buffer(), reduction or self.reduction)


def _share(part: int, whole: int, empty: float = NAN) -> float:
    return part / whole if whole else empty


def _by_size(matches: LesionMatches, edges_mm3: Sequence[float]) -> tuple[SizeBin, ...]:
    edges = np.asarray(edges_mm3, dtype=np.float64)
    if edges.ndim != 1 or np.any(np.diff(edges) <= 0):
        raise ValueError(f"size_edges_mm3 must rise, got {edges_mm3!r}.")
    reference_bin = np.digitize(matches.reference_volumes_mm3, edges)
    predicted_bin = np.digitize(matches.predicted_volumes_mm3, edges)
    n_bins = len(edges) + 1
    counts = zip(
        np.bincount(reference_bin, minlength=n_bins),
        np.bincount(reference_bin[matches.pairs[:, 1] - 1], minlength=n_bins),
        np.bincount(predicted_bin, minlength=n_bins),
        np.bincount(predicted_bin[matches.false - 1], minlength=n_bins),
        strict=True,
    )
    bounds = zip((0.0, *edges.tolist()), (*edges.tolist(), float("inf")), strict=True)
    return tuple(SizeBin(*bound, *map(int, count)) for bound, count in zip(bounds, counts, strict=True))
