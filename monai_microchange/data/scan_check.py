# SPDX-License-Identifier: Apache-2.0
"""Looks for everything that is wrong with the scans of a visit and of a pair."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from monai_microchange._frames import corners_mm, spacing_from_affine
from monai_microchange.data.errors import InputError
from monai_microchange.data.faults import Fault, FaultKind, Severity
from monai_microchange.data.pair import MAX_FIELD_OF_VIEW_RATIO, MAX_SPACING_MM, MAX_SPACING_RATIO, MIN_EXTENT_MM
from monai_microchange.data.visit import DEFAULT_MODALITY, Visit, read_visit
from monai_microchange.data.volume import _NIFTI_ERRORS, NIFTI_SUFFIXES

__all__ = ["CheckedVisit", "check_visit", "check_visits_together"]

MAX_CONFLICT_MM = 0.5
"""Most by which a corner of a scan may lie elsewhere by its sform than by its qform."""

MAX_SPACING_CONFLICT = 0.05
"""Largest relative difference of the voxel sizes that a header states in two places."""

MAX_PROTOCOL_RATIO = 2.0
"""Largest ratio of the two visits' echo or inversion times at which they still show the same contrast."""


@dataclass(frozen=True, eq=False)
class CheckedVisit:
    """A visit as read, and what tells it from others.

    Args:
        visit: as `read_visit` gives it.
        voxel_hash: of the reference's voxels, whatever file holds them.
    """

    visit: Visit
    voxel_hash: str


def check_visit(source: Any, name: str = "baseline") -> tuple[CheckedVisit | None, list[Fault]]:
    """Read a visit and list what is wrong with each of its files.

    Args:
        source: what `read_visit` takes.
        name: of the visit.

    Returns:
        The visit, None where it cannot be read; and faults without their cases.
    """
    paths = list(map(Path, source.values())) if isinstance(source, Mapping) else [Path(source)]
    faults = [fault for path in paths for fault in (*_check_presence(path), *_check_header(path))]
    if any(fault.kind is FaultKind.MISSING_FILE for fault in faults):
        return None, faults
    try:
        visit = read_visit(source, name=name, modality=DEFAULT_MODALITY, force=True)
    except InputError as error:
        at = next((path for path in paths if str(path) in str(error)), paths[0])
        return None, [*faults, Fault(FaultKind.UNUSABLE_SCAN, at, str(error).split(f"{at}: ", 1)[-1])]
    faults += [Fault(FaultKind.HEADER_CONFLICT, paths[0], text, Severity.WARNING) for text in visit.warnings]
    faults += _check_size(visit, paths)
    voxels = np.ascontiguousarray(visit.reference.numpy())
    digest = hashlib.sha256(repr(visit.shape).encode() + voxels.tobytes()).hexdigest()
    return CheckedVisit(visit, digest), faults


def check_visits_together(
    before: CheckedVisit, after: CheckedVisit, paths: tuple[Any, Any], *, same_grid: bool = False
) -> list[Fault]:
    """What makes two visits incomparable; faults stand at the follow-up.

    Args:
        before: baseline.
        after: follow-up.
        paths: of the two, for the messages.
        same_grid: whether both are meant to lie on one grid already.
    """
    first, second = before.visit, after.visit
    checks: list[Callable[[], Iterator[tuple[FaultKind, str, Severity]]]] = [
        lambda: _other_modalities(first, second),
        lambda: _other_sizes(first, second),
        lambda: _other_contrast(first.protocol, second.protocol),
        lambda: _other_person_or_date(first, second),
        lambda: _other_grid(first, second) if same_grid else iter(()),
    ]
    where = next(iter(paths[1].values())) if isinstance(paths[1], Mapping) else paths[1]
    return [Fault(kind, where, text, severity) for check in checks for kind, text, severity in check()]


def _check_presence(path: Path) -> Iterator[Fault]:
    if path.exists():
        return
    reason = "a link to a file that is not here; fetch it" if path.is_symlink() else "none; check the path"
    yield Fault(FaultKind.MISSING_FILE, path, f"expected an image file or a DICOM folder, got {reason}.")


def _check_header(path: Path) -> Iterator[Fault]:
    """Conflicts inside a NIfTI header, which other programs resolve in another way than this one."""
    if not path.is_file() or not path.name.lower().endswith(NIFTI_SUFFIXES):
        return
    header = _raw_header(path)
    if header is None:
        return  # unreadable: reading the voxels reports it
    units = header.get_xyzt_units()[0]
    if units in ("meter", "micron"):
        yield Fault(FaultKind.SPACING, path, f"expected voxel sizes in mm, got a header in {units}s; convert it.")
    codes = int(header["sform_code"]), int(header["qform_code"])
    if min(codes) > 0:
        shape = tuple(header.get_data_shape()[:3])
        sform, qform = corners_mm(header.get_sform(), shape), corners_mm(_qform(header), shape)
        apart = float(np.linalg.norm(sform - qform, axis=1).max())
        if not apart <= MAX_CONFLICT_MM:
            # of two codes each may rightly mean another space
            severity = Severity.ERROR if codes[0] == codes[1] else Severity.WARNING
            message = f"expected sform and qform to agree, got corners {apart:.1f} mm apart; correct the wrong one."
            yield Fault(FaultKind.HEADER_CONFLICT, path, message, severity)
            return
    spacing, stated = spacing_from_affine(header.get_best_affine()), np.abs(header["pixdim"][1:4].astype(float))
    known = codes[0] > 0 and np.isfinite(spacing).all() and (stated > 0).all()
    if known and not np.allclose(spacing, stated, rtol=MAX_SPACING_CONFLICT):
        message = f"expected one voxel size, got {_mm(stated)} in pixdim and {_mm(spacing)} in sform; correct one."
        yield Fault(FaultKind.SPACING, path, message)


