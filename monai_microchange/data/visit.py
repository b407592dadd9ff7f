# SPDX-License-Identifier: Apache-2.0
"""Reads all images of one visit, with what the files say of patient, date and protocol."""

import datetime
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from monai.data import MetaTensor

from monai_microchange.data._dicom_header import read_header
from monai_microchange.data.dicom import describe_series, select_series, stack_series
from monai_microchange.data.errors import InputError
from monai_microchange.data.sidecar import read_sidecar
from monai_microchange.data.volume import VOLUME_SUFFIXES, has_volume_suffix, read_volume

__all__ = ["DEFAULT_MODALITY", "Visit", "read_visit"]

DEFAULT_MODALITY = "FLAIR"
"""Name of the modality where a bare path is given."""

_ORIENTATION_WARNING = "{name}: the file does not state its orientation; left and right may be exchanged."


@dataclass(frozen=True)
class Visit:
    """The images of one visit, each on its own grid.

    Args:
        images: modality name to image (1, I, J, K), float32, affine to RAS mm. The first is the reference.
        source: file or folder of the reference.
        sha256: hash of the reference: of its file, or of the contents of its DICOM files whatever their names.
        patient_id: PatientID of the DICOM files, None without; it stays out of the `repr` and of every message.
        date: day of the scan, None where unknown (all formats but DICOM).
        protocol: acquisition numbers of the reference, from DICOM or from the JSON file that BIDS has beside a scan,
            among `echo_time_ms`, `repetition_time_ms`, `inversion_time_ms`, `field_strength_t`, `slice_thickness_mm`,
            `flip_angle_deg`, `acquisition_type` ("2D" or "3D"), `contrast_agent` ("given"), `manufacturer_model` and
            `modality` (the DICOM one, as "MR").
        modality_sha256: hash of each modality, the reference included.
        warnings: doubts about the input, in sentences.
    """

    images: dict[str, MetaTensor] = field(repr=False)
    source: Path
    sha256: str
    patient_id: str | None = field(default=None, repr=False)
    date: datetime.date | None = None
    protocol: dict[str, float | str] = field(default_factory=dict)
    modality_sha256: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def reference(self) -> MetaTensor:
        """Image (1, I, J, K) of the reference modality."""
        return next(iter(self.images.values()))

    @property
    def affine(self) -> np.ndarray:
        """Affine (4, 4) of the reference, voxel to RAS mm."""
        return np.asarray(self.reference.affine, dtype=np.float64)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (I, J, K) of the reference."""
        i, j, k = self.reference.shape[-3:]
        return int(i), int(j), int(k)


@dataclass(frozen=True)
class _Source:
    """One modality as read."""

    image: MetaTensor
    sha256: str
    patient_ids: frozenset[str] = field(default=frozenset(), repr=False)
    date: datetime.date | None = None
    protocol: dict[str, float | str] = field(default_factory=dict)


def read_visit(
    source: str | Path | Mapping[str, str | Path],
    *,
    series: str | int | Mapping[str, str | int] | None = None,
    name: str = "baseline",
    modality: str = DEFAULT_MODALITY,
    force: bool = False,
) -> Visit:
    """Read the scan or scans of one visit.

    Args:
        source: an image file, a multi-frame DICOM file, a folder with a DICOM series, or a dict of modality names to
            these, the reference first.
        series: which series of the folder, as in `read_series`; a dict names one for each modality, a bare value is
            for the reference.
        name: what messages call the visit.
        modality: name of the modality where `source` is a bare path.
        force: accept files of different patients, with a warning in the result.

    Raises:
        InputError: whatever `read_volume` and `read_series` refuse; no image; files of different patients.

    Example:
        >>> read_visit("a.nii.gz")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        monai_microchange.data.errors.InputError: baseline: a.nii.gz: expected an image file or a DICOM folder, ...
    """
    paths = {key: Path(path) for key, path in _by_modality(source, modality).items()}
    if not paths:
        raise InputError(f"{name}: expected at least one image, got none; name a file or folder.")
    reference = next(iter(paths))
    chosen = dict(series) if isinstance(series, Mapping) else {reference: series}
    try:
        sources = {key: _read_source(path, chosen.get(key)) for key, path in paths.items()}
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    first = sources[reference]
    patient_ids = sorted(frozenset().union(*(source.patient_ids for source in sources.values())))
    return Visit(
        images={key: source.image for key, source in sources.items()},
        source=paths[reference],
        sha256=first.sha256,
        patient_id=next(iter(sorted(first.patient_ids) or patient_ids), None),
        date=first.date or min((source.date for source in sources.values() if source.date), default=None),
        protocol=first.protocol,
        modality_sha256={key: source.sha256 for key, source in sources.items()},
        warnings=_doubts(sources, len(patient_ids), name, force),
    )


def _by_modality(source: str | Path | Mapping[str, str | Path], modality: str) -> Mapping[str, str | Path]:
    if isinstance(source, Mapping):
        return source
    if isinstance(source, str | Path):
        return {modality: source}
    raise TypeError(f"expected a path or a dict of modality names to paths, got {type(source).__name__}")


def _doubts(sources: Mapping[str, _Source], n_patients: int, name: str, force: bool) -> tuple[str, ...]:
    doubts = [
        _ORIENTATION_WARNING.format(name=f"{name} {key}")
        for key, source in sources.items()
        if not source.image.meta["orientation_stated"]
    ]
    if n_patients > 1:
        sentence = f"{name}: the DICOM files are of different patients (PatientID differs)"
        if not force:
            raise InputError(f"{sentence}; check the paths, or use --force if they are one patient.")
        doubts.append(f"{sentence}; used all the same (force).")
    return tuple(doubts)


def _read_source(path: Path, series: str | int | None) -> _Source:
    if not path.exists():
        raise InputError(f"{path}: expected an image file or a DICOM folder, but there is none; check the path.")
    if path.is_file() and has_volume_suffix(path):
        return _read_file_source(path)
    if path.is_file() and read_header(path) is None:
        raise InputError(
            f"{path}: expected a file that ends in {', '.join(VOLUME_SUFFIXES)}, a DICOM folder or a multi-frame DICOM "
            "file, got something else; convert it to one of these."
        )
    headers = select_series(path, series=series)
    first = headers[0]
    return _Source(
        image=stack_series(headers),
        sha256=_hash_of(sorted(_hash_of([header.path.read_bytes()]).encode() for header in headers)),
        patient_ids=frozenset(header.patient_id for header in headers if header.patient_id),
        date=describe_series(headers).date,
        protocol={"modality": first.modality, **first.protocol} if first.modality else dict(first.protocol),
    )


def _read_file_source(path: Path) -> _Source:
    image = read_volume(path)
    content = [path.read_bytes()]
    if path.suffix.lower() in (".mhd", ".nhdr"):  # a header alone: its voxels lie in other files
        content.append(image.numpy().tobytes())
    return _Source(image=image, sha256=_hash_of(content), protocol=read_sidecar(path))


def _hash_of(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
