# SPDX-License-Identifier: Apache-2.0
"""Compare our registration with SimpleITK's usual recipe, itk-elastix and antspyx, and try the gate.

Three parts: synthetic cases whose truth is exact, the two real pairs against the data set's own transforms, and the
gate that refuses what cannot be aligned with certainty. The folder of real scans comes from --data or the environment
variable MICROCHANGE_DATA; the peers from `pip install monai-microchange[benchmark]`. What is finished is kept in the
file of --json, and a killed run goes on from there:

    python benchmarks/registration.py --split tune --json registration.jsonl
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _registration_cases import CASES, Case, draw_case
from _registration_gate import gate_pairs, gate_table, judge, overlap_table
from _registration_measures import (
    SUCCESS_MM,
    Outcome,
    Records,
    compare_table,
    inverse_consistency_mm,
    overview_table,
    point_errors_mm,
    real_table,
    solved_by_all,
)
from _registration_methods import METHODS, missing_methods, use_threads, warm_up
from rich.console import Console
from rich.progress import Progress
from truth_grid import load_case, scan_path

from monai_microchange._frames import apply_affine
from monai_microchange.data import read_volume
from monai_microchange.enums import VISITS

PARTS = ("synthetic", "real", "gate")
PATIENTS = ("patient01", "patient19")
REAL_POINTS = 20_000


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    names = options.methods.split(",")
    if unknown := [name for name in names if name not in METHODS]:
        parser.error(f"unknown methods {', '.join(unknown)}; there are {', '.join(METHODS)}")
    if options.data is None:
        print("Skipped: neither --data nor MICROCHANGE_DATA names the folder of real scans.")
        return 0
    use_threads(options.threads)
    console = Console(width=200, soft_wrap=True)
    for name in (missing := missing_methods(names)):
        console.print(f"Left out: {name}, since {METHODS[name].needs} is not installed (the extra `benchmark` has it).")
    names, records = [name for name in names if name not in missing], Records(options.json)
    parts = [options.only] if options.only else PARTS
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        results = {part: RUN[part](options, names, records, progress) for part in parts}
    for part, found in results.items():
        PRINT[part](console, options, found)
    return 0


def run_synthetic(options: argparse.Namespace, names: list[str], records: Records, progress: Progress) -> list[Outcome]:
    """Every method on every case of the split."""
    names = [name for name in names if not METHODS[name].for_heads]
    labels = [f"{options.split} {number}" for number in range(options.cases)]
    task = progress.add_task(f"synthetic, {options.split}", total=len(labels) * len(names))
    outcomes = []
    for number, label in enumerate(labels):
        case = None
        for name in names:
            record = records.find("synthetic", label, name)
            if record is None:
                case = case or draw_case(number, options.split, options.data)
                record = records.add("synthetic", try_method(label, name, case))
            outcomes.append(Outcome(**record))
            progress.advance(task)
    return outcomes


def run_real(options: argparse.Namespace, names: list[str], records: Records, progress: Progress) -> list[Outcome]:
    """Every method on both real pairs; the truth is the data set's own estimate, over all of the brain."""
    task = progress.add_task("real", total=len(PATIENTS) * len(names))
    outcomes = []
    for patient in PATIENTS:
        case = None
        for name in names:
            record = records.find("real", patient, name)
            if record is None:
                case = case or real_case(options.data / "ljubljana_longitudinal" / patient)
                record = records.add("real", try_method(patient, name, case))
            outcomes.append(Outcome(**record))
            progress.advance(task)
    return outcomes


def run_gate(options: argparse.Namespace, names: list[str], records: Records, progress: Progress) -> list[dict]:
    """The gate, on the heads as they are and in the brains, on pairs that it must refuse or accept."""
    task = progress.add_task("gate", total=None)
    found = []
    for pair in gate_pairs(options.data, options.split, options.cases):
        for way in ("brain", "head") if pair.is_head else ("head",):
            record = records.find("gate", f"{pair.group}: {pair.name}", way)
            found.append(record or records.add("gate", judge(pair, in_brain=way == "brain")))
            progress.advance(task)
    return found