def _raw_header(path: Path) -> Any:
    """The header as it was written: `load` repairs its copy. None if there is none."""
    try:
        with nib.imageglobals.LoggingOutputSuppressor():
            image: Any = nib.load(path)
        with image.file_map["image"].get_prepare_fileobj("rb") as file:
            return type(image.header).from_fileobj(file, check=False)
    except _NIFTI_ERRORS:
        return None


def _qform(header: Any) -> np.ndarray:
    try:
        return header.get_qform()
    except ValueError:  # a quaternion that is none
        return np.full((4, 4), np.nan)


def _check_size(visit: Visit, paths: list[Path]) -> Iterator[Fault]:
    for path, image in zip(paths, visit.images.values(), strict=True):
        spacing = spacing_from_affine(np.asarray(image.affine))
        extent = spacing * image.shape[-3:]
        if spacing.max() > MAX_SPACING_MM:
            message = f"expected voxels up to {MAX_SPACING_MM:g} mm, got {_mm(spacing)}; correct or replace it."
            yield Fault(FaultKind.SPACING, path, message)
        if extent.min() < MIN_EXTENT_MM:
            message = f"expected an extent of {MIN_EXTENT_MM:g} mm or more, got {_mm(extent)}; correct or replace it."
            yield Fault(FaultKind.EXTENT, path, message)


def _other_modalities(first: Visit, second: Visit) -> Iterator[tuple[FaultKind, str, Severity]]:
    if list(first.images) != list(second.images):
        got = f"{', '.join(first.images)} and {', '.join(second.images)}"
        yield FaultKind.OTHER_CONTRAST, f"expected the modalities of the baseline, got {got}.", Severity.ERROR


def _other_sizes(first: Visit, second: Visit) -> Iterator[tuple[FaultKind, str, Severity]]:
    spacings = [spacing_from_affine(visit.affine) for visit in (first, second)]
    extents = [spacing * visit.shape for spacing, visit in zip(spacings, (first, second), strict=True)]
    edges, volumes = [float(one.max()) for one in spacings], [float(np.prod(one)) for one in extents]
    if max(edges) / min(edges) > MAX_SPACING_RATIO:
        text = (
            f"expected voxels within a factor of {MAX_SPACING_RATIO:g} of the baseline's {_mm(spacings[0])}, got "
            f"{_mm(spacings[1])}; choose scans that are more alike."
        )
        yield FaultKind.SPACING, text, Severity.ERROR
    if max(volumes) / min(volumes) > MAX_FIELD_OF_VIEW_RATIO:
        text = (
            f"expected a field of view within a factor of {MAX_FIELD_OF_VIEW_RATIO:g} of the baseline's "
            f"{_mm(extents[0])}, got {_mm(extents[1])}; choose scans that are more alike."
        )
        yield FaultKind.EXTENT, text, Severity.ERROR


def _other_contrast(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[tuple[FaultKind, str, Severity]]:
    for key in ("echo_time_ms", "inversion_time_ms"):
        times = [float(one.get(key) or 0) for one in (first, second)]
        if min(times) > 0 and max(times) / min(times) > MAX_PROTOCOL_RATIO:
            name = key.removesuffix("_ms").replace("_", " ")
            text = (
                f"expected the {name} of the baseline, {times[0]:g} ms, got {times[1]:g} ms; is it the same contrast?"
            )
            yield FaultKind.OTHER_CONTRAST, text, Severity.WARNING
    kinds = first.get("modality"), second.get("modality")
    if None not in kinds and kinds[0] != kinds[1]:
        text = f"expected {kinds[0]} as at the baseline, got {kinds[1]} (DICOM); check the paths."
        yield FaultKind.OTHER_CONTRAST, text, Severity.ERROR


def _other_person_or_date(first: Visit, second: Visit) -> Iterator[tuple[FaultKind, str, Severity]]:
    if first.patient_id and second.patient_id and first.patient_id != second.patient_id:
        text = "expected the patient of the baseline, got another PatientID; check the paths."
        yield FaultKind.OTHER_PATIENT, text, Severity.ERROR
    if first.date and second.date and second.date < first.date:
        days = (first.date - second.date).days
        text = f"expected a date after the baseline's, got one {days} days before (DICOM); swap the two."
        yield FaultKind.DATE_ORDER, text, Severity.ERROR


def _other_grid(first: Visit, second: Visit) -> Iterator[tuple[FaultKind, str, Severity]]:
    if first.shape != second.shape or not np.allclose(first.affine, second.affine, atol=1e-3):
        text = f"expected the grid of the baseline, {first.shape}, got another, {second.shape}; align them first."
        yield FaultKind.OTHER_GRID, text, Severity.ERROR


def _mm(sizes: np.ndarray) -> str:
    return " x ".join(f"{size:.3g}" for size in sizes) + " mm"
