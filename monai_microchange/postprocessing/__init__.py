# SPDX-License-Identifier: Apache-2.0
"""From probability maps to lesions: lesion at a visit, components of change, their types, the list of lesions."""

from monai_microchange.postprocessing.find_lesions import FindLesionsd
from monai_microchange.postprocessing.hyperintensity import visit_lesions
from monai_microchange.postprocessing.lesions import list_lesions
from monai_microchange.postprocessing.location import locate_lesions
from monai_microchange.postprocessing.records import Lesion, MidMaps
from monai_microchange.postprocessing.types import ChangeMaps, find_changes

__all__ = [
    "ChangeMaps",
    "FindLesionsd",
    "Lesion",
    "MidMaps",
    "find_changes",
    "list_lesions",
    "locate_lesions",
    "visit_lesions",
]
