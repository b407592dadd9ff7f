# SPDX-License-Identifier: Apache-2.0
"""Write results in the formats of others: NIfTI, Slicer segmentation, ITK transform, table."""

from monai_microchange.export.itk_transform import write_transform
from monai_microchange.export.native import change_in_native_space
from monai_microchange.export.nifti import write_nifti
from monai_microchange.export.slicer import COLOURS, write_seg_nrrd
from monai_microchange.export.table import TABLE_COLUMNS, lesion_row, write_table
from monai_microchange.export.warp_transform import write_inverse_warp, write_warp

__all__ = [
    "COLOURS",
    "TABLE_COLUMNS",
    "change_in_native_space",
    "lesion_row",
    "write_inverse_warp",
    "write_nifti",
    "write_seg_nrrd",
    "write_table",
    "write_transform",
    "write_warp",
]
