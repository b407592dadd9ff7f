# SPDX-License-Identifier: Apache-2.0
"""Predicted lesions with their confidence and whether they are true: what rankings and calibration are made from."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from monai_microchange.metrics._mask_metric import MaskMetric, each_volume
from monai_microchange.metrics.lesion_matching import LesionMatches, match_lesions

__all__ = ["CandidateMetric", "LesionCandidates", "candidates_from_matches", "find_candidates", "pool_candidates"]


@dataclass(frozen=True, eq=False)
class LesionCandidates:
    """Predicted lesions of one or more pairs of scans, and how many there were to find.

    Attributes:
        confidence: (n,) of each predicted lesion, any finite numbers; the larger, the surer.
        is_true: (n,) bool, whether it has a partner.
        n_reference: reference lesions, found or not.
        n_pairs: pairs of scans that all this comes from.

    Raises:
        ValueError: not one confidence and one flag for each lesion, a confidence that is not finite, or more true
            lesions than there were to find.

    Example:
        >>> LesionCandidates(confidence=[0.9, 0.4], is_true=[True, False], n_reference=1, n_pairs=1).is_true.sum()
        np.int64(1)
    """

    confidence: np.ndarray
    is_true: np.ndarray
    n_reference: int
    n_pairs: int = 1

    def __post_init__(self) -> None:
        confidence = np.asarray(self.confidence, dtype=np.float64)
        is_true = np.asarray(self.is_true, dtype=bool)
        object.__setattr__(self, "confidence", confidence)
        object.__setattr__(self, "is_true", is_true)
        if confidence.ndim != 1 or confidence.shape != is_true.shape or not np.isfinite(confidence).all():
            raise ValueError(
                "expected one finite confidence and one flag for each lesion, got shapes "
                f"{confidence.shape} and {is_true.shape} and {np.sum(~np.isfinite(confidence))} that are not finite."
            )
        if is_true.sum() > self.n_reference:
            raise ValueError(
                f"{is_true.sum()} lesions are true, but n_reference is {self.n_reference}: match one to one."
            )


def candidates_from_matches(matches: LesionMatches, confidence: np.ndarray) -> LesionCandidates:
    """The predicted lesions of matches, each as confident as its surest voxel.

    Args:
        matches: from `match_lesions`.
        confidence: (I, J, K), of each voxel.
    """
    labels = np.arange(1, matches.n_predicted + 1)
    surest = ndimage.maximum(confidence, matches.predicted_labels, labels) if len(labels) else []
    return LesionCandidates(np.asarray(surest), np.isin(labels, matches.pairs[:, 0]), matches.n_reference)


def find_candidates(
    y_pred: np.ndarray,
    y: np.ndarray,
    *,
    spacing_mm: Sequence[float],
    min_volume_mm3: float = 3.0,
    min_iou: float = 0.1,
) -> LesionCandidates:
    """The predicted lesions of one pair of scans.

    All of them are matched at once, one to one; that the less sure ones are then left out, one after the other, does
    not match the others anew. Where lesions come as boxes, `match_boxes` gives the flags.

    Args:
        y_pred: confidence (I, J, K), 0 outside the predicted lesions; a lesion is as confident as its surest voxel.
        y: reference mask, same shape, boolean or 0/1.
        spacing_mm: voxel size along I, J, K in mm.
        min_volume_mm3: smallest component that counts as a lesion, in mm3.
        min_iou: smallest intersection over union of a pair.

    Raises:
        ValueError: as `match_lesions`; or a confidence below 0 or not finite.

    Example:
        >>> pred, ref = np.zeros((6, 6, 6)), np.zeros((6, 6, 6), dtype=bool)
        >>> pred[:2, :2, :2], pred[4:, 4:, 4:], ref[:2, :2, :2] = 0.9, 0.5, True
        >>> found = find_candidates(pred, ref, spacing_mm=(1, 1, 1))
        >>> found.confidence.tolist(), found.is_true.tolist(), found.n_reference
        ([0.9, 0.5], [True, False], 1)
    """
    if not np.isfinite(y_pred).all() or np.any(y_pred < 0):
        raise ValueError("y_pred must hold confidences of at least 0, got some that are negative or not finite.")
    rule = {"min_volume_mm3": min_volume_mm3, "min_iou": min_iou}
    return candidates_from_matches(match_lesions(y_pred > 0, y, spacing_mm=spacing_mm, **rule), y_pred)


def pool_candidates(several: Iterable[LesionCandidates]) -> LesionCandidates:
    """All candidates as if they came from one set of pairs; none of none."""
    parts = list(several)
    return LesionCandidates(
        np.concatenate([np.empty(0), *(part.confidence for part in parts)]),
        np.concatenate([np.empty(0, dtype=bool), *(part.is_true for part in parts)]),
        sum(part.n_reference for part in parts),
        sum(part.n_pairs for part in parts),
    )


class CandidateMetric(MaskMetric):
    """Base of the cumulative metrics over confidence: lesions of all pairs are pooled, then judged.

    Call it with `y_pred`, confidences, and `y`, masks, as (B, C, I, J, K) or as lists of (C, I, J, K); see
    `find_candidates`. Channels, for example gain and loss, are matched apart and pooled. A call returns rows
    (confidence, true, reference lesions, pairs), one a lesion and one a pair; `aggregate` returns one tensor.

    Args:
        spacing_mm: voxel size along I, J, K in mm; `metric(y_pred, y, spacing_mm=...)` overrides it for one call.
        min_volume_mm3: smallest component that counts as a lesion, in mm3.
        min_iou: smallest intersection over union of a pair.
    """

    def __init__(self, *, spacing_mm: Sequence[float], min_volume_mm3: float = 3.0, min_iou: float = 0.1) -> None:
        super().__init__(spacing_mm=spacing_mm)
        self.rule = {"min_volume_mm3": min_volume_mm3, "min_iou": min_iou}

    @abstractmethod
    def _value(self, candidates: LesionCandidates) -> torch.Tensor:
        """The metric of pooled candidates."""

    def _score(self, y_pred: torch.Tensor, y: torch.Tensor, spacing_mm: npt.ArrayLike) -> torch.Tensor:
        rows = []
        for (_, channel), pred, ref, spacing in each_volume(y_pred, y, spacing_mm):
            found = find_candidates(pred, ref, spacing_mm=spacing, **self.rule)
            # a row for the pair itself, so that one without lesions counts too; its channels are one pair
            rows.append([np.nan, 0, found.n_reference, channel == 0])
            rows += [[sure, true, 0, 0] for sure, true in zip(found.confidence, found.is_true, strict=True)]
        return torch.tensor(rows, dtype=torch.float64)

    def aggregate(self, reduction: str | None = None) -> torch.Tensor:
        """The metric of all that was collected since `reset`; there is nothing to reduce.

        Raises:
            ValueError: nothing was collected, or a reduction is given.
        """
        rows = self.get_buffer()
        if reduction is not None or not isinstance(rows, torch.Tensor):
            raise ValueError("Nothing to aggregate: call the metric on at least one pair first, and give no reduction.")
        lesions = rows[~rows[:, 0].isnan()].numpy()
        n_reference, n_pairs = (int(number) for number in rows[:, 2:].sum(dim=0))
        return self._value(LesionCandidates(lesions[:, 0], lesions[:, 1] > 0, n_reference, n_pairs))
