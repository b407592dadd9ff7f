# SPDX-License-Identifier: Apache-2.0
"""Lists of pairs: two visits, and where it is known what truly changed between them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from monai.data import MetaTensor

from monai_microchange._shipped import shipped_sample
from monai_microchange.data.errors import InputError
from monai_microchange.data.folds import patients_in_two_folds
from monai_microchange.data.label_place import read_json, read_place
from monai_microchange.data.labelled_pair import MASK_KEYS, LabelledPair
from monai_microchange.data.volume import read_volume
from monai_microchange.enums import VISITS, ChangeType

__all__ = ["SECTIONS", "LabelledPair", "read_datalist", "read_label", "sample_datalist", "training_records"]

SECTIONS = ("training", "validation", "test", "unlabelled")
"""Lists of pairs that a datalist file may hold."""

PATH_KEYS = (*VISITS, *MASK_KEYS, "label", "label_to_baseline", "ignore")

Datalist: TypeAlias = str | Path | Sequence[Mapping[str, Any]] | Mapping[str, Any]


def sample_datalist() -> list[dict[str, str]]:
    """The labelled pair that comes with the package, as `read_datalist` takes it.

    >>> [case["name"] for case in sample_datalist()]
    ['ms_flair_pair']
    """
    folder = shipped_sample()
    scans = {visit: str(folder / f"{visit}.nii.gz") for visit in VISITS}
    truth = {"label": str(folder / "truth.nii.gz"), "label_to_baseline": str(folder / "truth.json")}
    return [{"name": folder.name, **scans, **truth}]


def read_datalist(
    datalist: Datalist,
    *,
    section: str | None = None,
    fold: int | None = None,
    exclude_fold: int | None = None,
    labelled: bool = True,
) -> list[LabelledPair]:
    """Check a list of pairs, read where their labels lie, and choose among them.

    Args:
        datalist: mappings with the attributes of `LabelledPair` as keys; or such lists by section, as in MONAI and the
            Decathlon: `{"training": [...], "validation": [...], "test": [...], "unlabelled": [...]}`; or a JSON file
            with either, whose relative paths start from its own folder. Only `baseline` and `followup` must be there,
            and `label` too where `labelled`; a case without a name is called by its number. `label_to_baseline` is
            whatever `read_place` takes.
        section: of `SECTIONS`; by default all of them, without "unlabelled" where `labelled`.
        fold: only the pairs of this fold.
        exclude_fold: only the pairs of the other folds.
        labelled: every pair must have a label; False where the scans alone are wanted.

    Raises:
        InputError: if there is no such case, a key is missing or unknown, a label (where `labelled`) is not there or a
            transform cannot be read, two cases have one name, or a fold is named and a patient is in two.

    Example:
        >>> read_datalist([])
        Traceback (most recent call last):
        ...
        monai_microchange.data.errors.InputError: datalist: expected a list of pairs, got '[]'; give at least one.
    """
    root = Path()
    if isinstance(datalist, str | Path):
        root = Path(datalist).parent
        datalist = read_json(Path(datalist))
    wanted = _wanted_sections(datalist, section, labelled)
    listed, names = [], []
    for number, (what, its_section, entry) in enumerate(_entries(datalist), start=1):
        case = _case(entry, what, f"case{number}", root, labelled and its_section in wanted)
        names.append(case.name)
        if its_section in wanted:
            listed.append(case)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"datalist: expected a name of its own for each case, got {', '.join(twice)} twice; rename one."
        )
    if not names:
        raise InputError(f"datalist: expected a list of pairs, got {str(datalist)[:60]!r}; give at least one.")
    if fold is not None or exclude_fold is not None:
        for patient, folds in patients_in_two_folds(listed).items():
            raise InputError(f"datalist: expected each patient in one fold, got {patient} in {folds}; choose one.")
    chosen = [case for case in listed if fold in (None, case.fold)]
    chosen = [case for case in chosen if exclude_fold is None or case.fold != exclude_fold]
    if not chosen:
        raise InputError(
            f"datalist: expected pairs in {section or 'its sections'}, fold {fold if fold is not None else 'any'} "
            f"without {exclude_fold}, got none of the {len(names)} that it lists; choose another section or fold."
        )
    return chosen


def training_records(datalist: Datalist, **choice: Any) -> list[dict[str, Any]]:
    """The pairs of a datalist as the dictionaries that a training pipeline takes.

    Args:
        datalist: what `read_datalist` takes.
        choice: its options; the section is "training" where the list has sections and none is named.

    Returns:
        For each pair `name`, `baseline`, `followup` and the masks that there are (for `ReadPaird`, `ReadUserMasksd`),
        and, where it is labelled, `label_file`, `label_signed`, `label_to_baseline` and perhaps `label_ignore` (for
        `ReadChangeLabeld`). All of it paths, numbers and lists, so that MONAI's persistent caches can hash it.

    Example:
        >>> [sorted(record)[:3] for record in training_records(sample_datalist())]
        [['baseline', 'followup', 'label_file']]
    """
    return [case.record for case in read_datalist(datalist, **{"section": "training", **choice})]


def read_label(case: LabelledPair) -> MetaTensor:
    """The change map of a case, (1, I, J, K), float32, with its affine; all of an unsigned one is called NEW.

    Raises:
        InputError: if there is no label, its file cannot be read, or a signed one holds values that no `ChangeType`
            has.
    """
    if case.label is None:
        raise InputError(f"{case.name}: expected a labelled pair, got one without a label; name its file.")
    label = read_volume(case.label, allow_constant=True)
    if not case.signed:
        return MetaTensor((label.as_tensor() > 0).float() * int(ChangeType.NEW), affine=label.affine)
    unknown = sorted(set(np.unique(label.numpy()).tolist()) - {0.0, *map(float, ChangeType)})
    if unknown:
        raise InputError(
            f"{case.label}: expected a change map of 0 to {len(ChangeType)}, got the value {unknown[0]:g}; for a mask "
            "that only says that something changed give signed: false."
        )
    return label


def _wanted_sections(datalist: Any, section: str | None, labelled: bool) -> tuple[str, ...]:
    if section is not None and section not in SECTIONS:
        raise InputError(f"datalist: expected a section among {', '.join(SECTIONS)}, got {section}; choose one.")
    sections = datalist if isinstance(datalist, Mapping) else SECTIONS[:1]
    if section is not None and section not in sections:
        held = ", ".join(one for one in SECTIONS if one in sections) or "none"
        raise InputError(f"datalist: expected the section {section}, got {held}; choose one that it has.")
    if section is not None:
        return (section,)
    return SECTIONS[:-1] if labelled else SECTIONS


def _entries(datalist: Any) -> Iterator[tuple[str, str, Any]]:
    """Each entry with what messages call it, and its section; a plain list is all training."""
    if isinstance(datalist, Mapping) and any(section in datalist for section in SECTIONS):
        listed = [(section, section, datalist[section]) for section in SECTIONS if section in datalist]
    else:
        listed = [("case", SECTIONS[0], datalist)]
    for called, section, entries in listed:
        if not isinstance(entries, Sequence) or isinstance(entries, str):
            raise InputError(f"datalist: expected a list of pairs, got {str(entries)[:60]!r}; give at least one.")
        for number, entry in enumerate(entries, start=1):
            yield f"datalist, {called} {number}", section, entry


def _case(entry: Any, what: str, name: str, root: Path, labelled: bool) -> LabelledPair:
    needed = (*VISITS, "label") if labelled else VISITS
    given = {key: value for key, value in entry.items() if value is not None} if isinstance(entry, Mapping) else {}
    if not set(needed) <= set(given):
        got = ", ".join(map(str, given)) if isinstance(entry, Mapping) else repr(entry)
        raise InputError(f"{what}: expected {', '.join(needed)}, got {got}; give all of them.")
    unknown = sorted(set(given) - {one.name for one in fields(LabelledPair)})
    if unknown:
        raise InputError(f"{what}: expected the keys that LabelledPair has, got {', '.join(unknown)}; correct it.")
    given = {key: _from_root(value, root) if key in PATH_KEYS else value for key, value in given.items()}
    name = str(given.pop("name", name))
    if name in (".", "..") or Path(name).name != name:
        raise InputError(f"{what}: expected a name that a folder can have, got {name!r}; choose another.")
    _check_kinds(given, what)
    given["label_to_baseline"] = read_place(given.get("label_to_baseline"), what)
    for key in {"label", "ignore"} & set(given) if labelled else ():
        if not Path(given[key]).is_file():
            raise InputError(f"{what}: {given[key]}: expected a change map, but there is none; check the path.")
    return LabelledPair(name=name, **given)


def _check_kinds(given: Mapping[str, Any], what: str) -> None:
    """Refuse a fold that is no number, and so on: what JSON lets pass."""
    for key, kind in {"signed": bool, "patient": str, "fold": int, "interval_days": int}.items():
        value = given.get(key)
        if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            raise InputError(f"{what}: expected {key} to be a {kind.__name__}, got {value!r}; correct it.")


def _from_root(value: Any, root: Path) -> Any:
    """Paths, and modalities' paths, as seen from the folder of the list; anything else as it is."""
    if isinstance(value, Mapping):
        return {key: _from_root(one, root) for key, one in value.items()}
    return str(root / value) if isinstance(value, str | Path) else value
