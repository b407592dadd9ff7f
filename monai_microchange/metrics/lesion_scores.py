# SPDX-License-Identifier: Apache-2.0
"""Counts of lesions of one predicted mask and what follows from them, overall and by size."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

from monai_microchange.metrics.lesion_matching import LesionMatches, binary_volume, match_lesions

__all__ = [
    "ANY_SIZE_MM3",
    "SIZE_EDGES_MM3",
    "LesionCounts",
    "LesionScores",
    "SizeBin",
    "count_lesions",
    "score_lesions",
]

NAN = float("nan")
SIZE_EDGES_MM3 = (10.0, 25.0, 100.0)
"""Volumes between the size bins: below 10 mm3, 10 to 25, 25 to 100, 100 and more."""

ANY_SIZE_MM3 = (0.0, float("inf"))


@dataclass(frozen=True)
class LesionCounts:
    """How many lesions there are and how many were found. Counts of several cases add up with `+`.

    Attributes:
        n_reference: reference lesions.
        n_found: how many of them have a partner.
        n_predicted: predicted lesions.
        n_false: how many of those have none.

    Example:
        >>> both = LesionCounts(4, 2, 2, 0) + LesionCounts(0, 0, 3, 3)
        >>> both.sensitivity, both.precision, round(both.f1, 3)
        (0.5, 0.4, 0.444)
    """

    n_reference: int = 0
    n_found: int = 0
    n_predicted: int = 0
    n_false: int = 0

    def __add__(self, other: "LesionCounts") -> "LesionCounts":
        return LesionCounts(
            self.n_reference + other.n_reference,
            self.n_found + other.n_found,
            self.n_predicted + other.n_predicted,
            self.n_false + other.n_false,
        )

    @property
    def n_true(self) -> int:
        """Predicted lesions that have a partner."""
        return self.n_predicted - self.n_false

    @property
    def sensitivity(self) -> float:
        """Found share of the reference lesions; NaN without any."""
        return share(self.n_found, self.n_reference)

    @property
    def precision(self) -> float:
        """True share of the predicted lesions; NaN without any."""
        return share(self.n_true, self.n_predicted)

    @property
    def f1(self) -> float:
        """Harmonic mean of sensitivity and precision; NaN without any lesion, 0 if none on either side has a partner.

        Also NaN if one side is empty while the other has partners: they are lesions of another size.
        """
        if self.n_reference + self.n_predicted == 0:
            return NAN
        if self.n_found + self.n_true == 0:
            return 0.0
        return 2 * self.sensitivity * self.precision / (self.sensitivity + self.precision)


@dataclass(frozen=True, kw_only=True)
class SizeBin(LesionCounts):
    """Counts of lesions of `lower_mm3` (included) to `upper_mm3` (excluded), each side binned by its own volume.

    Attributes:
        lower_mm3: smallest volume.
        upper_mm3: first volume of the next bin; infinite in the last one.
    """

    lower_mm3: float
    upper_mm3: float


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
        sensitivity=share(matches.n_found, matches.n_reference),
        precision=share(matches.n_found, matches.n_predicted),
        f1=share(2 * matches.n_found, matches.n_reference + matches.n_predicted, empty_score),
        dice=share(2 * n_shared, n_pred + n_ref, empty_score),
        volume_ratio=share(n_pred, n_ref),
        by_size=_by_size(matches, size_edges_mm3),
    )


def count_lesions(matches: LesionMatches, size_mm3: tuple[float, float] = ANY_SIZE_MM3) -> LesionCounts:
    """Count the lesions of one range of volumes; each side goes by its own volume, and a partner may have any.

    Args:
        matches: from `match_lesions`.
        size_mm3: least volume (included) and upper end (excluded).

    Raises:
        ValueError: if the range does not rise.
    """
    lower, upper = size_mm3
    if not 0 <= lower < upper:
        raise ValueError(f"size_mm3 must rise from at least 0, got {size_mm3}.")
    slack = 1 - 1e-5  # spacings come from single-precision headers: 9.999999 mm3 is meant to be 10

    def inside(volumes: np.ndarray) -> np.ndarray:
        return (volumes >= lower * slack) & (volumes < upper * slack)

    reference, predicted = inside(matches.reference_volumes_mm3), inside(matches.predicted_volumes_mm3)
    return LesionCounts(
        n_reference=int(reference.sum()),
        n_found=int(reference[matches.pairs[:, 1] - 1].sum()),
        n_predicted=int(predicted.sum()),
        n_false=int(predicted[matches.false - 1].sum()),
    )


def share(part: int, whole: int, empty: float = NAN) -> float:
    """Part of a whole, or `empty` of nothing.

    >>> share(1, 4), share(0, 0, empty=1.0)
    (0.25, 1.0)
    """
    return part / whole if whole else empty


def _by_size(matches: LesionMatches, edges_mm3: Sequence[float]) -> tuple[SizeBin, ...]:
    edges = np.asarray(edges_mm3, dtype=np.float64)
    if edges.ndim != 1 or np.any(np.diff(edges) <= 0):
        raise ValueError(f"size_edges_mm3 must rise, got {edges_mm3!r}.")
    bounds = pairwise((0.0, *edges.tolist(), float("inf")))
    return tuple(
        SizeBin(**vars(count_lesions(matches, bound)), lower_mm3=bound[0], upper_mm3=bound[1]) for bound in bounds
    )