def try_method(label: str, name: str, case: Case) -> Outcome:
    """Register a case both ways round."""
    method = METHODS[name]
    warm_up(method)
    started = _clocks()
    try:
        forth = method.register(case.baseline, case.followup)
        back = method.register(case.followup, case.baseline)
    except (RuntimeError, ValueError) as error:
        lost, note = float("inf"), " ".join(str(error).split())[-200:]
        return Outcome(label, name, lost, lost, lost, *(_clocks() - started).tolist(), note)
    spent = (_clocks() - started) / 2
    errors = point_errors_mm(forth, case.baseline_to_followup, case.brain_points_mm)
    inverse = inverse_consistency_mm(forth, back, case.brain_points_mm)
    return Outcome(label, name, float(errors.mean()), float(np.quantile(errors, 0.95)), inverse, *spent.tolist())


def _clocks() -> np.ndarray:
    """Seconds by the wall's clock and by that of this process's threads (2,)."""
    return np.array([time.perf_counter(), time.process_time()])


def real_case(folder: Path) -> Case:
    """A patient's raw FLAIRs with the data set's transform between them, an estimate itself."""
    truth = load_case(folder)
    to_baseline, to_followup = truth.common_to_scan
    brain = np.random.default_rng(0).permutation(np.argwhere(truth.brain))[:REAL_POINTS]
    points = apply_affine(to_baseline @ truth.affine, brain)
    scans = [read_volume(scan_path(folder, visit)) for visit in VISITS]
    return Case(*scans, to_followup @ np.linalg.inv(to_baseline), points, folder.name)


def print_synthetic(console: Console, options: argparse.Namespace, outcomes: list[Outcome]) -> None:
    common = len(solved_by_all(outcomes))
    console.print(
        f"\nSynthetic cases, split {options.split}: solved, of all, with a mean error below {SUCCESS_MM:g} mm; errors "
        f"on the {common} cases that every method solves; inverse consistency (median) on those it solves itself; "
        f"seconds (median) with {options.threads} threads.\n"
    )
    console.print(overview_table(outcomes))
    tried = dict.fromkeys(o.method for o in outcomes)
    peers = [name for name in tried if METHODS[name].is_peer]
    for ours in [name for name in tried if name not in peers]:
        console.print(f"\n{ours} over each peer, on the cases that both solve; below 1 is better.\n")
        console.print(compare_table(outcomes, ours, peers))


def print_real(console: Console, options: argparse.Namespace, outcomes: list[Outcome]) -> None:
    console.print(
        "\nReal pairs: mean distance over the brain to the data set's own affine transform, which is an estimate too.\n"
    )
    console.print(real_table(outcomes))


def print_gate(console: Console, options: argparse.Namespace, records: list[dict]) -> None:
    console.print("\nGate, in the brain (the pipeline's way) and on heads as they are.\n")
    console.print(gate_table(records))
    console.print()
    console.print(overlap_table(records))


RUN = {"synthetic": run_synthetic, "real": run_real, "gate": run_gate}
PRINT = {"synthetic": print_synthetic, "real": print_real, "gate": print_gate}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("MICROCHANGE_DATA")
    parser.add_argument("--data", type=Path, default=data and Path(data), help="folder of real scans")
    parser.add_argument("--split", choices=("tune", "report"), default="tune", help="of the synthetic cases")
    parser.add_argument("--cases", type=int, default=CASES, choices=range(CASES + 1), metavar="N", help="first N only")
    parser.add_argument("--methods", default=",".join(METHODS), help="separated by commas")
    parser.add_argument("--only", choices=PARTS, help="one part of the three")
    parser.add_argument("--threads", type=int, default=2, help="of every method")
    parser.add_argument("--json", type=Path, help="file of finished results, one a line; a killed run goes on from it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
