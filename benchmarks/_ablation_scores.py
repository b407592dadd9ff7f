# SPDX-License-Identifier: Apache-2.0
"""Scores of one variant of the ablation on simulated pairs, by a rule that is the same for all variants."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from _ablation_data import Block
from operating_point import SEEDS, Counts, probabilities

from monai_microchange.enums import ChangeLabel

THRESHOLD = 0.5
"""That a voxel of change must reach, in all figures but the average precision."""

SUREST = (THRESHOLD, 0.7, 0.8, *SEEDS)
"""That one voxel of a lesion must reach; the first asks for no more than the extent does."""

MOST_LOG_ODDS = 16.0
"""Beyond which voxels rank alike; about where single precision ends."""


@dataclass(frozen=True)
class BlockScores:
    """Gain and loss apart, over all blocks together; what nobody could judge (UNKNOWN) counts neither way.

    Attributes:
        dice: of voxels in the blocks with change, at a threshold of 0.5, components under 3 mm³ dropped.
        average_precision: of voxels in all blocks.
        f1: of lesions in the blocks with change, at the best threshold of the surest voxel.
        surest: that threshold.
        false_per_stable: lesions found in a block without change, at that threshold; NaN without such blocks.
    """

    dice: float
    average_precision: float
    f1: float
    surest: float
    false_per_stable: float


def score_network(
    network: torch.nn.Module, blocks: Iterable[Block], *, watch: Callable[[], object] = lambda: None
) -> BlockScores:
    """Score a network, calling `watch` after each block."""
    counts = {surest: Counts() for surest in SUREST}
    ranks = VoxelRanks()
    for block in blocks:
        gain, loss = probabilities(network, block.image)
        judged = block.label != ChangeLabel.UNKNOWN
        for probability, code in ((gain, ChangeLabel.GAIN), (loss, ChangeLabel.LOSS)):
            ranks.add(probability[judged], (block.label == code)[judged])
        for surest, count in counts.items():
            count.add(gain, loss, block.label, THRESHOLD, surest, changes=block.changes)
        watch()
    # of equals the strictest
    plain, best = counts[THRESHOLD], max(SUREST, key=lambda surest: (counts[surest].lesions.f1, surest))
    stable = counts[best].stable_pairs
    return BlockScores(
        dice=2 * plain.shared / max(plain.predicted + plain.marked, 1),
        average_precision=ranks.average_precision(),
        f1=counts[best].lesions.f1,
        surest=best,
        false_per_stable=counts[best].false_lesions / stable if stable else float("nan"),
    )


class VoxelRanks:
    """Histograms of log-odds, of all voxels and of the true ones: average precision without keeping any voxel.

    Args:
        bins: voxels within one rank alike.

    Example:
        >>> ranks = VoxelRanks()
        >>> ranks.add(np.array([0.9, 0.8, 0.3]), np.array([True, False, True]))
        >>> round(ranks.average_precision(), 4)
        0.8333
    """

    def __init__(self, bins: int = 4096):
        self.voxels, self.true = np.zeros((2, bins), dtype=np.int64)

    def add(self, probability: np.ndarray, truth: np.ndarray) -> None:
        """Count voxels (N,), and whether each of them is true."""
        bins = len(self.voxels)
        least = float(np.exp(-MOST_LOG_ODDS))
        kept = np.clip(probability.astype(np.float64), least, 1 - least)
        log_odds = np.log(kept) - np.log1p(-kept)
        place = np.clip((log_odds / MOST_LOG_ODDS + 1) / 2 * bins, 0, bins - 1).astype(np.int64)
        self.voxels += np.bincount(place, minlength=bins)
        self.true += np.bincount(place[truth], minlength=bins)

    def average_precision(self) -> float:
        """Mean over the true voxels of the precision at their rank; NaN if there are none."""
        voxels, true = np.cumsum(self.voxels[::-1]), np.cumsum(self.true[::-1])
        if true[-1] == 0:
            return float("nan")
        precision = true / np.maximum(voxels, 1)
        return float((precision * np.diff(true, prepend=0)).sum() / true[-1])
