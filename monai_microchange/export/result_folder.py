# SPDX-License-Identifier: Apache-2.0
"""Write a result as a folder: all of it, or nothing."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from monai_microchange.data import InputError
from monai_microchange.enums import VISITS, ResultFile
from monai_microchange.export.itk_transform import write_transform
from monai_microchange.export.nifti import write_nifti
from monai_microchange.export.slicer import write_seg_nrrd
from monai_microchange.export.table import write_table
from monai_microchange.export.warp_transform import write_inverse_warp, write_warp
from monai_microchange.result import ChangeResult

__all__ = ["check_output", "finished_folder", "is_result_file", "write_result"]


def is_result_file(name: str) -> bool:
    """Whether a path, relative to a result folder, is of a file that a result has.

    >>> is_result_file("mid/baseline.nii.gz"), is_result_file("thesis.txt")
    (True, False)
    """
    return name in {file.format(visit=visit) for file in ResultFile for visit in VISITS}


def check_output(
    folder: str | Path, *, overwrite: bool = False, is_ours: Callable[[str], bool] = is_result_file
) -> Path:
    """Make sure, before the work starts, that a result may be written there.

    Args:
        folder: of the result.
        overwrite: whether an earlier result may be replaced. A folder that holds anything else never is.
        is_ours: tells whether a file, by its path relative to the folder, is of a result.

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
    foreign = _foreign_files(path, is_ours)
    if foreign:
        raise InputError(
            f"{folder}: expected a new folder or an earlier result, got one with other files ({foreign[0]}); move "
            "them, or choose another folder."
        )
    if any(path.iterdir()) and not overwrite:
        raise InputError(f"{folder}: expected a new folder, got one with a result; use --overwrite to replace it.")
    return path


def _foreign_files(folder: Path, is_ours: Callable[[str], bool]) -> list[str]:
    """Files, relative to the folder, that are not of a result."""
    files = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if not path.is_dir())
    return [name for name in files if not is_ours(name)]


def write_result(folder: str | Path, result: ChangeResult, *, overwrite: bool = False) -> Path:
    """Write all files of `ResultFile` into a folder: all of them, or none.

    Raises:
        InputError: as `check_output`.
    """
    target = check_output(folder, overwrite=overwrite)
    with finished_folder(target) as work:
        _write_files(work, result)
    return target


@contextmanager
def finished_folder(target: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of `target` at the end, if nothing failed.

    It lies beside the target, so that renaming it is one step: a run that fails leaves nothing behind, and what was
    there stays until the new one is complete.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield work
        # mkdtemp is for the owner alone; a result is as readable as any new folder
        work.chmod(0o777 & ~_umask())
        _replace(target, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


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
        warp, inverse = result.space.warp(visit), result.space.inverse_warp(visit)
        if warp is not None and inverse is not None:
            write_warp(place(ResultFile.WARP, visit=visit), result.space.mid_to(visit), warp)
            write_inverse_warp(place(ResultFile.INVERSE_WARP, visit=visit), result.space.mid_to(visit), inverse)
    if result.space.baseline_warp is not None:
        write_nifti(place(ResultFile.JACOBIAN), result.space.jacobian(), affine, frame="aligned")
    volume(place(ResultFile.MID_CHANGE), result.change, np.uint8)
    volume(place(ResultFile.MID_ASSESSED), result.assessed, np.uint8)
    volume(place(ResultFile.MID_MISALIGNMENT), result.misalignment, np.float32)
    volume(place(ResultFile.GAIN_PROBABILITY), result.gain_probability, np.float32)
    volume(place(ResultFile.LOSS_PROBABILITY), result.loss_probability, np.float32)
    write_seg_nrrd(place(ResultFile.SEGMENTATION), np.asarray(result.change.as_tensor()[0]), affine)
    write_table(place(ResultFile.TABLE), result.lesions, result.interval_days)
    place(ResultFile.PROVENANCE).write_text(json.dumps(result.provenance, indent=2) + "\n", encoding="utf-8")
