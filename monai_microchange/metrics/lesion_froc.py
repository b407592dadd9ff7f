# SPDX-License-Identifier: Apache-2.0
"""Sensitivity at a number of false lesions per pair: points of the free-response operating characteristic (FROC)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from monai_microchange.metrics.lesion_average_precision import counts_by_confidence
from monai_microchange.metrics.lesion_candidates import CandidateMetric, LesionCandidates

__all__ = ["FALSE_PER_PAIR", "LesionFrocMetric", "compute_lesion_froc"]

FALSE_PER_PAIR = (0.5, 1.0, 2.0, 4.0, 8.0)


def compute_lesion_froc(
    candidates: LesionCandidates, *, false_per_pair: Sequence[float] = FALSE_PER_PAIR
) -> np.ndarray:
    """Largest sensitivity that a threshold on confidence reaches with at most so many false lesions per pair.

    Nothing is interpolated between thresholds: each value was attained. Lesions of equal confidence stand or fall
    together. Beyond the false lesions of the whole list the sensitivity stays that of the whole list. Chakraborty and
    Winter, 1990, "Free-response methodology: alternate analysis and a new observer-performance experiment", doi
    10.1148/radiology.174.3.2305073.

    Args:
        candidates: predicted lesions of all pairs.
        false_per_pair: numbers of false lesions per pair, each at least 0.

    Returns:
        (len(false_per_pair),) sensitivities:

        =====================  ===============
        case                   each value
        =====================  ===============
        both empty             NaN
        prediction empty       0
        reference empty        NaN
        no match               0
        =====================  ===============

    Raises:
        ValueError: a negative number of false lesions, or no pair.

    Example:
        >>> some = LesionCandidates([0.9, 0.8, 0.7], [True, False, True], n_reference=2, n_pairs=2)
        >>> compute_lesion_froc(some, false_per_pair=(0.4, 0.5)).tolist()
        [0.5, 1.0]
    """
    limits = np.asarray(false_per_pair, dtype=np.float64)
    if limits.ndim != 1 or not np.all(limits >= 0):
        raise ValueError(f"false_per_pair must be numbers of at least 0, got {false_per_pair!r}.")
    if candidates.n_pairs < 1:
        raise ValueError("n_pairs must be at least 1: without a pair there is no number of false lesions per pair.")
    if candidates.n_reference == 0:
        return np.full(len(limits), np.nan)
    _, n_true, n_false = counts_by_confidence(candidates)
    # false lesions never fall with the threshold, so the last admitted one is the best
    admitted = np.searchsorted(n_false / candidates.n_pairs, limits, side="right")
    return np.concatenate([[0], n_true])[admitted] / candidates.n_reference


class LesionFrocMetric(CandidateMetric):
    """Cumulative `compute_lesion_froc`, for MONAI's evaluators; used as `CandidateMetric` says.

    `aggregate` returns a tensor (len(false_per_pair),).

    Args:
        false_per_pair: numbers of false lesions per pair.
        options: arguments of `CandidateMetric`.

    Example:
        >>> metric = LesionFrocMetric(spacing_mm=(1, 1, 1), false_per_pair=(0, 1))
        >>> _ = metric(y_pred=torch.full((1, 1, 4, 4, 4), 0.7), y=torch.ones(1, 1, 4, 4, 4))
        >>> metric.aggregate().tolist()
        [1.0, 1.0]
    """

    def __init__(self, *, false_per_pair: Sequence[float] = FALSE_PER_PAIR, **options: Any) -> None:
        super().__init__(**options)
        self.false_per_pair = tuple(false_per_pair)

    def _value(self, candidates: LesionCandidates) -> torch.Tensor:
        sensitivity = compute_lesion_froc(candidates, false_per_pair=self.false_per_pair)
        return torch.as_tensor(sensitivity, dtype=torch.float32)
