# SPDX-License-Identifier: Apache-2.0
"""From probability maps to lesions: lesion at a visit, components of change, types, confidence, the list of lesions."""

from monai_microchange.postprocessing.candidates import CANDIDATE_FEATURES, describe_candidates
from monai_microchange.postprocessing.confidence import ConfidenceModel, OperatingPoint, load_confidence
from monai_microchange.postprocessing.find_lesions import FindLesionsd
from monai_microchange.postprocessing.hyperintensity import visit_lesions
from monai_microchange.postprocessing.lesions import list_lesions
from monai_microchange.postprocessing.location import locate_lesions
from monai_microchange.postprocessing.records import Lesion, MidMaps
from monai_microchange.postprocessing.types import ChangeMaps, find_changes

__all__ = [
    "CANDIDATE_FEATURES",
    "ChangeMaps",
    "ConfidenceModel",
    "FindLesionsd",
    "Lesion",
    "MidMaps",
    "OperatingPoint",
    "describe_candidates",
    "find_changes",
    "list_lesions",
    "load_confidence",
    "locate_lesions",
    "visit_lesions",
]
