# SPDX-License-Identifier: Apache-2.0
"""Sensitivity, precision and F1 of lesions that are matched one to one, over all of them or those of one size."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from monai_microchange.metrics._mask_metric import NAN, MaskMetric, score_volumes
from monai_microchange.metrics.lesion_matching import match_lesions
from monai_microchange.metrics.lesion_scores import ANY_SIZE_MM3, LesionCounts, count_lesions

__all__ = [
    "LesionF1Metric",
    "LesionPrecisionMetric",
    "LesionSensitivityMetric",
    "compute_lesion_f1",
    "compute_lesion_precision",
    "compute_lesion_sensitivity",
]


def compute_lesion_f1(
    y_pred: torch.Tensor,
    y: torch.Tensor,
    *,
    spacing_mm: npt.ArrayLike,
    min_volume_mm3: float = 3.0,
    min_iou: float = 0.1,
    size_mm3: tuple[float, float] = ANY_SIZE_MM3,
    empty_score: float = NAN,
) -> torch.Tensor:
    """Lesion-wise F1 of each mask of a batch, 2 n_found / (n_reference + n_predicted).

    Args:
        y_pred: predicted masks (B, C, I, J, K), boolean or 0/1; channels are scored apart, for example gain and loss.
        y: reference masks, same shape.
        spacing_mm: voxel size along I, J, K in mm: (3,) for all or (B, 3).
        min_volume_mm3: smallest component that counts as a lesion, in mm3.
        min_iou: smallest intersection over union of a pair.
        size_mm3: least volume (included) and upper end (excluded) of the lesions that are counted; a partner may have
            any volume. F1 of a size is the harmonic mean of its sensitivity and precision.
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

    def f1(counts: LesionCounts) -> float:
        return counts.f1 if counts.n_reference + counts.n_predicted else empty_score

    score = _scorer(f1, min_volume_mm3=min_volume_mm3, min_iou=min_iou, size_mm3=size_mm3)
    return score_volumes(y_pred, y, spacing_mm, score)


def compute_lesion_sensitivity(
    y_pred: torch.Tensor,
    y: torch.Tensor,
    *,
    spacing_mm: npt.ArrayLike,
    min_volume_mm3: float = 3.0,
    min_iou: float = 0.1,
    size_mm3: tuple[float, float] = ANY_SIZE_MM3,
) -> torch.Tensor:
    """Share of the reference lesions that were found, n_found / n_reference, of each mask of a batch.

    Arguments and errors are those of `compute_lesion_f1`; with `size_mm3` only reference lesions of that size count.

    Returns:
        (B, C), float32, on the device of `y`.

        =====================  ===========
        case                   sensitivity
        =====================  ===========
        both empty             NaN
        prediction empty       0
        reference empty        NaN
        no match               0
        =====================  ===========

    Example:
        >>> pred, ref = torch.zeros(2, 1, 1, 8, 8, 8)
        >>> ref[..., :2, :2, :2], ref[..., 5:, 5:, 5:], pred[..., 5:, 5:, 5:] = 1, 1, 1     # 8 mm3 and 27 mm3
        >>> compute_lesion_sensitivity(pred, ref, spacing_mm=(1, 1, 1)).item()
        0.5
        >>> compute_lesion_sensitivity(pred, ref, spacing_mm=(1, 1, 1), size_mm3=(0, 10)).item()
        0.0
    """
    score = _scorer(
        lambda counts: counts.sensitivity, min_volume_mm3=min_volume_mm3, min_iou=min_iou, size_mm3=size_mm3
    )
    return score_volumes(y_pred, y, spacing_mm, score)


def compute_lesion_precision(
    y_pred: torch.Tensor,
    y: torch.Tensor,
    *,
    spacing_mm: npt.ArrayLike,
    min_volume_mm3: float = 3.0,
    min_iou: float = 0.1,
    size_mm3: tuple[float, float] = ANY_SIZE_MM3,
) -> torch.Tensor:
    """Share of the predicted lesions that are true, n_found / n_predicted, of each mask of a batch.

    Arguments and errors are those of `compute_lesion_f1`; with `size_mm3` only predicted lesions of that size count.

    Returns:
        (B, C), float32, on the device of `y`.

        =====================  ===========
        case                   precision
        =====================  ===========
        both empty             NaN
        prediction empty       NaN
        reference empty        0
        no match               0
        =====================  ===========

    Example:
        >>> pred, ref = torch.zeros(2, 1, 1, 8, 8, 8)
        >>> pred[..., :2, :2, :2], pred[..., 5:, 5:, 5:], ref[..., 5:, 5:, 5:] = 1, 1, 1
        >>> compute_lesion_precision(pred, ref, spacing_mm=(1, 1, 1)).item()
        0.5
    """
    score = _scorer(lambda counts: counts.precision, min_volume_mm3=min_volume_mm3, min_iou=min_iou, size_mm3=size_mm3)
    return score_volumes(y_pred, y, spacing_mm, score)


