# SPDX-License-Identifier: Apache-2.0
"""What a search through folders found of a patient, and the pairs that it makes."""

import datetime
import glob
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from monai_microchange.data.datalist import LabelledPair
from monai_microchange.data.errors import InputError
from monai_microchange.data.faults import Fault, FaultKind, Severity
from monai_microchange.data.label_place import read_place

__all__ = ["FoundMask", "FoundPatient", "FoundVisit", "by_number", "pairs_of", "volume_stem"]

PLACE_SUFFIXES = (".tfm", ".txt", ".json")


@dataclass(frozen=True)
class FoundVisit:
    """A scan, with the name of its visit and its date where that is known."""

    name: str
    scan: Path
    date: datetime.date | None = None


@dataclass(frozen=True)
class FoundMask:
    """A mask file: `kind` is label, ignore, brain_mask or lesion; `visit` is the one under which it was found."""

    kind: str
    path: Path
    visit: str | None = None


@dataclass(frozen=True)
class FoundPatient:
    """All that was found of one patient.

    Args:
        name: of the patient's folder.
        folder: that folder.
        visits: in order of time.
        masks: of any visit.
        places: transform file by stem of the baseline or of the label for which it gives `label_to_baseline`.
        faults: what is wrong, each with the visit that it touches, None for all of them.
    """

    name: str
    folder: Path
    visits: tuple[FoundVisit, ...]
    masks: tuple[FoundMask, ...] = ()
    places: Mapping[str, Path] = field(default_factory=dict)
    faults: tuple[tuple[str | None, Fault], ...] = ()


def by_number(name: str) -> tuple[list[Any], str]:
    """Sorting key under which numbers inside names count as numbers; of names that then are equal the name decides.

    >>> sorted(["ses-10", "ses-2"], key=by_number)
    ['ses-2', 'ses-10']
    """
    return [int(part) if part.isdecimal() else part.lower() for part in re.split(r"([0-9]+)", name)], name


def volume_stem(path: str | Path) -> str:
    """Name of an image file without its ending.

    >>> volume_stem("a/sub-01_FLAIR.nii.gz")
    'sub-01_FLAIR'
    """
    name = Path(path).name
    return name[:-7] if name.lower().endswith(".nii.gz") else Path(name).stem


@dataclass(frozen=True)
class _Step:
    """From one visit to another; whether it is the patient's only one, and none of another visit lies between."""

    before: FoundVisit
    after: FoundVisit
    only: bool
    consecutive: bool = True

    def owns(self, mask: FoundMask) -> bool:
        """Whether a label found under a visit, or under none, must be of this step."""
        return self.consecutive and (self.only or mask.visit == self.after.name)


def pairs_of(
    patient: FoundPatient, root: Path, *, first_to_last: bool = False, labels: str | None = None
) -> tuple[list[LabelledPair], list[Fault]]:
    """Pairs of consecutive visits of a patient, with their labels and masks, and what is wrong.

    Args:
        patient: what was found.
        root: folder of the data set, from which `labels` starts.
        first_to_last: also the first against the last visit, where there are more than two.
        labels: pattern of the label files in place of the ones found: a glob with any of {patient}, {baseline} and
            {followup}, the names of the patient's folder and of the visits.

    Raises:
        InputError: if the pattern has other names in braces.
    """
    seen = patient.visits
    steps = [_Step(before, after, len(seen) == 2) for before, after in pairwise(seen)]
    if first_to_last and len(seen) > 2:
        steps.append(_Step(seen[0], seen[-1], only=False, consecutive=False))
    cases, faults, touched = [], [], {}
    for step in steps:
        name = patient.name if len(steps) == 1 else f"{patient.name}_{step.before.name}_{step.after.name}"
        case, own = _pair_of(patient, step, name, *_labels_of(patient, root, step, labels))
        cases.append(case)
        faults += [replace(fault, cases=(name,)) for fault in own]
        touched[name] = (step.before.name, step.after.name)
    for visit, fault in (*patient.faults, *_masks_twice(patient)):
        names = tuple(name for name, both in touched.items() if visit is None or visit in both)
        faults.append(replace(fault, cases=names))
    return cases, faults + _left_over(patient, cases, labels)


def _pair_of(
    patient: FoundPatient, step: _Step, name: str, labels: list[Path], ignored: list[Path]
) -> tuple[LabelledPair, list[Fault]]:
    """One pair with its masks, its label and where that lies."""
    before, after = step.before, step.after
    masks = {(mask.kind, mask.visit): mask.path for mask in patient.masks}
    case = LabelledPair(
        name,
        before.scan,
        after.scan,
        patient=patient.name,
        brain_mask=masks.get(("brain_mask", before.name)),
        baseline_lesion=masks.get(("lesion", before.name)),
        followup_lesion=masks.get(("lesion", after.name)),
        interval_days=(after.date - before.date).days if before.date and after.date else None,
    )
    if len(labels) > 1:
        names = ", ".join(path.name for path in labels)
        message = f"expected one change label of {name}, got {names}; remove one, or choose by --labels."
        return case, [Fault(FaultKind.LABEL_CHOICE, labels[0].parent, message)]
    if not labels:
        return case, []
    case = replace(case, label=labels[0], ignore=ignored[0] if ignored else None)
    place = _place_of(patient, before, labels[0])
    faults = [*_frame_faults(labels[0], ignored, before, place), *_twice("ignore mask", ignored)]
    try:
        return replace(case, label_to_baseline=read_place(place, name)), faults
    except InputError as error:
        message = str(error).removeprefix(f"{name}: ").removeprefix(f"{place}: ")
        return case, [*faults, Fault(FaultKind.LABEL_FRAME, place or patient.folder, message)]


