# SPDX-License-Identifier: Apache-2.0
"""Write the result of a series as a folder: all of it, or nothing."""

import json
import re
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

import numpy as np
from monai.data import MetaTensor

from monai_microchange.export.itk_transform import write_transform
from monai_microchange.export.nifti import write_nifti
from monai_microchange.export.result_folder import check_output, finished_folder, is_result_file, write_result
from monai_microchange.series.records import SeriesResult, SeriesVisit, pair_name
from monai_microchange.series.table import write_series_table

__all__ = ["SeriesFile", "check_series_output", "is_series_file", "write_series_result"]


class SeriesFile(StrEnum):
    """Files of a series' folder, relative to it; in each pair's folder are those of `ResultFile`."""

    SCAN = "visits/{visit}/scan.nii.gz"
    LESION = "visits/{visit}/lesion.nii.gz"
    LESION_IDS = "visits/{visit}/lesion_ids.nii.gz"
    TRANSFORM = "visits/{visit}/to_common.tfm"
    PAIR = "pairs/{pair}"
    TABLE = "series.csv"
    PROVENANCE = "series.json"


def is_series_file(name: str) -> bool:
    """Whether a file, by its path relative to the folder, is of a series' result.

    >>> is_series_file("visits/03/scan.nii.gz"), is_series_file("pairs/01_02/lesions.csv"), is_series_file("thesis.txt")
    (True, True, False)
    """
    in_pair = re.fullmatch(r"pairs/\d{2,}_\d{2,}/(.+)", name)
    if in_pair:
        return is_result_file(in_pair[1])
    return re.sub(r"^visits/\d{2,}/", "visits/{visit}/", name) in set(SeriesFile)


def check_series_output(folder: str | Path, *, overwrite: bool = False) -> Path:
    """Make sure, before the work starts, that a series may be written there; as `check_output` for a pair.

    Only an earlier result of a series is ever replaced.
    """
    return check_output(folder, overwrite=overwrite, is_ours=is_series_file)


def write_series_result(folder: str | Path, result: SeriesResult, *, overwrite: bool = False) -> SeriesResult:
    """Write all files of `SeriesFile` into a folder, which appears complete or not at all.

    Returns:
        The result, and those of its pairs, with their folders.

    Raises:
        InputError: as `check_output`.
    """
    target = check_series_output(folder, overwrite=overwrite)
    places = {pair: SeriesFile.PAIR.format(pair=pair_name(pair)) for pair in result.pairs}
    with finished_folder(target) as work:
        for visit in result.visits:
            _write_visit(work, visit)
        for pair, of_pair in result.pairs.items():
            write_result(work / places[pair], of_pair)
        write_series_table(work / SeriesFile.TABLE, result)
        (work / SeriesFile.PROVENANCE).write_text(json.dumps(result.provenance, indent=2) + "\n", encoding="utf-8")
    pairs = {pair: replace(of_pair, folder=target / places[pair]) for pair, of_pair in result.pairs.items()}
    return replace(result, pairs=pairs, folder=target)


def _write_visit(work: Path, visit: SeriesVisit) -> None:
    def write(file: SeriesFile, image: MetaTensor, dtype: type) -> None:
        array: np.ndarray = np.asarray(image.as_tensor()[0]).astype(dtype)
        write_nifti(place(file), array, image.affine.numpy(), frame="aligned")

    def place(file: SeriesFile) -> Path:
        return work / file.format(visit=f"{visit.number:02d}")

    place(SeriesFile.SCAN).parent.mkdir(parents=True)
    write(SeriesFile.SCAN, visit.scan, np.float32)
    write(SeriesFile.LESION, visit.lesion, np.uint8)
    write(SeriesFile.LESION_IDS, visit.lesion_ids, np.int32)
    write_transform(place(SeriesFile.TRANSFORM), visit.mid_to_visit)
