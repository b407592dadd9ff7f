# SPDX-License-Identifier: Apache-2.0
"""Reduction of collected scores that keeps "no value" apart from 0."""

from typing import Any

import torch
from monai.metrics.utils import do_metric_reduction
from monai.utils.enums import MetricReduction

__all__ = ["checked_reduction", "reduced"]


def checked_reduction(reduction: str) -> str:
    """The name of one of MONAI's reductions.

    Raises:
        ValueError: none of them.
    """
    names = [str(kind.value) for kind in MetricReduction]
    if reduction not in names:
        raise ValueError(f"reduction must be one of {', '.join(names)}, got {reduction!r}.")
    return str(reduction)


def reduced(scores: Any, reduction: str) -> torch.Tensor:
    """Scores (B, C) reduced as MONAI does, NaN left out; NaN, not 0, where nothing is left.

    Args:
        scores: buffer of a cumulative metric.
        reduction: one of MONAI's reductions.

    Raises:
        ValueError: nothing was collected, or an unknown reduction.

    Example:
        >>> reduced(torch.tensor([[0.5], [float("nan")]]), "mean").item()
        0.5
        >>> reduced(torch.tensor([[float("nan")]]), "mean").item()
        nan
    """
    if not isinstance(scores, torch.Tensor):
        raise ValueError("Nothing to aggregate: call the metric on at least one pair of masks first.")
    # The buffer is cloned, since MONAI writes zeros over its NaN.
    value, counted = do_metric_reduction(scores.clone(), checked_reduction(reduction))
    return torch.where(counted > 0, value, torch.nan)
