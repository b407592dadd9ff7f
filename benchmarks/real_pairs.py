# SPDX-License-Identifier: Apache-2.0
"""Run `microchange compare` on the two real pairs with expert change masks and print time, memory and scores.

The folder of real scans comes from --data or the environment variable MICROCHANGE_DATA. Options after `--` go to
`microchange compare`:

    python benchmarks/real_pairs.py --results results --pictures pictures -- --device cpu

Each patient is compared with the weights that the bundle has of the fold that held the patient out, or with others:

    python benchmarks/real_pairs.py --weights patient01=fold0/model.pt --weights patient19=fold1/model.pt --json x.json

A patient whom the weights learnt from (any image of the patient's folder is among the hashes that they recorded) is not
scored, nor one with weights that do not say what they learnt from: exit code 2, before anything runs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _held_out import check_confidence, check_held_out, check_made_with, weights_of_patients
from _real_scores import DRAWS, SEED, plain, pool_scores
from _real_tables import score_table, size_table, stage_table
from draw_result import draw_result
from truth_grid import load_case, scan_path, score_result

from monai_microchange._shipped import shipped_bundle
from monai_microchange.enums import VISITS, ResultFile
from monai_microchange.evaluation.trained_on import record_is_complete
from monai_microchange.networks.weights import file_sha256

PATIENTS = ("patient01", "patient19")
DATA_SET = "ljubljana_longitudinal"
ATTRIBUTION = "Lesjak et al., Neuroinformatics 2016, CC-BY"
REFUSED = 2


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.no_run and options.results is None:
        parser.error("--no-run needs --results, the folder that holds a result folder for each patient")
    if any(one.split("=")[0] == "--weights" for one in options.compare_options):
        parser.error("--weights belongs before `--`: here it is checked what they learnt from")
    if options.data is None:
        print("Skipped: neither --data nor MICROCHANGE_DATA names the folder of real scans.")
        return 0
    try:
        with tempfile.TemporaryDirectory() as temporary:
            _score(options, Path(options.results or temporary))
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return REFUSED
    return 0


def _score(options: argparse.Namespace, folder: Path) -> None:
    """Check the weights, compare, score, print."""
    cases = {patient: Path(options.data) / DATA_SET / patient for patient in options.patients}
    results = {patient: folder / patient for patient in cases}
    folds = [f"{patient}={shipped_bundle() / 'models' / f'without_{patient}.pt'}" for patient in cases]
    weights = weights_of_patients(options.weights or folds, list(cases))
    allowed = options.allow_unknown_training
    for patient, case in cases.items():
        check_held_out(case, weights[patient], allow_unknown=allowed)
    for patient, case in cases.items():
        if not options.no_run:
            run_compare(case, results[patient], ["--weights", str(weights[patient]), *options.compare_options])
        check_made_with(results[patient], weights[patient], allow_unknown=allowed)
        check_confidence(results[patient])
    unknown = [patient for patient, path in weights.items() if not record_is_complete(path)]
    if unknown:
        print(f"NOT KNOWN what the weights learnt from; these may be training-set scores: {', '.join(unknown)}\n")
    provenance = {p: json.loads((result / ResultFile.PROVENANCE).read_text()) for p, result in results.items()}
    points = {json.dumps(facts.get("operating_point")) for facts in provenance.values()}
    print(f"Operating point: {'; '.join(sorted(points))}\n")
    print(f"Seconds of each stage, and peak memory\n\n{stage_table(provenance)}")
    scores = {patient: score_result(load_case(case), results[patient]) for patient, case in cases.items()}
    pooled = pool_scores(list(scores.values()))
    print(f"\nScores on the grid of the expert's mask\n\n{score_table(scores, pooled)}")
    print(f"\nLesions found, of all, and false ones, by volume in mm³\n\n{size_table(scores, pooled)}")
    if options.json is not None:
        record = {"bootstrap": {"draws": DRAWS, "seed": SEED}, "pooled": plain(pooled), "pairs": {}}
        for patient, one in scores.items():
            spent = {key: provenance[patient][key] for key in ("seconds", "peak_memory_mb")}
            record["pairs"][patient] = _origin(weights[patient]) | plain(one) | spent
        options.json.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")
    if options.pictures is not None:
        options.pictures.mkdir(parents=True, exist_ok=True)
        for patient, result in results.items():
            draw_result(options.pictures / f"{patient}.png", result, title=f"{patient} ({ATTRIBUTION})")


def _origin(weights: Path) -> dict[str, Any]:
    """Which weights, as JSON holds it."""
    known = record_is_complete(weights)
    return {"weights": str(weights), "weights_sha256": file_sha256(weights), "training_inputs_known": known}


def run_compare(case: Path, result: Path, compare_options: Sequence[str] = ()) -> None:
    """Run the command in a process of its own, so that its peak memory is that of one pair."""
    result.parent.mkdir(parents=True, exist_ok=True)
    scans = [str(scan_path(case, visit)) for visit in VISITS]
    command = [sys.executable, "-m", "monai_microchange.apps.cli", "compare", *scans, "-o", str(result)]
    finished = subprocess.run([*command, "--overwrite", "--quiet", *compare_options], capture_output=True, text=True)
    if finished.returncode:
        sys.exit(f"compare failed on {case.name} with code {finished.returncode}:\n{finished.stdout}{finished.stderr}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("MICROCHANGE_DATA"), help="folder of real scans")
    parser.add_argument("--patients", nargs="+", default=PATIENTS, metavar="PATIENT", help="default: both pairs")
    parser.add_argument(
        "--weights", action="append", default=[], metavar="[PATIENT=]FILE", help="of all, or several times of one each"
    )
    parser.add_argument(
        "--allow-unknown-training", action="store_true", help="score weights that do not say what they learnt from"
    )
    parser.add_argument("--results", type=Path, help="keep the result folders here, one a patient")
    parser.add_argument("--no-run", action="store_true", help="score what --results holds already")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--pictures", type=Path, help="write a PNG of each pair here")
    parser.add_argument("compare_options", nargs="*", metavar="-- OPTION", help="passed on to `microchange compare`")
    return parser


if __name__ == "__main__":
    sys.exit(main())
