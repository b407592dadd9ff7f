# SPDX-License-Identifier: Apache-2.0
"""Writes a datalist: JSON by sections, as MONAI and the Decathlon have it."""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from monai_microchange.data.datalist import PATH_KEYS, SECTIONS, LabelledPair
from monai_microchange.data.errors import InputError

__all__ = ["check_new_file", "write_datalist"]


def write_datalist(
    path: str | Path,
    sections: Mapping[str, Sequence[LabelledPair]],
    *,
    description: str = "",
    overwrite: bool = False,
    **more: Any,
) -> Path:
    """Write pairs by section, all of it or nothing, so that `read_datalist` gives them back.

    Paths become relative to the file's folder; what is as `LabelledPair` has it by default is left out.

    Args:
        path: JSON file; its folder is made.
        sections: pairs under any of `SECTIONS`.
        description: of the data, in a sentence.
        overwrite: replace an earlier file.
        more: further entries at the top of the file, such as how it came about.

    Returns:
        The path.

    Raises:
        ValueError: if a section has another name.
        InputError: as `check_new_file`.

    Example:
        >>> pair = LabelledPair("one", "scans/a.nii.gz", "scans/b.nii.gz", patient="p1", fold=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = write_datalist(f"{folder}/list.json", {"unlabelled": [pair]})
        ...     [(key, json.loads(file.read_text())["unlabelled"][0][key]) for key in ("name", "fold")]
        [('name', 'one'), ('fold', 0)]
    """
    path, strange = Path(path), sorted(set(sections) - set(SECTIONS))
    if strange:
        raise ValueError(f"expected sections among {', '.join(SECTIONS)}, got {', '.join(strange)}")
    check_new_file(path, overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.parent.resolve()  # where a relative path starts if the folder is a link
    listed = {name: [_entry(case, folder) for case in cases] for name, cases in sections.items()}
    content = json.dumps({"description": description, **more, **listed}, indent=1) + "\n"
    _write_whole(path, content)
    return path


def check_new_file(path: str | Path, *, overwrite: bool = False) -> None:
    """Make sure, before the work starts, that a file may be written there.

    Raises:
        InputError: if it is there already and may not be replaced, or is a folder, or its folder is not writable.
    """
    path = Path(path).absolute()
    if path.is_dir():
        raise InputError(f"{path}: expected a file name, got a folder; name a file in it.")
    if path.exists() and not overwrite:
        raise InputError(f"{path}: expected a new file, got one that exists; use --overwrite to replace it.")
    parent = next(p for p in path.parents if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(f"{path}: expected a folder to write to, got none at {parent}; choose another place.")


def _entry(case: LabelledPair, folder: Path) -> dict[str, Any]:
    entry = {}
    for one in fields(LabelledPair):
        value = getattr(case, one.name)
        if isinstance(value, np.ndarray):
            value = None if np.array_equal(value, np.eye(4)) else value.tolist()
        if value is not None and not (one.name == "signed" and case.label is None):
            entry[one.name] = _relative(value, folder) if one.name in PATH_KEYS else value
    return entry


def _relative(value: Any, folder: Path) -> Any:
    if isinstance(value, Mapping):
        return {key: _relative(one, folder) for key, one in value.items()}
    if not isinstance(value, str | Path):
        return value
    try:
        return Path(os.path.relpath(value, folder)).as_posix()
    except ValueError:  # another drive
        return Path(value).absolute().as_posix()


def _write_whole(path: Path, content: str) -> None:
    """Write under a temporary name, then rename."""
    handle, work = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(work, 0o666 & ~umask)
        os.replace(work, path)
    finally:
        Path(work).unlink(missing_ok=True)
