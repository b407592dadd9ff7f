# SPDX-License-Identifier: Apache-2.0
"""`microchange datalist`: finds pairs, checks them, shares them out into folds and writes them down."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import monai_microchange
from monai_microchange.data.datalist import LabelledPair, read_datalist
from monai_microchange.data.datalist_check import check_datalist
from monai_microchange.data.datalist_file import check_new_file, write_datalist
from monai_microchange.data.errors import InputError
from monai_microchange.data.faults import Fault, Severity, has_errors
from monai_microchange.data.find_pairs import FoundPairs, find_pairs
from monai_microchange.data.folds import assign_folds

__all__ = ["DatalistOptions", "make_datalist"]


@dataclass(frozen=True)
class DatalistOptions:
    """What the command was told; `microchange datalist --help` says what each is for."""

    suffix: str = "FLAIR"
    labels: str | None = None
    signed: bool | None = None
    first_to_last: bool = False
    folds: int | None = None
    seed: int = 0
    check: bool = True
    same_grid: bool = False
    skip_faulty: bool = False
    overwrite: bool = False


def make_datalist(folder: Path, output: Path, options: DatalistOptions, *, screen: Console, errors: Console) -> bool:
    """Write a datalist of the pairs in a folder, and show what was found; or check a list, and write nothing.

    Args:
        folder: of the data set; or a list that there is.
        output: JSON file to write.
        options: what is wanted.
        screen: where the table goes.
        errors: where faults go, one line each.

    Returns:
        Whether the list was written: not where there are errors, unless the pairs that they touch are to be skipped.
        Of a list that there is, whether it is without errors.

    Raises:
        InputError: if the folder cannot be used or the file not be written, or there is no pair to write.
    """
    if folder.is_file():
        return _check_list(folder, options, screen=screen, errors=errors)
    check_new_file(output, overwrite=options.overwrite)
    found = find_pairs(
        folder,
        suffix=options.suffix,
        labels=options.labels,
        signed=options.signed,
        first_to_last=options.first_to_last,
    )
    faults = list(found.faults)
    if options.check:
        faults += _check(found.cases, options, errors)
    _print_faults(faults, errors)
    faulty = {name for fault in faults if fault.is_error for name in fault.cases}
    kept = [case for case in found.cases if case.name not in faulty]
    if not has_errors(faults) or options.skip_faulty:
        if not kept:
            reason = "all of them have faults" if found.cases else "there is no patient with two visits"
            raise InputError(f"{folder}: expected at least one pair to list, got none: {reason}; see above.")
        kept = assign_folds(kept, options.folds, seed=options.seed)
        _write(output, kept, folder, options)
        for name in sorted(faulty):
            errors.print(f"left out: {name}", soft_wrap=True, markup=False)
    else:
        kept = []
    screen.print(_table(found, kept, faults))
    if kept:
        screen.print(f"{output}: {len(kept)} pairs", soft_wrap=True, markup=False)
    else:
        text = f"{output}: not written; correct the faults, or use --skip-faulty to list the other pairs"
        errors.print(text, soft_wrap=True, markup=False)
    return bool(kept)


def _check_list(path: Path, options: DatalistOptions, *, screen: Console, errors: Console) -> bool:
    cases = read_datalist(path, labelled=False)
    faults = _check(cases, options, errors)
    _print_faults(faults, errors)
    screen.print(_table(FoundPairs(tuple(cases), (), len({case.patient for case in cases})), cases, faults))
    return not has_errors(faults)


def _check(cases: Sequence[LabelledPair], options: DatalistOptions, errors: Console) -> list[Fault]:
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task("reading every file", total=1.0)
        return check_datalist(
            cases, same_grid=options.same_grid, progress=lambda share: progress.update(task, completed=share)
        )


def _print_faults(faults: Sequence[Fault], errors: Console) -> None:
    style = {Severity.ERROR: "bold red", Severity.WARNING: "yellow"}
    for fault in sorted(faults, key=lambda fault: not fault.is_error):
        errors.print(f"{fault.severity}:", style=style[fault.severity], end=" ")
        errors.print(str(fault), soft_wrap=True, markup=False)


def _write(output: Path, kept: Sequence[LabelledPair], folder: Path, options: DatalistOptions) -> None:
    sections = {"training": [case for case in kept if case.labelled]}
    unlabelled = [case for case in kept if not case.labelled]
    if unlabelled:
        sections["unlabelled"] = unlabelled
    write_datalist(
        output,
        sections,
        description=f"{options.suffix} pairs of {folder.resolve().name}",
        overwrite=options.overwrite,
        made_by=f"microchange datalist {monai_microchange.__version__}",
        checked=options.check,
        seed=options.seed,
    )


def _table(found: FoundPairs, kept: Sequence[LabelledPair], faults: Sequence[Fault]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    labelled = [case for case in found.cases if case.labelled]
    signed = sum(case.signed for case in labelled)
    with_pairs = len({case.patient for case in found.cases})
    severities = Counter(fault.severity for fault in faults)
    table.add_row("patients", f"{found.n_patients} ({with_pairs} with two visits or more)")
    table.add_row("pairs", f"{len(found.cases)} ({len(kept)} listed)")
    table.add_row("labelled", f"{len(labelled)} ({signed} with direction, {len(labelled) - signed} without)")
    for fold in sorted({case.fold for case in kept if case.fold is not None}):
        inside = [case for case in kept if case.fold == fold]
        patients, n_labelled = len({case.patient for case in inside}), sum(case.labelled for case in inside)
        table.add_row(f"fold {fold}", f"{patients} patients, {len(inside)} pairs, {n_labelled} labelled")
    table.add_row("faults", f"{severities[Severity.ERROR]} errors, {severities[Severity.WARNING]} warnings")
    return table
