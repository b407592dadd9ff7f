# SPDX-License-Identifier: Apache-2.0
"""Run `microchange compare` on the two real pairs with expert change masks and print time, memory and scores.

The folder of real scans comes from --data or the environment variable MICROCHANGE_DATA. Options after `--` go to
`microchange compare`:

    python benchmarks/real_pairs.py --results results --pictures pictures -- --device cpu
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from draw_result import draw_result
from truth_grid import PairScores, load_case, scan_path, score_result

from monai_microchange.enums import VISITS, ResultFile

PATIENTS = ("patient01", "patient19")
DATA_SET = "ljubljana_longitudinal"
ATTRIBUTION = "Lesjak et al., Neuroinformatics 2016, CC-BY"

SUBTRACTION_ORACLE = {"patient01": (0.658, 0.182), "patient19": (0.480, 0.362)}
"""Dice and lesion-wise F1, each the best of 96 subtraction settings chosen with the truth in hand.

Plain subtraction is best for patient01; for patient19 that after N4 and local standardisation (12 mm).
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.no_run and options.results is None:
        parser.error("--no-run needs --results, the folder that holds a result folder for each patient")
    if options.data is None:
        print("Skipped: neither --data nor MICROCHANGE_DATA names the folder of real scans.")
        return 0
    cases = {patient: Path(options.data) / DATA_SET / patient for patient in options.patients}
    with tempfile.TemporaryDirectory() as temporary:
        results = {patient: Path(options.results or temporary) / patient for patient in cases}
        if not options.no_run:
            for patient, case in cases.items():
                run_compare(case, results[patient], options.compare_options)
        print("Seconds of each stage, and peak memory\n")
        print(
            stage_table(
                {patient: json.loads((r / ResultFile.PROVENANCE).read_text()) for patient, r in results.items()}
            )
        )
        scores = {patient: score_result(load_case(case), results[patient]) for patient, case in cases.items()}
        print("\nScores on the grid of the expert's mask\n")
        print(score_table(scores))
        print("\nLesions found, of all, and false ones, by volume in mm³\n")
        print(size_table(scores))
        if options.pictures is not None:
            options.pictures.mkdir(parents=True, exist_ok=True)
            for patient, result in results.items():
                draw_result(options.pictures / f"{patient}.png", result, title=f"{patient} ({ATTRIBUTION})")
    return 0


def run_compare(case: Path, result: Path, compare_options: Sequence[str] = ()) -> None:
    """Run the command in a process of its own, so that its peak memory is that of one pair."""
    result.parent.mkdir(parents=True, exist_ok=True)
    scans = [str(scan_path(case, visit)) for visit in VISITS]
    command = [sys.executable, "-m", "monai_microchange.apps.cli", "compare", *scans, "-o", str(result)]
    finished = subprocess.run([*command, "--overwrite", "--quiet", *compare_options], capture_output=True, text=True)
    if finished.returncode:
        sys.exit(f"compare failed on {case.name} with code {finished.returncode}:\n{finished.stdout}{finished.stderr}")


def stage_table(provenance: dict[str, dict]) -> str:
    """A row a stage, a column a pair, from each `result.json`."""
    stages = list(dict.fromkeys(stage for p in provenance.values() for stage in p["seconds"]))
    rows = [[s, *(f"{p['seconds'].get(s, float('nan')):.1f}" for p in provenance.values())] for s in stages]
    if "total" not in stages:
        rows.append(["total", *(f"{sum(p['seconds'].values()):.1f}" for p in provenance.values())])
    rows.append(["peak memory, MB", *(f"{p['peak_memory_mb']:.0f}" for p in provenance.values())])
    return _table(["stage", *provenance], rows)


def score_table(scores: dict[str, PairScores]) -> str:
    """Two rows a patient: the result, and what subtraction can reach at best."""
    rows = []
    for patient, s in scores.items():
        values = (s.lesions.dice, s.lesions.f1, s.lesions.sensitivity, s.lesions.precision)
        direction = f"{s.n_direction_ok}/{s.n_direction}"
        ratio, error = f"{s.lesions.volume_ratio:.2f}", f"{s.registration_mm:.2f}"
        rows.append([patient, "microchange", *(f"{v:.3f}" for v in values), ratio, direction, error])
        if patient in SUBTRACTION_ORACLE:
            oracle = [f"{v:.3f}" for v in SUBTRACTION_ORACLE[patient]]
            rows.append([patient, "subtraction oracle", *oracle, *["–"] * 5])
    head = ["pair", "method", "Dice", "F1", "sensitivity", "precision", "volume ratio", "direction", "registration, mm"]
    note = (
        "F1, sensitivity, precision: lesions of at least 3 mm³ matched one to one, IoU at least 0.1. Volume ratio: "
        "predicted over true.\nDirection: found lesions of clear contrast whose sign is right. Registration: mean "
        "distance to the data set's own affine.\nSubtraction oracle: best of 96 subtraction settings chosen with the "
        "truth in hand, for Dice and F1 apart; no fixed setting does as well."
    )
    return f"{_table(head, rows)}\n\n{note}"


def size_table(scores: dict[str, PairScores]) -> str:
    """A row a patient, a column a range of volume: found / all true ones, and false ones."""
    bins = next(iter(scores.values())).lesions.by_size
    head = [f"{b.lower_mm3:g}–{b.upper_mm3:g}" if b.upper_mm3 < float("inf") else f"from {b.lower_mm3:g}" for b in bins]
    rows = [
        [patient, *(f"{b.n_found}/{b.n_reference}, {b.n_false} false" for b in s.lesions.by_size)]
        for patient, s in scores.items()
    ]
    return _table(["pair", *head], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown, with columns of even width so that it also reads as plain text."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in (head, *rows)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("MICROCHANGE_DATA"), help="folder of real scans")
    parser.add_argument("--patients", nargs="+", default=PATIENTS, metavar="PATIENT", help="default: both pairs")
    parser.add_argument("--results", type=Path, help="keep the result folders here, one a patient")
    parser.add_argument("--no-run", action="store_true", help="score what --results holds already")
    parser.add_argument("--pictures", type=Path, help="write a PNG of each pair here")
    parser.add_argument("compare_options", nargs="*", metavar="-- OPTION", help="passed on to `microchange compare`")
    return parser


if __name__ == "__main__":
    sys.exit(main())
