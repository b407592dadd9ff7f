# SPDX-License-Identifier: Apache-2.0
"""Scores of change maps: lesions counted one to one, and voxel-wise Dice."""

from monai_microchange.metrics.change_dice import (
    ANY_CHANGE,
    BY_DIRECTION,
    BY_TYPE,
    ChangeDiceMetric,
    compute_change_dice,
)
from monai_microchange.metrics.lesion_detection import (
    LesionF1Metric,
    LesionScores,
    SizeBin,
    compute_lesion_f1,
    score_lesions,
)
from monai_microchange.metrics.lesion_matching import LesionMatches, label_components, match_lesions

__all__ = [
    "ANY_CHANGE",
    "BY_DIRECTION",
    "BY_TYPE",
    "ChangeDiceMetric",
    "LesionF1Metric",
    "LesionMatches",
    "LesionScores",
    "SizeBin",
    "compute_change_dice",
    "compute_lesion_f1",
    "label_components",
    "match_lesions",
    "score_lesions",
]
