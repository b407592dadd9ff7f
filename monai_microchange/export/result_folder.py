# SPDX-License-Identifier: Apache-2.0
"""Write a result as a folder: all of it, or nothing."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from monai_microchange.data import InputError
from monai_microchange.enums import VISITS, ResultFile
from monai_microchange.export.itk_transform import write_transform
from monai_microchange.export.nifti import write_nifti
from monai_microchange.export.slicer import write_seg_nrrd
from monai_microchange.export.table import write_table
from monai_microchange.result import ChangeResult

__all__ = ["check_output", "write_result"]


def check_output(folder: str | Path, *, overwrite: bool = False) -> Path:
    """Make sure, before the work starts, that a result may be written there.

    Args:
        folder: of the result.
        overwrite: whether an earlier result may be replaced. A folder that holds anything else never is.

    Returns:
        The folder as an absolute path, links followed.

    Raises:
        InputError: if the folder exists and may not be replaced, or none can be made there.
    """
    path = Path(folder).resolve()
    parent = next(p for p in path.parents if p.exists())
    if not os.access(parent, os.W_OK):
        raise InputError(f"{folder}: expected a place to write to, got one without permission; choose another folder.")
    if not path.exists():
        return path
    if not path.is_dir():
        raise InputError(f"{folder}: expected a folder for the result, got a file; choose another name.")
    if path == Path.cwd() or os.path.ismount(path):
        raise InputError(
            f"{folder}: expected a folder that can be replaced, got the current or a mounted one; name a new one."
        )
    foreign = _foreign_files(path)
    if foreign:
        raise InputError(
            f"{folder}: expected a new folder or an earlier result, got one with other files ({foreign[0]}); move "
            "them, or choose another folder."
        )
    if any(path.iterdir()) and not overwrite:
        raise InputError(f"{folder}: expected a new folder, got one with a result; use --overwrite to replace it.")
    return path


def _foreign_files(folder: Path) -> list[str]:
    """Files, relative to the folder, that are not of a result."""
    ours = {name.format(visit=visit) for name in ResultFile for visit in VISITS}
    files = (str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if not path.is_dir())
    return [name for name in files if name not in ours]


def write_result(folder: str | Path, result: ChangeResult, *, overwrite: bool = False) -> Path:
    """Write all files of `ResultFile` into a folder.

    The work is done in a temporary folder beside it, which is renamed at the end: a run that fails leaves nothing
    behind, and an earlier result stays until the new one is complete.

    Raises:
        InputError: as `check_output`.
    """
    target = check_output(folder, overwrite=overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        _write_files(work, result)
        # mkdtemp is for the owner alone; a result is as readable as any new folder
        work.chmod(0o777 & ~_umask())
        _replace(target, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def _replace(target: Path, work: Path) -> None:
    """Put `work` in the place of `target`, which comes back if that fails."""
    if not target.exists():
        work.rename(target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    target.rename(old / "result")
    try:
        work.rename(target)
    except OSError:
        (old / "result").rename(target)
        old.rmdir()
        raise
    shutil.rmtree(old, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _write_files(work: Path, result: ChangeResult) -> None:
    def place(name: str, **fields: str) -> Path:
        path = work / name.format(**fields)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    affine = result.change.affine.numpy()

    def volume(path: Path, image: Any, dtype: type) -> None:
        write_nifti(path, np.asarray(image.as_tensor()[0]).astype(dtype), affine, frame="aligned")

    for visit in VISITS:
        volume(place(ResultFile.MID_SCAN, visit=visit), getattr(result, visit), np.float32)
        volume(place(ResultFile.MID_LESION, visit=visit), getattr(result, f"{visit}_lesion"), np.uint8)
        native = result.native_change[visit]
        path = place(ResultFile.NATIVE_CHANGE, visit=visit)
        write_nifti(path, np.asarray(native.as_tensor()[0]), native.affine.numpy(), frame="scanner")
        write_transform(place(ResultFile.TRANSFORM, visit=visit), result.space.mid_to(visit))
    volume(place(ResultFile.MID_CHANGE), result.change, np.uint8)
    volume(place(ResultFile.MID_ASSESSED), result.assessed, np.uint8)
    volume(place(ResultFile.GAIN_PROBABILITY), result.gain_probability, np.float32)
    volume(place(ResultFile.LOSS_PROBABILITY), result.loss_probability, np.float32)
    write_seg_nrrd(place(ResultFile.SEGMENTATION), np.asarray(result.change.as_tensor()[0]), affine)
    write_table(place(ResultFile.TABLE), result.lesions, result.interval_days)
    place(ResultFile.PROVENANCE).write_text(json.dumps(result.provenance, indent=2) + "\n", encoding="utf-8")
