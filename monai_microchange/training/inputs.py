# SPDX-License-Identifier: Apache-2.0
"""Which files a training reads: their hashes go into the weights' record."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_microchange.enums import VISITS
from monai_microchange.networks.weights import file_sha256

__all__ = ["hash_inputs", "merge_inputs"]

NO_PATHS = ("name", "patient")
"""Keys of a data dictionary whose texts are never paths."""


def hash_inputs(items: Sequence[Mapping[str, Any]], root: str | Path = ".", *, named: bool = True) -> dict[str, str]:
    """SHA-256 of every file that data dictionaries name, by its path below `root`.

    Values that name no file (numbers, words) are passed over; of a folder (a DICOM series) every file counts. Files
    outside `root` are called by the number of their item, "file 1" or, in a pair of visits, "pair 1": users share the
    record, and their folders may have the names of patients.

    Args:
        items: data dictionaries; values may be nested.
        root: folder that relative paths start from.
        named: False calls all files by number.

    Example:
        >>> hash_inputs([{"image": "there_is_no_such_scan.nii.gz", "thickness_mm": 3.0}])
        {}
    """
    # links keep their names: data sets are often kept as such
    root = Path(os.path.abspath(root))
    hashed = []
    for number, item in enumerate(items, start=1):
        called = f"pair {number}" if VISITS[0] in item else f"file {number}"
        for path in _files(item, root):
            name = path.relative_to(root).as_posix() if named and path.is_relative_to(root) else called
            hashed.append({name: file_sha256(path)})
    return merge_inputs(*hashed)


def merge_inputs(*inputs: Mapping[str, str]) -> dict[str, str]:
    """Hashes of several lists of files in one; of two different files of one name the second gets a number.

    >>> merge_inputs({"a.nii": "12"}, {"a.nii": "12", "b.nii": "34"}, {"a.nii": "56"})
    {'a.nii': '12', 'b.nii': '34', 'a.nii (2)': '56'}
    """
    merged: dict[str, str] = {}
    for name, digest in (pair for one in inputs for pair in one.items()):
        free, count = name, 1
        while merged.get(free, digest) != digest:
            count += 1
            free = f"{name} ({count})"
        merged[free] = digest
    return merged


def _files(value: Any, root: Path) -> Iterator[Path]:
    if isinstance(value, Mapping):
        value = [one for key, one in value.items() if key not in NO_PATHS]
    if isinstance(value, list | tuple):
        for one in value:
            yield from _files(one, root)
    elif isinstance(value, str | Path) and str(value):
        path = Path(os.path.abspath(root / value))
        if path.is_file():
            yield path
        elif path.is_dir():
            yield from (file for file in sorted(path.rglob("*")) if file.is_file())