def _scorer(
    value: Callable[[LesionCounts], float], *, min_volume_mm3: float, min_iou: float, size_mm3: tuple[float, float]
) -> Callable[[np.ndarray, np.ndarray, tuple[float, ...]], float]:
    """A function that scores one volume by its counts."""

    def score(y_pred: np.ndarray, y: np.ndarray, spacing_mm: tuple[float, ...]) -> float:
        matches = match_lesions(y_pred, y, spacing_mm=spacing_mm, min_volume_mm3=min_volume_mm3, min_iou=min_iou)
        return value(count_lesions(matches, size_mm3))

    return score


class LesionSensitivityMetric(MaskMetric):
    """Cumulative `compute_lesion_sensitivity`, for MONAI's evaluators.

    Call it with `y_pred, y` as (B, C, I, J, K) or as lists of (C, I, J, K); `aggregate` returns one tensor.

    Args:
        spacing_mm: voxel size of every mask along I, J, K in mm: volumes are never guessed from an array. Where cases
            differ, `metric(y_pred, y, spacing_mm=...)` overrides it for that call.
        min_volume_mm3: smallest component that counts as a lesion, in mm3.
        min_iou: smallest intersection over union of a pair.
        size_mm3: range of volumes of the lesions that are counted.
        reduction: MONAI's reduction over (B, C): "mean" over all, "mean_batch" for one value a channel, "none" for
            all. NaN entries are left out; where nothing is left the result is NaN (MONAI's own would be 0).

    Raises:
        ValueError: a spacing or reduction that cannot be.

    Example:
        >>> metric = LesionSensitivityMetric(spacing_mm=(1, 1, 1), size_mm3=(25, 100))
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
        size_mm3: tuple[float, float] = ANY_SIZE_MM3,
        reduction: str = "mean",
    ) -> None:
        super().__init__(spacing_mm=spacing_mm, reduction=reduction)
        self.rule = {"min_volume_mm3": min_volume_mm3, "min_iou": min_iou}
        self.size_mm3 = (float(size_mm3[0]), float(size_mm3[1]))

    def _score(self, y_pred: torch.Tensor, y: torch.Tensor, spacing_mm: npt.ArrayLike) -> torch.Tensor:
        return compute_lesion_sensitivity(y_pred, y, spacing_mm=spacing_mm, size_mm3=self.size_mm3, **self.rule)


class LesionPrecisionMetric(LesionSensitivityMetric):
    """Cumulative `compute_lesion_precision`, for MONAI's evaluators; used as `LesionSensitivityMetric` is.

    Example:
        >>> metric = LesionPrecisionMetric(spacing_mm=(1, 1, 1))
        >>> _ = metric(y_pred=torch.ones(2, 1, 4, 4, 4), y=torch.zeros(2, 1, 4, 4, 4))
        >>> metric.aggregate().item()
        0.0
    """

    def _score(self, y_pred: torch.Tensor, y: torch.Tensor, spacing_mm: npt.ArrayLike) -> torch.Tensor:
        return compute_lesion_precision(y_pred, y, spacing_mm=spacing_mm, size_mm3=self.size_mm3, **self.rule)


class LesionF1Metric(LesionSensitivityMetric):
    """Cumulative `compute_lesion_f1`, for MONAI's evaluators; used as `LesionSensitivityMetric` is.

    Args:
        empty_score: value where neither mask has a lesion; see the table of `compute_lesion_f1`.
        options: arguments of `LesionSensitivityMetric`.

    Example:
        >>> metric = LesionF1Metric(spacing_mm=(1, 1, 1))
        >>> _ = metric(y_pred=torch.ones(2, 1, 4, 4, 4), y=torch.ones(2, 1, 4, 4, 4))
        >>> metric.aggregate().item()
        1.0
    """

    def __init__(self, *, empty_score: float = NAN, **options: Any) -> None:
        super().__init__(**options)
        self.empty_score = empty_score

    def _score(self, y_pred: torch.Tensor, y: torch.Tensor, spacing_mm: npt.ArrayLike) -> torch.Tensor:
        options = {**self.rule, "empty_score": self.empty_score}
        return compute_lesion_f1(y_pred, y, spacing_mm=spacing_mm, size_mm3=self.size_mm3, **options)
