# SPDX-License-Identifier: Apache-2.0
"""Scores of change maps: lesions counted one to one, overlap, distance, direction, ranking and calibration."""

from monai_microchange.metrics.box_matching import BoxMatches, box_ious, match_boxes
from monai_microchange.metrics.change_dice import (
    ANY_CHANGE,
    BY_DIRECTION,
    BY_TYPE,
    ChangeDiceMetric,
    compute_change_dice,
)
from monai_microchange.metrics.change_surface import (
    ChangeSurfaceMetric,
    compute_change_surface,
    lesion_surfaces_mm,
    surface_mm,
)
from monai_microchange.metrics.direction_accuracy import (
    DirectionAccuracyMetric,
    compute_direction_accuracy,
    count_directions,
)
from monai_microchange.metrics.false_lesions import FalseLesionMetric, compute_false_lesions
from monai_microchange.metrics.lesion_average_precision import (
    LesionAveragePrecisionMetric,
    compute_lesion_average_precision,
)
from monai_microchange.metrics.lesion_calibration import (
    LesionBrierMetric,
    LesionCalibrationMetric,
    ReliabilityCurve,
    compute_brier,
    compute_reliability,
)
from monai_microchange.metrics.lesion_candidates import (
    LesionCandidates,
    candidates_from_matches,
    find_candidates,
    pool_candidates,
)
from monai_microchange.metrics.lesion_coverage import CoverageF1Metric, compute_coverage_f1, count_covered_lesions
from monai_microchange.metrics.lesion_detection import (
    LesionF1Metric,
    LesionPrecisionMetric,
    LesionSensitivityMetric,
    compute_lesion_f1,
    compute_lesion_precision,
    compute_lesion_sensitivity,
)
from monai_microchange.metrics.lesion_froc import FALSE_PER_PAIR, LesionFrocMetric, compute_lesion_froc
from monai_microchange.metrics.lesion_matching import LesionMatches, label_components, match_lesions
from monai_microchange.metrics.lesion_scores import (
    SIZE_EDGES_MM3,
    LesionCounts,
    LesionScores,
    SizeBin,
    count_lesions,
    score_lesions,
)

__all__ = [
    "ANY_CHANGE",
    "BY_DIRECTION",
    "BY_TYPE",
    "FALSE_PER_PAIR",
    "SIZE_EDGES_MM3",
    "BoxMatches",
    "ChangeDiceMetric",
    "ChangeSurfaceMetric",
    "CoverageF1Metric",
    "DirectionAccuracyMetric",
    "FalseLesionMetric",
    "LesionAveragePrecisionMetric",
    "LesionBrierMetric",
    "LesionCalibrationMetric",
    "LesionCandidates",
    "LesionCounts",
    "LesionF1Metric",
    "LesionFrocMetric",
    "LesionMatches",
    "LesionPrecisionMetric",
    "LesionScores",
    "LesionSensitivityMetric",
    "ReliabilityCurve",
    "SizeBin",
    "box_ious",
    "candidates_from_matches",
    "compute_brier",
    "compute_change_dice",
    "compute_change_surface",
    "compute_coverage_f1",
    "compute_direction_accuracy",
    "compute_false_lesions",
    "compute_lesion_average_precision",
    "compute_lesion_f1",
    "compute_lesion_froc",
    "compute_lesion_precision",
    "compute_lesion_sensitivity",
    "compute_reliability",
    "count_covered_lesions",
    "count_directions",
    "count_lesions",
    "find_candidates",
    "label_components",
    "lesion_surfaces_mm",
    "match_boxes",
    "match_lesions",
    "pool_candidates",
    "score_lesions",
    "surface_mm",
]
