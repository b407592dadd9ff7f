# SPDX-License-Identifier: Apache-2.0
"""Input: reads two visits, checks them and refuses with a reason."""

from monai_microchange.data.dicom import SeriesInfo, list_series, read_series
from monai_microchange.data.errors import InputError
from monai_microchange.data.lesion_bank import LesionBank
from monai_microchange.data.mask import read_mask_like
from monai_microchange.data.pair import ReadPaird, ScanPair, modality_keys, read_pair
from monai_microchange.data.scan import ReadScand
from monai_microchange.data.visit import DEFAULT_MODALITY, Visit, read_visit
from monai_microchange.data.volume import VOLUME_SUFFIXES, read_volume

__all__ = [
    "DEFAULT_MODALITY",
    "VOLUME_SUFFIXES",
    "InputError",
    "LesionBank",
    "ReadPaird",
    "ReadScand",
    "ScanPair",
    "SeriesInfo",
    "Visit",
    "list_series",
    "modality_keys",
    "read_mask_like",
    "read_pair",
    "read_series",
    "read_visit",
    "read_volume",
]
