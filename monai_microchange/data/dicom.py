# SPDX-License-Identifier: Apache-2.0
"""Reads a DICOM series, single- or multi-frame, as one volume, or refuses it by name."""

import datetime
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from monai.data import MetaTensor

from monai_microchange.data._dicom_header import FileHeader, read_header
from monai_microchange.data._dicom_stack import stack_frames
from monai_microchange.data.errors import InputError
from monai_microchange.data.volume import as_scan, check_voxels

__all__ = ["SeriesInfo", "list_series", "read_series"]


@dataclass(frozen=True)
class SeriesInfo:
    """One image series of a folder.

    Args:
        series_uid: SeriesInstanceUID.
        number: SeriesNumber, None where the files have none.
        description: SeriesDescription, "" where the files have none.
        modality: DICOM modality, as "MR".
        n_files: number of files.
        n_images: number of slices in these files.
        date: acquisition, else series, else study date; None where unknown.
    """

    series_uid: str
    number: int | None
    description: str
    modality: str
    n_files: int
    n_images: int
    date: datetime.date | None

    def __str__(self) -> str:
        images = f"{self.n_images} image" + ("" if self.n_images == 1 else "s")
        number = "without number" if self.number is None else self.number
        return f'series {number} "{self.description}" ({self.modality}, {images}, {self.series_uid})'


def list_series(folder: str | Path) -> list[SeriesInfo]:
    """List the image series below a folder, ordered by series number; other files are left out.

    Raises:
        InputError: no such folder, or a damaged DICOM file in it.

    Example:
        >>> import tempfile
        >>> list_series(tempfile.mkdtemp())
        []
    """
    return [describe_series(headers) for headers in scan_series(Path(folder))]


def read_series(source: str | Path, *, series: str | int | None = None) -> MetaTensor:
    """Read one series of a folder (searched with its subfolders), or one multi-frame file.

    Slices are ordered by their position along the slice normal, never by file name; rescale slope and intercept are
    applied. Voxels come from GDCM (through SimpleITK), so compressed files are read too.

    Args:
        source: a folder, or a multi-frame file.
        series: which series, where there are several: its UID, its number or a part of its description that no other
            series has (upper and lower case alike).

    Returns:
        Image (1, I, J, K), float32, affine to RAS mm: I along the columns, J along the rows, K along the slice normal.

    Raises:
        InputError: no image series; several series and none named; a single slice; mixed sizes, pixel spacings or
            orientations; gantry tilt; duplicate or missing slices; damaged files; NaN or constant voxels.

    Example:
        >>> import tempfile
        >>> read_series(tempfile.mkdtemp())  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        monai_microchange.data.errors.InputError: ...: expected a DICOM series, found no DICOM image ...
    """
    return stack_series(select_series(source, series=series))


def scan_series(source: Path) -> list[list[FileHeader]]:
    """Headers of all image files of a folder or of one file, one list a series, ordered by series number."""
    if not source.exists():
        raise InputError(f"{source}: expected a DICOM folder, but there is none; check the path.")
    paths = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    by_uid: dict[str, list[FileHeader]] = defaultdict(list)
    for header in filter(None, map(read_header, paths)):
        by_uid[header.series_uid].append(header)
    last = float("inf")
    return sorted(
        by_uid.values(), key=lambda group: (last if group[0].number is None else group[0].number, group[0].series_uid)
    )


def describe_series(headers: Sequence[FileHeader]) -> SeriesInfo:
    """Sum up the files of one series."""
    first = headers[0]
    return SeriesInfo(
        series_uid=first.series_uid,
        number=first.number,
        description=first.description,
        modality=first.modality,
        n_files=len(headers),
        n_images=sum(len(header.frames) for header in headers),
        date=min((header.date for header in headers if header.date), default=None),
    )


def select_series(source: str | Path, *, series: str | int | None = None) -> list[FileHeader]:
    """Headers of the one series that `series` names, or of the only one there is."""
    source = Path(source)
    groups = scan_series(source)
    if not groups:
        raise InputError(
            f"{source}: expected a DICOM series, found no DICOM image that says where it lies in the patient."
        )
    matches = groups if series is None else _matches(groups, str(series))
    if len(matches) == 1:
        return matches[0]
    what = "one series" if series is None else f'one series that "{series}" names'
    listing = "; ".join(str(describe_series(group)) for group in groups)
    raise InputError(
        f"{source}: expected {what}, found {len(matches)}; name one by UID, number or part of its description with "
        f"--baseline-series/--followup-series (in Python: series=...). The folder holds: {listing}."
    )


def _matches(groups: list[list[FileHeader]], wanted: str) -> list[list[FileHeader]]:
    """Series that the text names: by UID or number, else by part of the description."""
    exact = [group for group in groups if wanted in (group[0].series_uid, str(group[0].number))]
    return exact or [group for group in groups if wanted.casefold() in group[0].description.casefold()]


def stack_series(headers: Sequence[FileHeader]) -> MetaTensor:
    """Check the slices of one series and read them into one image (1, I, J, K)."""
    place = headers[0].path if len(headers) == 1 else headers[0].path.parent
    name = f"{place}: {describe_series(headers)}"
    array, affine = stack_frames([frame for header in headers for frame in header.frames], name)
    check_voxels(array, name)
    return as_scan(array, affine, place)
