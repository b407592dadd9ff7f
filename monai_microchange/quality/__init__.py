# SPDX-License-Identifier: Apache-2.0
"""The quality gate: may two scans be compared, and where do they still lie apart?"""

from monai_microchange.quality.acquisition import Acquisition
from monai_microchange.quality.comparability import Comparability, Reason
from monai_microchange.quality.image_rules import image_reasons
from monai_microchange.quality.judge import JudgePaird
from monai_microchange.quality.measures import PairMeasures, ScanMeasures
from monai_microchange.quality.misalignment import Misalignment, residual_misalignment
from monai_microchange.quality.protocol_rules import protocol_reasons
from monai_microchange.quality.thresholds import THRESHOLDS, Threshold

__all__ = [
    "THRESHOLDS",
    "Acquisition",
    "Comparability",
    "JudgePaird",
    "Misalignment",
    "PairMeasures",
    "Reason",
    "ScanMeasures",
    "Threshold",
    "image_reasons",
    "protocol_reasons",
    "residual_misalignment",
]