def _frame_faults(label: Path, ignored: list[Path], before: FoundVisit, place: Path | None) -> list[Fault]:
    """A label in another space, by its name, with nothing that says where; and ignore masks in other spaces than it."""
    faults, space = [], _space_of(label, before)
    if space and place is None:
        message = (
            f"expected {volume_stem(label)}_to_baseline.tfm, .txt or .json beside it, as its name says space-{space}, "
            "got none; add it, or take space- out of the name of a label in the baseline's space."
        )
        faults.append(Fault(FaultKind.LABEL_FRAME, label, message))
    for path in ignored:
        if _space_of(path, before) != space:
            message = f"expected an ignore mask in the space of {label.name}, got another space-; move or rename it."
            faults.append(Fault(FaultKind.LABEL_FRAME, path, message))
    return faults


def _space_of(path: Path, before: FoundVisit) -> str:
    """What a file's name says of its space; nothing where that is the baseline's."""
    found = re.search(r"_space-([a-z0-9+]+)", path.name.lower())
    session = before.name.removeprefix("ses-").lower()
    return "" if found is None or found[1] in ("orig", "baseline", session, f"ses{session}") else found[1]


def _masks_twice(patient: FoundPatient) -> Iterator[tuple[str, Fault]]:
    for visit in patient.visits:
        for kind in ("brain_mask", "lesion"):
            paths = [mask.path for mask in patient.masks if (mask.kind, mask.visit) == (kind, visit.name)]
            yield from ((visit.name, fault) for fault in _twice(f"{kind.removesuffix('_mask')} mask", paths))


def _twice(kind: str, paths: list[Path]) -> Iterator[Fault]:
    """Two masks of a kind and visit, as of two raters: which one counts would be chance."""
    if len(paths) > 1:
        others = ", ".join(map(str, paths[:-1]))
        yield Fault(FaultKind.DUPLICATE, paths[-1], f"expected one {kind} of a visit, got {others} too; remove one.")


def _labels_of(patient: FoundPatient, root: Path, step: _Step, labels: str | None) -> tuple[list[Path], list[Path]]:
    """Label files that may be of a step, and ignore masks."""
    own = [mask for mask in patient.masks if step.owns(mask)]
    ignored = [mask.path for mask in own if mask.kind == "ignore"]
    if labels is None:
        return [mask.path for mask in own if mask.kind == "label"], ignored
    return _matching(labels, root, patient.name, step), ignored


def _matching(pattern: str, root: Path, patient: str, step: _Step) -> list[Path]:
    names = {"patient": patient, "baseline": step.before.name, "followup": step.after.name}
    try:
        filled = pattern.format(**{key: glob.escape(value) for key, value in names.items()})
    except (KeyError, IndexError, ValueError) as error:
        raise InputError(
            f"--labels {pattern}: expected no names in braces but {{patient}}, {{baseline}} and {{followup}}, got "
            f"{error}; correct the pattern."
        ) from error
    return sorted(Path(path) for path in glob.glob(os.path.join(glob.escape(str(root)), filled), recursive=True))


def _place_of(patient: FoundPatient, before: FoundVisit, label: Path) -> Path | None:
    """File beside the label or the baseline that says how the label's space maps to the baseline's."""
    stem = volume_stem(label)
    for name in (f"{stem}_to_baseline", "label_to_baseline"):
        for suffix in PLACE_SUFFIXES:
            if (label.parent / f"{name}{suffix}").is_file():
                return label.parent / f"{name}{suffix}"
    return patient.places.get(stem) or patient.places.get(volume_stem(before.scan))


def _left_over(patient: FoundPatient, cases: Sequence[LabelledPair], labels: str | None) -> list[Fault]:
    """Too few visits, and labels that went to no pair or to two."""
    faults = []
    if len(patient.visits) < 2:
        got = patient.visits[0].name or "one without a session" if patient.visits else "none"
        message = f"expected two visits, got {got}; add the other one, or go on without this patient."
        faults.append(Fault(FaultKind.ONE_VISIT, patient.folder, message, Severity.WARNING))
    used = [case.label for case in cases if case.label is not None]
    for label in sorted({one for one in used if used.count(one) > 1}):
        names = tuple(case.name for case in cases if case.label == label)
        message = f"expected a label of one pair, got one for {' and '.join(names)}; use {{followup}} in --labels."
        faults.append(Fault(FaultKind.LABEL_CHOICE, label, message, cases=names))
    if len(patient.visits) > 2 and labels is None:
        later = {visit.name for visit in patient.visits[1:]}
        for mask in (one for one in patient.masks if one.kind == "label" and one.visit not in later):
            message = (
                f"expected a change label under the later visit of a pair, got one under {mask.visit or 'no visit'}; "
                "it is left out: move it, or name the labels with --labels."
            )
            faults.append(Fault(FaultKind.LABEL_CHOICE, mask.path, message, Severity.WARNING))
    return faults
