# SPDX-License-Identifier: Apache-2.0
"""Finds pairs of scans, and labels of what changed between them, in a folder."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from monai_microchange.data.bids import find_bids_patients, is_bids
from monai_microchange.data.datalist import LabelledPair
from monai_microchange.data.errors import InputError
from monai_microchange.data.faults import Fault
from monai_microchange.data.found import pairs_of
from monai_microchange.data.plain_folders import find_plain_patients
from monai_microchange.data.volume import read_volume
from monai_microchange.enums import ChangeType

__all__ = ["FoundPairs", "find_pairs"]


@dataclass(frozen=True)
class FoundPairs:
    """What `find_pairs` found.

    Args:
        cases: pairs, by patient and time.
        faults: what is wrong with names, sessions and tables; the files have not been looked into.
        n_patients: of whom anything was found, pairs or not.
    """

    cases: tuple[LabelledPair, ...]
    faults: tuple[Fault, ...]
    n_patients: int


def find_pairs(
    folder: str | Path,
    *,
    suffix: str = "FLAIR",
    labels: str | None = None,
    signed: bool | None = None,
    first_to_last: bool = False,
) -> FoundPairs:
    """Find the pairs of consecutive visits in a BIDS data set or in plain folders, one a patient.

    Args:
        folder: what `find_bids_patients` or `find_plain_patients` takes: BIDS if it has any `sub-*`.
        suffix: of the scans.
        labels: pattern of the label files, as in `pairs_of`.
        signed: whether labels say the direction of change; by default those that hold more than one value do, and where
            any label does, those with only one value too.
        first_to_last: also the first against the last visit.

    Raises:
        InputError: if the folder is missing, or there is no patient in it.

    Example:
        >>> find_pairs("nowhere")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        monai_microchange.data.errors.InputError: nowhere: expected a folder, but there is none; check the path.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder, but there is none; check the path.")
    patients = find_bids_patients(folder, suffix) if is_bids(folder) else find_plain_patients(folder, suffix)
    if not patients:
        raise InputError(
            f"{folder}: expected sub-*/ses-*/anat/*_{suffix}.nii.gz, or folders of patients with baseline and followup "
            f"(or study1_{suffix} and study2_{suffix}), got neither; see microchange datalist --help."
        )
    cases: list[LabelledPair] = []
    faults: list[Fault] = []
    for patient in patients:
        found, own = pairs_of(patient, folder, first_to_last=first_to_last, labels=labels)
        cases += found
        faults += own
    return FoundPairs(tuple(_with_direction(cases, signed)), tuple(faults), len(patients))


def _with_direction(cases: Sequence[LabelledPair], signed: bool | None) -> list[LabelledPair]:
    """The pairs with `signed` as it was given, or as the values of the labels show."""
    if signed is not None:
        return [replace(case, signed=signed) for case in cases]
    values = [set() if case.label is None else _values(case.label) for case in cases]
    kinds = set(map(float, ChangeType))
    directed = any(len(one) > 1 and one <= kinds for one in values)
    return [
        replace(case, signed=len(one) > 1 or (directed and one <= kinds))
        for case, one in zip(cases, values, strict=True)
    ]


def _values(label: str | Path) -> set[float]:
    """Values of a label other than 0; none if it cannot be read, which the check reports."""
    try:
        return set(np.unique(read_volume(label, allow_constant=True).numpy()).tolist()) - {0.0}
    except InputError:
        return set()
