# SPDX-License-Identifier: Apache-2.0
"""Whether a confidence of 0.8 is right in 80 % of the lesions: reliability curve, expected calibration error, Brier."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from monai_microchange.metrics.lesion_candidates import CandidateMetric, LesionCandidates

__all__ = [
    "LesionBrierMetric",
    "LesionCalibrationMetric",
    "ReliabilityCurve",
    "compute_brier",
    "compute_reliability",
]

NAN = float("nan")


@dataclass(frozen=True, eq=False)
class ReliabilityCurve:
    """Confidence against truth, in bins.

    Attributes:
        count: (n_bins,) lesions in each bin.
        mean_confidence: (n_bins,) NaN in an empty one.
        true_share: (n_bins,) share of the lesions that are true, NaN in an empty bin.
    """

    count: np.ndarray
    mean_confidence: np.ndarray
    true_share: np.ndarray

    @property
    def expected_error(self) -> float:
        """Expected calibration error: gap between confidence and truth, averaged over the lesions; NaN of none."""
        if self.count.sum() == 0:
            return NAN
        gap = np.abs(self.mean_confidence - self.true_share)
        return float(np.nansum(gap * self.count) / self.count.sum())


def compute_reliability(
    confidence: npt.ArrayLike, is_true: npt.ArrayLike, *, n_bins: int = 10, equal_mass: bool = False
) -> ReliabilityCurve:
    """Bin lesions by confidence and see how many in each bin are true.

    Guo et al., 2017, "On calibration of modern neural networks", arXiv 1706.04599, equations 2 and 3, with the
    probability of the one class "true lesion" rather than of the winning class. MONAI's `calibration_binning` does
    equal widths over the voxels of an image.

    Args:
        confidence: (n,) from 0 to 1.
        is_true: (n,) bool or 0/1.
        n_bins: number of bins.
        equal_mass: bins that hold equally many lesions (to within one; lesions of equal confidence are then spread
            evenly, so their order does not matter), rather than bins of equal width, of which [0.9, 1] is the last.

    Returns:
        The curve; its `expected_error` is the expected calibration error (ECE).

        =====================  ==================================
        case                   expected calibration error
        =====================  ==================================
        both empty             NaN
        prediction empty       NaN
        reference empty        mean confidence
        no match               mean confidence
        =====================  ==================================

    Raises:
        ValueError: confidences outside [0, 1], another number of flags, or fewer than one bin.

    Example:
        >>> curve = compute_reliability([0.9, 0.9, 0.3], [1, 0, 0], n_bins=2)
        >>> curve.count.tolist(), curve.mean_confidence.tolist(), curve.true_share.tolist()
        ([1, 2], [0.3, 0.9], [0.0, 0.5])
        >>> round(curve.expected_error, 3)
        0.367
    """
    sure, true = _checked(confidence, is_true)
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, got {n_bins}.")
    if equal_mass:
        order = np.argsort(sure, kind="stable")
        sure, true = sure[order], _shared_by_equals(sure[order], true[order])
        which = np.arange(len(sure)) * n_bins // max(len(sure), 1)
    else:
        which = np.minimum((sure * n_bins).astype(int), n_bins - 1)
    count = np.bincount(which, minlength=n_bins)
    filled = np.where(count > 0, count, np.nan)
    mean_confidence, true_share = (np.bincount(which, values, minlength=n_bins) / filled for values in (sure, true))
    return ReliabilityCurve(count, mean_confidence, true_share)


def compute_brier(confidence: npt.ArrayLike, is_true: npt.ArrayLike) -> float:
    """Brier score, the mean squared gap between confidence and truth (0 or 1): 0 is perfect, 0.25 what 0.5 gets.

    Brier, 1950, "Verification of forecasts expressed in terms of probability", doi
    10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2, halved for two classes as is usual. Only lesions on the list
    count: one that was missed has no confidence.

    Args:
        confidence: (n,) from 0 to 1.
        is_true: (n,) bool or 0/1.

    Returns:
        0 to 1:

        =====================  ===========================
        case                   Brier score
        =====================  ===========================
        both empty             NaN
        prediction empty       NaN
        reference empty        mean squared confidence
        no match               mean squared confidence
        =====================  ===========================

    Raises:
        ValueError: confidences outside [0, 1], or another number of flags.

    Example:
        >>> compute_brier([1.0, 0.5], [1, 0])
        0.125
    """
    sure, true = _checked(confidence, is_true)
    return float(np.mean((sure - true) ** 2)) if len(sure) else NAN


class LesionCalibrationMetric(CandidateMetric):
    """Cumulative expected calibration error of the lesions, by `compute_reliability`; used as `CandidateMetric` says.

    Args:
        n_bins: number of bins.
        equal_mass: bins of equally many lesions rather than of equal width.
        options: arguments of `CandidateMetric`.

    Example:
        >>> metric = LesionCalibrationMetric(spacing_mm=(1, 1, 1))
        >>> _ = metric(y_pred=torch.full((1, 1, 4, 4, 4), 0.75), y=torch.ones(1, 1, 4, 4, 4))
        >>> metric.aggregate().item()
        0.25
    """

    def __init__(self, *, n_bins: int = 10, equal_mass: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.n_bins = n_bins
        self.equal_mass = equal_mass

    def _value(self, candidates: LesionCandidates) -> torch.Tensor:
        curve = compute_reliability(
            candidates.confidence, candidates.is_true, n_bins=self.n_bins, equal_mass=self.equal_mass
        )
        return torch.tensor(curve.expected_error, dtype=torch.float32)


class LesionBrierMetric(CandidateMetric):
    """Cumulative `compute_brier` of the lesions; used as `CandidateMetric` says.

    Example:
        >>> metric = LesionBrierMetric(spacing_mm=(1, 1, 1))
        >>> _ = metric(y_pred=torch.full((1, 1, 4, 4, 4), 0.5), y=torch.ones(1, 1, 4, 4, 4))
        >>> metric.aggregate().item()
        0.25
    """

    def _value(self, candidates: LesionCandidates) -> torch.Tensor:
        return torch.tensor(compute_brier(candidates.confidence, candidates.is_true), dtype=torch.float32)


def _checked(confidence: npt.ArrayLike, is_true: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    sure, true = np.asarray(confidence, dtype=np.float64), np.asarray(is_true, dtype=np.float64)
    if sure.ndim != 1 or sure.shape != true.shape:
        raise ValueError(f"expected one confidence and one flag for each lesion, got {sure.shape} and {true.shape}.")
    if not np.all((sure >= 0) & (sure <= 1)):
        raise ValueError("confidence must lie in [0, 1], got a value outside: take probabilities, not logits.")
    return sure, true


def _shared_by_equals(confidence: np.ndarray, is_true: np.ndarray) -> np.ndarray:
    """Flags (n,) of sorted lesions, each that of its equals on average."""
    _, group, size = np.unique(confidence, return_inverse=True, return_counts=True)
    return (np.bincount(group, is_true) / size)[group] if len(group) else is_true
