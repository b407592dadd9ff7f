# SPDX-License-Identifier: Apache-2.0
"""Writes a phantom: two scans as NIfTI or DICOM, and the truth beside them."""

import gzip
import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import nibabel as nib
import numpy as np
from monai.data import MetaTensor

from monai_microchange import __version__
from monai_microchange.data.errors import InputError
from monai_microchange.enums import VISITS, ChangeType
from monai_microchange.simulation.phantom import Phantom
from monai_microchange.simulation.phantom_dicom import write_series

__all__ = ["write_phantom"]

_TRUTH_TABLE = "truth.json"

_HOW_TO_READ = (
    "All coordinates are RAS millimetres. The anatomical frame is that of truth.nii.gz and of the two lesion masks. "
    "anatomy_to_baseline and anatomy_to_followup are 4x4 matrices that map a point of the anatomical frame to the same "
    "point of the patient in that scan; baseline_to_followup maps points of the baseline scan to points of the "
    "follow-up scan. Volumes are in mm3 in the anatomical frame; change_mm3 counts voxels that are lesion at one visit "
    "and not at the other. centroid_ras_mm is of the union of both visits."
)


def write_phantom(folder: str | Path, phantom: Phantom, *, dicom: bool = False, overwrite: bool = False) -> Path:
    """Write a phantom into a new folder, all of it or nothing.

    ```
    baseline.nii.gz, followup.nii.gz     the scans, int16; with dicom=True the folders baseline/ and followup/ instead
    truth.nii.gz                         uint8: 0 none 1 new 2 enlarging 3 shrinking 4 resolved, anatomical frame
    truth_{baseline,followup}_lesion.nii.gz   uint8: lesion at each visit, stable ones too, anatomical frame
    truth.json                           seed, planted lesions, exact rigid transforms, protocols, how to read them
    ```

    Args:
        folder: To be made; its parents are made too.
        phantom: What to write.
        dicom: Write each visit as a series of single-frame MR images.
        overwrite: Replace `folder` if it holds an earlier phantom.

    Returns:
        `folder`.

    Raises:
        InputError: `folder` is there already and `overwrite` is False, or it holds something other than a phantom.

    Example:
        >>> write_phantom("out", make_phantom(7), dicom=True)  # doctest: +SKIP
        PosixPath('out')
    """
    folder = Path(folder)
    _check_replaceable(folder, overwrite)
    with _finished_folder(folder) as work:
        for visit in VISITS:
            scan = phantom.scan(visit)
            if dicom:
                write_series(work / visit, scan, visit=visit, seed=phantom.seed, protocol=phantom.protocols[visit])
            else:
                _write_nifti(work / f"{visit}.nii.gz", scan, np.int16)
        _write_nifti(work / "truth.nii.gz", phantom.truth, np.uint8)
        _write_nifti(work / "truth_baseline_lesion.nii.gz", phantom.baseline_lesion, np.uint8)
        _write_nifti(work / "truth_followup_lesion.nii.gz", phantom.followup_lesion, np.uint8)
        (work / _TRUTH_TABLE).write_text(json.dumps(_truth_table(phantom), indent=1) + "\n", encoding="utf-8")
    return folder


def _check_replaceable(folder: Path, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not overwrite:
        raise InputError(f"{folder} exists already: choose another folder or pass overwrite (--overwrite)")
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / _TRUTH_TABLE).is_file()):
        raise InputError(
            f"{folder} is not replaced, as it holds no phantom ({_TRUTH_TABLE} expected): remove it yourself"
        )


@contextmanager
def _finished_folder(folder: Path) -> Iterator[Path]:
    """A working folder beside `folder` that takes its place when the block ends well and is removed if not."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    mark = uuid.uuid4().hex[:8]
    work = folder.with_name(f".{folder.name}.{mark}.partial")
    work.mkdir()
    try:
        yield work
        if folder.exists():
            earlier = folder.with_name(f".{folder.name}.{mark}.earlier")
            folder.rename(earlier)
            work.rename(folder)
            shutil.rmtree(earlier)
        else:
            work.rename(folder)
    finally:
        if work.exists():
            shutil.rmtree(work)


def _write_nifti(path: Path, image: MetaTensor, dtype: type[np.integer]) -> None:
    """Write (1, I, J, K) whole numbers; equal voxels give equal bytes."""
    nifti = nib.Nifti1Image(image.numpy()[0].astype(dtype), np.asarray(image.affine))
    nifti.header.set_xyzt_units("mm")
    nifti.set_sform(nifti.affine, code="scanner")
    nifti.set_qform(nifti.affine, code="scanner")
    path.write_bytes(gzip.compress(nifti.to_bytes(), compresslevel=9, mtime=0))


def _truth_table(phantom: Phantom) -> dict[str, object]:
    """What truth.json holds."""
    to_followup = phantom.anatomy_to_followup @ np.linalg.inv(phantom.anatomy_to_baseline)
    return {
        "how_to_read": _HOW_TO_READ,
        "generator": f"monai_microchange {__version__}, make_phantom",
        "seed": phantom.seed,
        "labels": {str(int(kind)): kind.name for kind in ChangeType},
        "protocols": {visit: asdict(protocol) for visit, protocol in phantom.protocols.items()},
        "transforms": {
            "anatomy_to_baseline": phantom.anatomy_to_baseline.tolist(),
            "anatomy_to_followup": phantom.anatomy_to_followup.tolist(),
            "baseline_to_followup": to_followup.tolist(),
        },
        "lesions": phantom.table(),
    }
