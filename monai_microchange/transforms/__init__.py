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
from monai_microchange.transforms.bias_field import CorrectBiasd, n4_bias
from monai_microchange.transforms.change_label import ReadChangeLabeld
from monai_microchange.transforms.differential_bias import BalanceBiasd, differential_bias
from monai_microchange.transforms.displacement import WarpField
from monai_microchange.transforms.harmonize import (
    HarmonizeVisitsd,
    StandardizeLocallyd,
    local_standardize,
    robust_standardize,
)
from monai_microchange.transforms.lesion_change import insert_lesion, mark_change, plant_lesions, visible_change
from monai_microchange.transforms.lesion_recipe import LesionRecipe
from monai_microchange.transforms.midspace import (
    MidSpace,
    common_grid,
    half_linear,
    half_rigid,
    mean_linear,
    mean_rigid,
    mid_space,
)
from monai_microchange.transforms.paint_labels import RandPaintLabelsd, paint_labels
from monai_microchange.transforms.region import AssessRegiond, ReadUserMasksd, depth_below_surface, foreground
from monai_microchange.transforms.registration import LinearRegistration, judge_pair, register_pair
from monai_microchange.transforms.registration.deformable import DeformableRegistration, register_deformable
from monai_microchange.transforms.simulate_pair import RandInsertChanged, RandSimulateChanged
from monai_microchange.transforms.tissue_scale import (
    StandardizeTissuesd,
    common_tissue_scale,
    map_grey_values,
    tissue_levels,
)

__all__ = [
    "AlignMidSpaced",
    "AssessRegiond",
    "BalanceBiasd",
    "CorrectBiasd",
    "DeformableRegistration",
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
    "StandardizeLocallyd",
    "StandardizeTissuesd",
    "WarpField",
    "anatomy_probabilities",
    "clean_brain",
    "common_grid",
    "common_tissue_scale",
    "differential_bias",
    "depth_below_surface",
    "foreground",
    "half_linear",
    "half_rigid",
    "insert_lesion",
    "judge_pair",
    "local_standardize",
    "map_grey_values",
    "mark_change",
    "mean_linear",
    "mean_rigid",
    "merge_anatomy",
    "mid_space",
    "n4_bias",
    "paint_labels",
    "plant_lesions",
    "register_deformable",
    "register_pair",
    "robust_standardize",
    "tissue_levels",
    "visible_change",
]
