# SPDX-License-Identifier: Apache-2.0
"""Finds the visits of each patient in a BIDS folder."""

import csv
import datetime
import re
from dataclasses import replace
from pathlib import Path

from monai_microchange.data.faults import Fault, FaultKind, Severity
from monai_microchange.data.found import FoundMask, FoundPatient, FoundVisit, by_number, volume_stem
from monai_microchange.data.volume import has_volume_suffix

__all__ = ["find_bids_patients", "is_bids"]

MASK_NAMES = {
    "label": re.compile(r"_(label|desc)-change[a-z0-9]*_.*(mask|dseg)$", re.IGNORECASE),
    "ignore": re.compile(r"_(label|desc)-ignore_.*mask$", re.IGNORECASE),
    "brain_mask": re.compile(r"_(label|desc)-brain_mask$", re.IGNORECASE),
    "lesion": re.compile(r"_(label|desc)-lesions?_mask$", re.IGNORECASE),
}

WORDS = {"baseline": 0, "bl": 0, "pre": 0, "followup": 1, "fu": 1, "post": 1}
"""Session names without a number whose order is known."""

MOST_ORDINAL = 999
"""Larger numbers in session names (dates, scan numbers) do not say which visit it was."""


def is_bids(folder: Path) -> bool:
    """Whether a folder has subjects, as BIDS names them."""
    return any(path.name.startswith("sub-") for path in folder.iterdir() if path.is_dir())


def find_bids_patients(folder: Path, suffix: str = "FLAIR") -> list[FoundPatient]:
    """Find scans `sub-*/ses-*/anat/*_SUFFIX.nii[.gz]` and masks there and under `derivatives/*`.

    Sessions come in the order of `acq_time` in `sub-*_sessions.tsv` where all of them have one, else of their names.
    Masks are known by name: `*_label-change_mask` (or `desc-change`, or `_dseg`), `*_label-ignore_mask`,
    `*_desc-brain_mask` and `*_label-lesion_mask`, the last two without `space-`: in the space of their visit's scan.

    Args:
        folder: of the data set.
        suffix: how the scans' names end, after an underscore; `acq-3D_FLAIR` chooses among several.
    """
    subjects = sorted((path for path in folder.glob("sub-*") if path.is_dir()), key=lambda path: by_number(path.name))
    seen: dict[str, Path] = {}
    found = []
    for subject in subjects:
        patient = _find_patient(folder, subject, suffix)
        twin = seen.setdefault(_plain(subject.name), subject)
        if twin != subject:
            message = f"expected each subject once, got {twin.name} and {subject.name}; rename or merge them."
            fault = Fault(FaultKind.DUPLICATE, subject, message)
            patient = replace(patient, faults=(*patient.faults, (None, fault)))
        found.append(patient)
    return found


def _plain(name: str) -> str:
    """Name of a subject or session without its key and without leading zeros.

    >>> _plain("sub-007") == _plain("sub-7")
    True
    """
    return "".join(str(part) for part in by_number(name.partition("-")[2])[0])


def _find_patient(folder: Path, subject: Path, suffix: str) -> FoundPatient:
    sessions = sorted((p for p in subject.glob("ses-*") if p.is_dir()), key=lambda path: by_number(path.name))
    faults: list[tuple[str | None, Fault]] = []
    dates, table_faults = _read_dates(subject)
    faults += [(None, fault) for fault in table_faults]
    visits: list[FoundVisit] = []
    seen: dict[str, Path] = {}
    for session in sessions or [subject]:
        name = session.name if sessions else ""
        scan, own = _scan_of(session, subject.name, name, suffix)
        faults += [(name, fault) for fault in own]
        twin = seen.setdefault(_plain(name), session)
        if twin != session:
            message = f"expected each session once, got {twin.name} and {name}; rename or merge them."
            faults.append((name, Fault(FaultKind.DUPLICATE, session, message)))
        if scan is not None:
            visits.append(FoundVisit(name, scan, dates.get(name)))
    visits, own = _in_order(visits, subject)
    faults += [(None, fault) for fault in own]
    return FoundPatient(subject.name, subject, tuple(visits), _find_masks(folder, subject), faults=tuple(faults))


