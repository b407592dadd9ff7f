# SPDX-License-Identifier: Apache-2.0
"""Looks for everything that is wrong with the data of a datalist, and says all of it at once."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from monai_microchange.data.datalist import LabelledPair
from monai_microchange.data.faults import Fault, FaultKind, Severity
from monai_microchange.data.folds import patients_in_two_folds
from monai_microchange.data.label_check import check_label, check_masks
from monai_microchange.data.scan_check import CheckedVisit, check_visit, check_visits_together
from monai_microchange.enums import VISITS

__all__ = ["check_datalist"]


def check_datalist(
    cases: Sequence[LabelledPair], *, same_grid: bool = False, progress: Callable[[float], None] | None = None
) -> list[Fault]:
    """Read all scans, labels and masks of pairs and list every fault.

    Each file is read, so this takes about as long as loading the data once. At most two pairs are in memory at a time.

    Args:
        cases: the pairs.
        same_grid: the visits of a pair are meant to lie on one grid already.
        progress: told the share done, 0 to 1, after each pair.

    Returns:
        Faults with the names of the pairs that each touches: by pair, then those between patients. Messages hold the
        paths of `cases` and figures, and nothing that DICOM headers say of a patient.

    Example:
        >>> for fault in check_datalist([LabelledPair("one", "a.nii.gz", "b.nii.gz")]):
        ...     print(fault.severity, fault)
        error a.nii.gz: expected an image file or a DICOM folder, got none; check the path.
        error b.nii.gz: expected an image file or a DICOM folder, got none; check the path.
    """
    reader, found = _Reader(), []
    for number, case in enumerate(cases, start=1):
        found += [replace(fault, cases=(case.name,)) for fault in _check_case(case, reader, same_grid)]
        if progress is not None:
            progress(number / len(cases))
    return [*_merged(found), *_shared_scans(cases, reader.marks), *_leaks(cases)]


class _Reader:
    """Reads visits; keeps those of the last pair, and of all of them the marks by which scans are told apart."""

    def __init__(self) -> None:
        self.held: dict[str, tuple[CheckedVisit | None, list[Fault]]] = {}
        self.marks: dict[str, tuple[str, str | None]] = {}

    def read(self, case: LabelledPair) -> dict[str, tuple[CheckedVisit | None, list[Fault]]]:
        before, self.held = self.held, {}
        read = {}
        for name in VISITS:
            source = getattr(case, name)
            key = repr(source)
            if key not in self.held:
                self.held[key] = before[key] if key in before else check_visit(source, name)
            read[name] = self.held[key]
            visit = read[name][0]
            if visit is not None:
                self.marks[_path(source)] = (visit.voxel_hash, visit.visit.patient_id)
        return read


def _check_case(case: LabelledPair, reader: _Reader, same_grid: bool) -> Iterator[Fault]:
    read = reader.read(case)
    visits = {name: one[0].visit if one[0] else None for name, one in read.items()}
    yield from (fault for _, faults in read.values() for fault in faults)
    before, after = read["baseline"][0], read["followup"][0]
    if before is not None and after is not None:
        yield from check_visits_together(before, after, (case.baseline, case.followup), same_grid=same_grid)
    yield from check_label(case, visits["baseline"], visits["followup"])
    yield from check_masks(case, visits["baseline"], visits["followup"])
    if case.interval_days is not None and case.interval_days <= 0:
        severity = Severity.ERROR if case.interval_days < 0 else Severity.WARNING
        message = f"expected a date after the baseline's, got {case.interval_days} days after it; check both dates."
        yield Fault(FaultKind.DATE_ORDER, _path(case.followup), message, severity)


def _merged(faults: Iterable[Fault]) -> list[Fault]:
    """Each fault once, with all the pairs that it touches: a scan may belong to two pairs."""
    cases: dict[Fault, list[str]] = defaultdict(list)
    for fault in faults:
        cases[replace(fault, cases=())] += fault.cases
    return [replace(fault, cases=tuple(dict.fromkeys(names))) for fault, names in cases.items()]


def _shared_scans(cases: Sequence[LabelledPair], marks: Mapping[str, tuple[str, str | None]]) -> Iterator[Fault]:
    """Scans that are there twice, and patients that are there under two names."""
    used: dict[str, list[LabelledPair]] = defaultdict(list)
    for case in cases:
        for visit in VISITS:
            used[_path(getattr(case, visit))].append(case)
    same_voxels: dict[str, list[str]] = defaultdict(list)
    same_person: dict[str, list[str]] = defaultdict(list)
    for path, (voxel_hash, person) in marks.items():
        same_voxels[voxel_hash].append(path)
        if person:
            same_person[person].append(path)
    reported = set()
    for paths in same_voxels.values():
        if len(paths) > 1:
            patients = {case.patient for path in paths for case in used[path]}
            reported.add(frozenset(patients))
            what = "two patients" if len(patients) > 1 else "two visits"
            message = f"expected a scan of its own, got the same voxels as {paths[0]} ({what}); replace one of them."
            yield _between(FaultKind.SAME_SCAN, paths, used, message)
    for path, by in used.items():
        owners = list(dict.fromkeys(case.patient for case in by))
        if len(owners) > 1 or any(_path(case.baseline) == _path(case.followup) for case in by):
            what = "of " + " and ".join(owners) if len(owners) > 1 else "at both visits"
            message = f"expected a scan of its own, got one that is listed twice, {what}; correct the list."
            yield _between(FaultKind.SAME_SCAN, [path], used, message)
    for paths in same_person.values():
        patients = {case.patient for path in paths for case in used[path]}
        if len(patients) > 1 and frozenset(patients) not in reported:
            message = f"expected another patient than {paths[0]}, got the same PatientID (DICOM); give both one name."
            yield _between(FaultKind.OTHER_PATIENT, paths, used, message)


def _between(kind: FaultKind, paths: list[str], used: Mapping[str, list[LabelledPair]], message: str) -> Fault:
    names = dict.fromkeys(case.name for path in paths for case in used[path])
    return Fault(kind, paths[-1], message, cases=tuple(names))


def _leaks(cases: Sequence[LabelledPair]) -> Iterator[Fault]:
    for patient, folds in patients_in_two_folds(cases).items():
        message = f"expected a patient in one fold, got {folds}; choose one."
        names = tuple(case.name for case in cases if case.patient == patient)
        yield Fault(FaultKind.FOLD_LEAK, patient, message, cases=names)


def _path(source: Any) -> str:
    """Path of a visit's reference."""
    return str(next(iter(source.values()))) if isinstance(source, Mapping) else str(source)
