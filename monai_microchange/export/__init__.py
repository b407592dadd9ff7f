# SPDX-License-Identifier: Apache-2.0
"""Write results in the formats of others: NIfTI, Slicer segmentation, ITK transform, table."""

from .itk_transform import write_transform
from .native import change_in_native_space
from .nifti import write_nifti
from .slicer import COLOURS, write_seg_nrrd
from .table import TABLE_COLUMNS, lesion_row, write_table

__all__ = [
    "COLOURS",
    "TABLE_COLUMNS",
    "change_in_native_space",
    "lesion_row",
    "write_nifti",
    "write_seg_nrrd",
    "write_table",
    "write_transform",
]
