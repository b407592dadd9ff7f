# SPDX-License-Identifier: Apache-2.0
"""Finds the visits of each patient in a BIDS folder."""

import csv
import datetime
import re
from collections import defaultdict
from collections.abc import Sequence
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

UNITS = ("d", "day", "w", "week", "m", "mo", "month", "y", "yr", "year")
WORDS = {**dict.fromkeys(("baseline", "bl", "pre"), 0), **dict.fromkeys(("followup", "fu", "post", *UNITS), 1)}
"""Order of what session names say beside a number, or without one; a time is one since the baseline."""

MOST_ORDINAL = 999
"""Larger numbers in session names (scan numbers) do not say which visit it was, unless they are dates."""


def is_bids(folder: Path) -> bool:
    """Whether a folder has subjects, as BIDS names them."""
    return any(path.name.startswith("sub-") for path in folder.iterdir() if path.is_dir())


def find_bids_patients(folder: Path, suffix: str = "FLAIR") -> list[FoundPatient]:
    """Find scans `sub-*/ses-*/anat/*_SUFFIX.nii[.gz]` and masks there and under `derivatives/*`.

    Sessions come in the order of `acq_time` in `sub-*_sessions.tsv` where all of them have one, else of their names: of
    words such as pre and post, then of numbers in names that are alike otherwise. An order that is a guess is an error.
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
    except (OSError, UnicodeDecodeError, csv.Error) as error:
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
    rank = _ranks([visit.name for visit in visits])
    visits = sorted(visits, key=lambda visit: (rank.get(visit.name, ()), by_number(visit.name)))
    if len(visits) < 2:
        return visits, []
    table, dates = subject / f"{subject.name}_sessions.tsv", {visit.date for visit in visits}
    if None in dates or (not rank and len(dates) < len(visits)):
        if rank:
            return visits, []
        names = ", ".join(visit.name for visit in visits)
        message = (
            f"expected names or dates that tell the order of the sessions, got {names}; give each a date of its own, "
            f"acq_time in {table.name}: gain and loss depend on it."
        )
        return visits, [Fault(FaultKind.VISIT_ORDER, subject, message)]
    dated = sorted(visits, key=lambda visit: visit.date or datetime.date.min)
    if dated == visits or not rank:
        return dated, []
    message = (
        f"expected dates in the order of the sessions' names, got {', '.join(visit.name for visit in dated)} by date; "
        "correct acq_time or the names: gain and loss depend on it."
    )
    return dated, [Fault(FaultKind.DATE_ORDER, table, message)]


def _ranks(names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """What orders sessions by their names; empty where that would be a guess.

    >>> _ranks(["ses-pre1", "ses-post1"]), _ranks(["ses-v2", "ses-v10"]), _ranks(["ses-6mo", "ses-1y"])
    ({'ses-pre1': (0, 1), 'ses-post1': (1, 1)}, {'ses-v2': (0, 2), 'ses-v10': (0, 10)}, {})
    """
    ranks: dict[str, tuple[int, ...]] = {}
    shapes: dict[int | None, set[str]] = defaultdict(set)
    for name in names:
        label = name.removeprefix("ses-").lower()
        shape, numbers = re.sub(r"[0-9]+", "#", label).removesuffix("#"), re.findall(r"[0-9]+", label)
        word = WORDS.get(shape.strip("#"))
        shapes[word].add(shape)
        ranks[name] = (word or 0, *map(int, numbers))
    alike = all(len(one) == 1 for one in shapes.values()) and (None not in shapes or len(shapes) == 1)
    small = all(number <= MOST_ORDINAL for rank in ranks.values() for number in rank)
    return ranks if alike and (small or all(map(_is_date, names))) else {}


def _is_date(name: str) -> bool:
    """Whether the digits of a session's name are YYYYMMDD."""
    try:
        return bool(datetime.date.fromisoformat(re.sub(r"[^0-9]", "", name)))
    except ValueError:
        return False


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
