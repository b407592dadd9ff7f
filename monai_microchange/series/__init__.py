# SPDX-License-Identifier: Apache-2.0
"""Series of more than two visits: one unbiased space for all, every pair compared, each lesion followed through."""

from monai_microchange.series.align import SeriesAlignment, align_visits
from monai_microchange.series.compare import compare_series
from monai_microchange.series.folder import SeriesFile, check_series_output, write_series_result
from monai_microchange.series.follow import follow_lesions
from monai_microchange.series.identities import number_over_visits
from monai_microchange.series.poses import GroupPoses, PairPose, average_poses, unbiased_poses
from monai_microchange.series.records import SeriesLesion, SeriesResult, SeriesVisit

__all__ = [
    "GroupPoses",
    "PairPose",
    "SeriesAlignment",
    "SeriesFile",
    "SeriesLesion",
    "SeriesResult",
    "SeriesVisit",
    "align_visits",
    "average_poses",
    "check_series_output",
    "compare_series",
    "follow_lesions",
    "number_over_visits",
    "unbiased_poses",
    "write_series_result",
]
