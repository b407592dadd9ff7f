# SPDX-License-Identifier: Apache-2.0
"""MONAI transforms over pairs of scans: alignment, harmonisation, anatomy, simulated change."""

from monai_microchange.transforms.alignment import AlignMidSpaced
from monai_microchange.transforms.anatomy import (
    MergeAnatomyd,
    SegmentAnatomyd,
    anatomy_probabilities,
    clean_brain,
    merge_anatomy,
)
from monai_microchange.transforms.change_label import ReadChangeLabeld
from monai_microchange.transforms.harmonize import HarmonizeVisitsd, local_standardize, robust_standardize
from monai_microchange.transforms.lesion_change import insert_lesion, mark_change, plant_lesions, visible_change
from monai_microchange.transforms.lesion_recipe import LesionRecipe
from monai_microchange.transforms.midspace import (
    MidSpace,
    half_linear,
    half_rigid,
    mean_linear,
    mean_rigid,
    mid_space,
)
from monai_microchange.transforms.paint_labels import RandPaintLabelsd, paint_labels
from monai_microchange.transforms.region import AssessRegiond, ReadUserMasksd, foreground
from monai_microchange.transforms.registration import LinearRegistration, register_pair
from monai_microchange.transforms.simulate_pair import RandInsertChanged, RandSimulateChanged

__all__ = [
    "AlignMidSpaced",
    "AssessRegiond",
    "HarmonizeVisitsd",
    "LesionRecipe",
    "LinearRegistration",
    "MergeAnatomyd",
    "MidSpace",
    "RandInsertChanged",
    "RandPaintLabelsd",
    "RandSimulateChanged",
    "ReadChangeLabeld",
    "ReadUserMasksd",
    "SegmentAnatomyd",
    "anatomy_probabilities",
    "clean_brain",
    "foreground",
    "half_linear",
    "half_rigid",
    "insert_lesion",
    "local_standardize",
    "mark_change",
    "mean_linear",
    "mean_rigid",
    "merge_anatomy",
    "mid_space",
    "paint_labels",
    "plant_lesions",
    "register_pair",
    "robust_standardize",
    "visible_change",
]
