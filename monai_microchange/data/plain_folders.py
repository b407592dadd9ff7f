# SPDX-License-Identifier: Apache-2.0
"""Finds the visits of each patient in plain folders, one a patient."""

import re
from pathlib import Path

from monai_microchange.data.faults import Fault, FaultKind
from monai_microchange.data.found import FoundMask, FoundPatient, FoundVisit, by_number, volume_stem
from monai_microchange.data.volume import has_volume_suffix

__all__ = ["find_plain_patients"]

ORDINAL = "[0-9]{1,3}|(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
"""Numbers that say which visit it is: small ones, or dates as YYYYMMDD."""

VISIT = re.compile(
    r"(?<![a-z])(?:(?P<word>baseline|bl|follow[-_]?up|fu)[-_]?(?P<nth>[0-9]*)"
    rf"|(?:study|time|timepoint|visit|session|ses|scan|tp)[-_]?(?P<number>{ORDINAL}))(?![a-z0-9])",
    re.IGNORECASE,
)
"""What in a name says which visit it is: baseline, followup, followup2, study1, time01, ses-2 ..."""

NO_SCAN = {"mask", "lesion", "lesions", "seg", "label", "gt", "brain", "truth", "change", "ignore"}
"""Words in the name of a file that is no scan."""

LABEL_NAMES = ("change", "change_mask", "label", "gt", "ground_truth", "truth")
OWN_MASKS = {"ignore": "ignore", "brain_mask": "brain_mask", "baseline_lesion": "lesion", "followup_lesion": "lesion"}


def find_plain_patients(folder: Path, suffix: str = "FLAIR") -> list[FoundPatient]:
    """Find patients' folders with scans such as `baseline` and `followup`, or `study1_FLAIR` and `study2_FLAIR`.

    A scan is an image whose name says which visit it is and, if anything more, the suffix; or a folder named after the
    visit, with such an image or a DICOM series. The label is called any of `LABEL_NAMES`. Further masks have the names
    that `LabelledPair` gives them. `study1_FLAIR_to_common_space.txt` and the `truth.json` of a phantom say where the
    label lies.

    Args:
        folder: of the data set, or of one patient.
        suffix: of the scans, for example FLAIR.

    Returns:
        A patient for each folder that holds any image; the folder itself if it holds visits.
    """
    alone = _find_patient(folder, suffix)
    if alone is not None and alone.visits:
        return [alone]
    below = sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: by_number(path.name))
    found = [_find_patient(path, suffix) for path in below if not path.name.startswith(".")]
    return [patient for patient in found if patient is not None]


def _find_patient(folder: Path, suffix: str) -> FoundPatient | None:
    images, visits = [], []
    for path in sorted(folder.iterdir()):
        is_image = has_volume_suffix(path)
        images += [path] if is_image else []
        key = _visit_key(volume_stem(path) if is_image else path.name, suffix)
        if key is not None and is_image:
            visits.append((*key, path))
        elif key is not None and path.is_dir():
            visits += [(*key, scan) for scan in _scans_in(path, suffix)]
    if not images and not visits:
        return None
    visits.sort(key=lambda visit: (visit[0], by_number(visit[1]), str(visit[2])))
    chosen: dict[tuple[int, int], FoundVisit] = {}
    faults = []
    for rank, name, scan in visits:
        first = chosen.setdefault(rank, FoundVisit(name, scan))
        if first.scan != scan:
            message = f"expected one scan of {name}, got {first.scan.name} and {scan.name}; remove or rename one."
            faults.append((first.name, Fault(FaultKind.DUPLICATE, scan, message)))
    in_order = tuple(chosen.values())
    return FoundPatient(
        folder.resolve().name, folder, in_order, _masks(images, in_order), _places(folder, in_order), tuple(faults)
    )


def _visit_key(stem: str, suffix: str) -> tuple[tuple[int, int], str] | None:
    """Order and name of the visit that a name speaks of; None if it is no scan of this suffix.

    >>> _visit_key("study2_FLAIR", "FLAIR"), _visit_key("followup", "FLAIR"), _visit_key("study2_T1W", "FLAIR")
    (((0, 2), 'study2'), ((1, 1), 'followup'), None)
    """
    found = VISIT.search(stem)
    if found is None:
        return None
    rest = {word for word in re.split(r"[^a-z0-9]+", f"{stem[: found.start()]}_{stem[found.end() :]}".lower()) if word}
    if rest & NO_SCAN or (rest and suffix.lower() not in rest):
        return None
    if found["number"]:
        return (0, int(found["number"])), found.group()
    later = found["word"].lower().startswith("f")
    return (int(later), int(found["nth"] or later)), found.group()


def _scans_in(visit: Path, suffix: str) -> list[Path]:
    """The scans in a visit's folder: images of this suffix, or the folder itself if it may be a DICOM series."""
    images = sorted(path for path in visit.iterdir() if has_volume_suffix(path))
    if not images:
        return [visit] if any(path.is_file() for path in visit.iterdir()) else []
    return [path for path in images if suffix.lower() in re.split(r"[^a-z0-9]+", volume_stem(path).lower())]


def _masks(images: list[Path], visits: tuple[FoundVisit, ...]) -> tuple[FoundMask, ...]:
    masks = []
    for path in images:
        stem = volume_stem(path).lower()
        if stem in LABEL_NAMES:
            masks.append(FoundMask("label", path))
        elif stem in OWN_MASKS and len(visits) == 2:
            masks.append(FoundMask(OWN_MASKS[stem], path, visits[int(stem == "followup_lesion")].name))
    return tuple(masks)


def _places(folder: Path, visits: tuple[FoundVisit, ...]) -> dict[str, Path]:
    places = {stem: folder / f"{stem}_to_common_space.txt" for stem in (volume_stem(visit.scan) for visit in visits)}
    places["truth"] = folder / "truth.json"
    return {stem: path for stem, path in places.items() if path.is_file()}
