# SPDX-License-Identifier: Apache-2.0
"""Scores of all real pairs together, how far chance carries them, and all figures as JSON."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from truth_grid import PairScores

from monai_microchange.metrics import LesionCounts, LesionScores, SizeBin

__all__ = ["DRAWS", "PooledScores", "bootstrap_f1", "counts_of", "plain", "pool_scores"]

DRAWS = 2000
SEED = 20161
COVERED = 0.95


@dataclass(frozen=True)
class PooledScores:
    """Scores of several pairs together.

    Attributes:
        lesions: counts over the lesions of all pairs, with sensitivity, precision and F1.
        f1_interval: both ends of the 95 % interval of F1, from `bootstrap_f1`.
        mean_dice: mean of the pairs' Dice.
        n_direction_ok: of the found lesions of clear contrast, those whose sign is right.
        n_direction: found lesions of clear contrast.
        by_size: counts in bins of volume.
    """

    lesions: LesionCounts
    f1_interval: tuple[float, float]
    mean_dice: float
    n_direction_ok: int
    n_direction: int
    by_size: tuple[SizeBin, ...]


def pool_scores(scores: Sequence[PairScores]) -> PooledScores:
    """Add up the lesions of several pairs.

    A pair with many lesions weighs more than one with few, except in Dice.
    """
    counts = [counts_of(one.lesions) for one in scores]
    return PooledScores(
        lesions=sum(counts, LesionCounts()),
        f1_interval=bootstrap_f1(counts),
        mean_dice=float(np.mean([one.lesions.dice for one in scores])),
        n_direction_ok=sum(one.n_direction_ok for one in scores),
        n_direction=sum(one.n_direction for one in scores),
        by_size=tuple(_pooled_bin(bins) for bins in zip(*(one.lesions.by_size for one in scores), strict=True)),
    )


def counts_of(lesions: LesionScores) -> LesionCounts:
    """The counts behind the scores of a pair."""
    return LesionCounts(
        n_reference=lesions.n_reference,
        n_found=lesions.n_found,
        n_predicted=lesions.n_predicted,
        n_false=lesions.n_predicted - lesions.n_found,
    )


def bootstrap_f1(counts: Sequence[LesionCounts], draws: int = DRAWS, seed: int = SEED) -> tuple[float, float]:
    """Percentile interval (95 %) of the pooled lesion-wise F1.

    The lesions of a pair are its true ones, each found or missed, and its false ones, in one list. From each pair's
    list as many lesions as it holds are drawn with replacement, so that the numbers of found, missed and false ones are
    multinomial; they are added over the pairs, and F1 = 2 found / (2 found + missed + false). The 2.5th and 97.5th
    percentile of all draws are the interval.

    Pairs are not drawn: the interval says how much hangs on single lesions of these patients, and nothing about other
    patients. Lesions of one patient are not independent, so it is rather too narrow.

    Args:
        counts: of each pair.
        draws: how often everything is drawn.
        seed: of the draws.

    Returns:
        Lower and upper end; NaN without any lesion.

    Example:
        >>> bootstrap_f1([LesionCounts(n_reference=3, n_found=3, n_predicted=3, n_false=0)])
        (1.0, 1.0)

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentile interval).
    """
    rng = np.random.default_rng(seed)
    drawn = np.zeros((draws, 3))
    for one in counts:
        kinds = np.array([one.n_found, one.n_reference - one.n_found, one.n_false])
        if kinds.sum():
            drawn += rng.multinomial(kinds.sum(), kinds / kinds.sum(), size=draws)
    found, missed, false = drawn.T
    if not drawn.any():
        return math.nan, math.nan
    low, high = np.quantile(2 * found / (2 * found + missed + false), [(1 - COVERED) / 2, (1 + COVERED) / 2])
    return float(low), float(high)


def plain(value: Any) -> Any:
    """Scores as JSON holds them: what is not finite as null, and of counts what follows from them too.

    >>> plain({"f1": math.nan, "found": (1, 2)})
    {'f1': None, 'found': [1, 2]}
    """
    if isinstance(value, LesionCounts):
        ratios = {name: getattr(value, name) for name in ("sensitivity", "precision", "f1")}
        return plain(asdict(value) | ratios)
    if isinstance(value, LesionScores | PairScores | PooledScores):
        return plain(vars(value))
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _pooled_bin(bins: Sequence[SizeBin]) -> SizeBin:
    total = sum(bins, LesionCounts())
    return SizeBin(**asdict(total), lower_mm3=bins[0].lower_mm3, upper_mm3=bins[0].upper_mm3)