def _scan_of(session: Path, subject: str, name: str, suffix: str) -> tuple[Path | None, list[Fault]]:
    """The scan of a session: the first of several, which is a fault."""
    images = sorted(path for path in (session / "anat").glob("*") if has_volume_suffix(path))
    scans = [path for path in images if volume_stem(path).endswith(f"_{suffix}")]
    if not scans:
        got = ", ".join(path.name for path in images[:3]) or "none"
        message = f"expected a scan anat/*_{suffix}.nii.gz, got {got}; add it, choose another --suffix, or go on."
        return None, [Fault(FaultKind.NO_SCAN, session, message, Severity.WARNING)]
    faults = []
    if len(scans) > 1:
        names = ", ".join(path.name for path in scans)
        message = f"expected one {suffix} scan of the session, got {names}; remove one, or choose by --suffix."
        faults.append(Fault(FaultKind.DUPLICATE, session, message))
    start = "_".join(part for part in (subject, name) if part) + "_"
    if not scans[0].name.startswith(start):
        message = f"expected a name that starts with {start}, like its folder, got {scans[0].name}; rename or move it."
        faults.append(Fault(FaultKind.MISNAMED, scans[0], message))
    return scans[0], faults


def _read_dates(subject: Path) -> tuple[dict[str, datetime.date], list[Fault]]:
    """Date of each session that `sub-*_sessions.tsv` names."""
    path = subject / f"{subject.name}_sessions.tsv"
    if not path.is_file():
        return {}, []
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except (OSError, UnicodeDecodeError) as error:
        return {}, [Fault(FaultKind.BAD_TABLE, path, f"expected a table, but it cannot be read ({error}); check it.")]
    dates, faults = {}, []
    for row in rows:
        name, given = row.get("session_id") or "", (row.get("acq_time") or "n/a").strip()
        if given.lower() in ("n/a", ""):
            continue
        try:
            date = datetime.datetime.fromisoformat(given).date()
        except ValueError:
            message = f"expected acq_time of {name} like 2020-01-31T12:00:00, got {given}; correct it."
            faults.append(Fault(FaultKind.BAD_TABLE, path, message))
            continue
        dates[name if name.startswith("ses-") else f"ses-{name}"] = date
    return dates, faults


def _in_order(visits: list[FoundVisit], subject: Path) -> tuple[list[FoundVisit], list[Fault]]:
    """Visits by date where all have one, else by name; a fault where the two disagree or neither says anything."""
    named = [visit for visit in visits if _ordinal(visit.name) is not None]
    all_named = len(named) == len(visits)
    if all_named:
        visits = sorted(visits, key=lambda visit: (_ordinal(visit.name), by_number(visit.name)))
    if len(visits) < 2:
        return visits, []
    if not all(visit.date for visit in visits):
        if all_named or all(re.search(r"[0-9]", visit.name) for visit in visits):
            return visits, []
        message = (
            f"expected dates in {subject.name}_sessions.tsv or numbered sessions, got "
            f"{', '.join(visit.name for visit in visits)}; taken in this order: check it."
        )
        return visits, [Fault(FaultKind.VISIT_ORDER, subject, message, Severity.WARNING)]
    dated = sorted(visits, key=lambda visit: visit.date or datetime.date.min)
    if dated == visits or not all_named:
        return dated, []
    message = (
        f"expected dates in the order of the sessions' names, got {', '.join(visit.name for visit in dated)} by date; "
        "correct acq_time or the names: gain and loss depend on it."
    )
    return dated, [Fault(FaultKind.DATE_ORDER, subject / f"{subject.name}_sessions.tsv", message)]


def _ordinal(name: str) -> int | None:
    """Which visit it was, by its name; None where the name does not say.

    >>> _ordinal("ses-M06"), _ordinal("ses-followup"), _ordinal("ses-20200131")
    (6, 1, None)
    """
    word = name.removeprefix("ses-").lower()
    number = re.search(r"[0-9]+", word)
    if number and int(number.group()) <= MOST_ORDINAL:
        return int(number.group())
    return WORDS.get(word)


def _find_masks(folder: Path, subject: Path) -> tuple[FoundMask, ...]:
    masks = []
    derived = (*folder.glob(f"derivatives/{subject.name}"), *folder.glob(f"derivatives/*/{subject.name}"))
    for where in (subject, *sorted(derived)):
        for path in sorted(where.rglob("*")):
            if not has_volume_suffix(path):
                continue
            stem = volume_stem(path)
            for kind, pattern in MASK_NAMES.items():
                native = "_space-" not in stem
                if pattern.search(stem) and (native or kind in ("label", "ignore")):
                    session = re.search(r"_(ses-[A-Za-z0-9]+)_", stem)
                    masks.append(FoundMask(kind, path, session.group(1) if session else None))
    return tuple(masks)
