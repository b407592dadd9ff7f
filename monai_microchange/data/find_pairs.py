# SPDX-License-Identifier: Apache-2.0
"""Finds pairs of scans, and labels of what changed between them, in a folder."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from monai_microchange.data.bids import find_bids_patients, is_bids
from monai_microchange.data.datalist import LabelledPair
from monai_microchange.data.errors import InputError
from monai_microchange.data.faults import Fault, FaultKind, Severity
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
        signed: whether labels say the direction of change; by default those do that hold a gain and a loss. What may be
            either, such as 1 and 2 alone, counts as without direction, with a warning.
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
    if signed is not None:
        cases = [replace(case, signed=signed) for case in cases]
    else:
        cases, own = _with_direction(cases, folder)
        faults += own
    return FoundPairs(tuple(cases), tuple(faults), len(patients))


def _with_direction(cases: Sequence[LabelledPair], folder: Path) -> tuple[list[LabelledPair], list[Fault]]:
    """The pairs with `signed` as the values of their own label show; a warning if some labels may be either."""
    kinds = set(map(float, ChangeType))
    gain = {float(kind) for kind in ChangeType if kind.is_gain}
    values = [set() if case.label is None else _values(case.label) for case in cases]
    # several values, some of them of no kind of change, count as signed: the check reports them
    signed = [bool(one & gain and one & (kinds - gain)) or (len(one) > 1 and not one <= kinds) for one in values]
    sure = [set()] if any(signed) else [set(), {float(ChangeType.NEW)}]
    read = [replace(case, signed=own) for case, own in zip(cases, signed, strict=True)]
    unsure = [
        case.name
        for case, one in zip(read, values, strict=True)
        if not case.signed and one <= kinds and one not in sure
    ]
    if not unsure:
        return read, []
    message = (
        f"expected labels of gain and loss, or masks of 1, got {len(unsure)} that may be either (of {unsure[0]} ...); "
        "taken to have no direction: give --signed or --unsigned."
    )
    return read, [Fault(FaultKind.LABEL_VALUES, folder, message, Severity.WARNING, tuple(unsure))]


def _values(label: str | Path) -> set[float]:
    """Values of a label other than 0; none if it cannot be read, which the check reports."""
    try:
        return set(np.unique(read_volume(label, allow_constant=True).numpy()).tolist()) - {0.0}
    except InputError:
        return set()
