# SPDX-License-Identifier: Apache-2.0
"""Fit how sure a change is, and report what the weights find, on pairs that they never saw.

The patients with an expert's mask of change are held out in turn. For each, the weights of its fold look for change in

- re-scans of its scans without change, and with inserted lesions (a whole brain each; see `_rescans.py`);
- its real pair.

`collect` does this and takes half a minute a pair; `fit` and `report` read what it wrote:

    python benchmarks/lesion_confidence.py collect patient01 --weights without_patient01.pt --records records
    python benchmarks/lesion_confidence.py collect patient19 --weights without_patient19.pt --records records
    python benchmarks/lesion_confidence.py fit --records records --output confidence.json
    python benchmarks/lesion_confidence.py report --records records

In the report each patient, simulated and real, is judged by a confidence and an operating point that the other
patient's simulated pairs gave (found by weights that had learnt from the first one's real pair); `fit` takes those of
both. No real pair takes part in a fit.
"""

import argparse
import os
import sys
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from _candidates import THRESHOLD, PairRecord, measure_pair, network_score, read_records
from _confidence_picture import draw_confidence
from _confidence_report import (
    ORDINARY_CONTRAST,
    VOLUMES_MM3,
    Records,
    calibration,
    confidences,
    count_lesions,
    f1,
    fit_confidence,
    found_volume_ratio,
    of_kind,
    planted_table,
    rate_bound,
    volume_found,
)
from _held_out import check_held_out
from _rescans import HELD_OUT_SCANS, SEVERITIES, Rescans, real_pair
from monai.bundle import ConfigParser
from rich.console import Console
from rich.progress import track
from rich.table import Table

from monai_microchange._shipped import shipped_bundle
from monai_microchange.networks.weights import file_sha256, with_weights
from monai_microchange.postprocessing import ConfidenceModel

PATIENTS = tuple(HELD_OUT_SCANS)
KINDS = ("stable", "changed")
NAMES = {0.5: "one scanner", 1.0: "two scanners"}
CONTRASTS = (0.08, 0.3, 0.7, 1.0)

Judged: TypeAlias = list[tuple[ConfidenceModel, float, PairRecord]]
"""Pairs, each with the confidence that judges it and the least that counts."""


def collect(
    root: Path, patient: str, weights: Path, records: Path, *, stable: int, changed: int, threshold: float = THRESHOLD
) -> None:
    """Look for change in all pairs of a patient that the file of records does not hold yet.

    Raises:
        ValueError: if the weights learnt from the patient, or the file holds records of other weights.
    """
    check_held_out(root / "ljubljana_longitudinal" / patient, weights)
    score = network_score(with_weights(bundle_network(), weights))
    origin = {"weights_sha256": file_sha256(weights), "threshold": threshold}
    records.mkdir(parents=True, exist_ok=True)
    path = records / f"{patient}.jsonl"
    there = read_records(path)
    if others := [one for one in there if {**one.about, **origin} != one.about]:
        raise ValueError(f"{path}: expected records of {origin}, got {others[0].about}; choose another folder.")
    done = {(one.about["kind"], one.about["number"]) for one in there}
    wanted = [("real", 0)]
    for number in range(max(stable, changed)):
        wanted += [(kind, number) for kind, count in (("stable", stable), ("changed", changed)) if number < count]
    scans = [
        Rescans.of(root, root / "ljubljana_longitudinal" / patient / name, thickness_mm)
        for name, thickness_mm in HELD_OUT_SCANS[patient]
    ]
    for kind, number in track([one for one in wanted if one not in done], patient):
        # all four mixtures of scan and severity come before any is repeated
        scan, severity = number % 2, SEVERITIES[number // 2 % 2]
        if kind == "real":
            data = real_pair(root, patient)
        else:
            random = np.random.RandomState([PATIENTS.index(patient), KINDS.index(kind), number])
            data = scans[scan].pair(random, severity=severity, changes=kind == "changed")
        about = {"patient": patient, "kind": kind, "number": number, "scan": scan, **origin}
        measure_pair(data, score, about, threshold=threshold).write(path)


def report(records: dict[str, Records], *, false_per_pair: float, picture: Path | None = None) -> None:
    """Print the figures of each patient, judged by the confidence that is fitted to the others."""
    judged: Judged = []
    for patient, own in records.items():
        model = fit_confidence([one for other, theirs in records.items() if other != patient for one in theirs])
        least = model.least_confidence(false_per_pair)
        judged += [(model, least, one) for one in own]
    if picture is not None:
        draw_confidence(picture, judged)
    console = Console(width=120)
    console.print(_stable_table(judged))
    console.print(_detection_table(judged))
    console.print(_calibration_table(judged))
    console.print(_real_table(judged))


def _of(judged: Judged, kind: str) -> Judged:
    return [one for one in judged if one[2].about["kind"] == kind]


def _stable_table(judged: Judged) -> Table:
    table = Table("pairs without change", "pairs", "false lesions", "per pair", "at most (95 %)", title="False alarms")
    counts = [
        (one.about["patient"], one.about["severity"], count_lesions(model, one, least)["false"])
        for model, least, one in _of(judged, "stable")
    ]
    groups = {f"{p}, {NAMES[s]}": [n for q, t, n in counts if (q, t) == (p, s)] for p, s, _ in sorted(counts)}
    for name, false in {**groups, "all": [n for *_, n in counts]}.items():
        bound = rate_bound(sum(false), len(false))
        table.add_row(name, str(len(false)), str(sum(false)), f"{np.mean(false):.2f}", f"{bound:.2f}")
    return table


def _detection_table(judged: Judged) -> Table:
    planted = planted_table(_of(judged, "changed"))
    names = [f"{low}–{high} mm³" if high < 10000 else f"from {low} mm³" for low, high in pairwise(VOLUMES_MM3)]
    table = Table("contrast", *names, title="Inserted new and resolved lesions: found of all, by volume inserted")
    for low, high in pairwise(CONTRASTS):
        row = []
        for least, most in pairwise(VOLUMES_MM3):
            inside = (planted[:, 0] >= least) & (planted[:, 0] < most) & (planted[:, 1] >= low) & (planted[:, 1] < high)
            row.append(f"{int(planted[inside, 2].sum())}/{inside.sum()}" if inside.any() else "–")
        table.add_row(f"{low:g}–{high:g}", *row)
    ordinary, ratio = volume_found(planted), found_volume_ratio([one for *_, one in _of(judged, "changed")])
    table.caption = (
        f"80 % of lesions of {ordinary:.0f} mm³ and a contrast of {ORDINARY_CONTRAST:g} are found. "
        f"Volume of found changes of all types, measured over true: {ratio:.2f}."
    )
    return table


def _calibration_table(judged: Judged) -> Table:
    table = Table("pairs", "lesions", "ECE", "ECE, equal mass", "Brier", title="Calibration of the confidence")
    groups = {
        "simulated": [*_of(judged, "stable"), *_of(judged, "changed")],
        **{f"real, {one[2].about['patient']}": [one] for one in _of(judged, "real")},
        "real, all": _of(judged, "real"),
    }
    for name, some in groups.items():
        sure = np.concatenate([confidences(model, one) for model, _, one in some])
        figures = calibration(sure, np.concatenate([one.is_true[one.judged] for *_, one in some]))
        table.add_row(name, str(len(sure)), *(f"{value:.3f}" for value in figures))
    return table


def _real_table(judged: Judged) -> Table:
    table = Table("real pair", "Dice", "F1", "found", "false", "missed", "volume ratio", title="Real pairs")
    real = [(one.about["patient"], count_lesions(model, one, least)) for model, least, one in _of(judged, "real")]
    for name, count in real:
        values = (f"{count['dice']:.3f}", f"{f1([count]):.3f}", *(str(count[k]) for k in ("found", "false", "missed")))
        table.add_row(name, *values, f"{count['volume_ratio']:.2f}")
    table.caption = f"F1 of all lesions together: {f1([count for _, count in real]):.3f}"
    return table


def main() -> int:
    options = _parser().parse_args()
    if options.command == "collect":
        if options.data is None:
            print("Skipped: neither --data nor MICROCHANGE_DATA names the folder of real scans.")
            return 0
        counts = {"stable": options.stable, "changed": options.changed}
        try:
            collect(
                options.data, options.patient, options.weights, options.records, **counts, threshold=options.threshold
            )
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        return 0
    records = {patient: read_records(options.records / f"{patient}.jsonl") for patient in PATIENTS}
    if options.command == "report":
        report(records, false_per_pair=options.false_per_pair, picture=options.picture)
        return 0
    everything = [one for patient, some in records.items() if patient != options.without for one in some]
    counts = {kind: len(of_kind(everything, kind)) for kind in KINDS}
    weights = sorted({one.about["weights_sha256"] for one in everything})
    about = {"made by": "benchmarks/lesion_confidence.py fit", "without": options.without, "pairs": counts}
    about |= {"found_by_weights_sha256": weights}
    fit_confidence(everything).write(options.output, about)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    given = {name: commands.add_parser(name) for name in ("collect", "fit", "report")}
    for command in given.values():
        command.add_argument("--records", type=Path, required=True, help="folder of what was found")
    collecting = given["collect"]
    collecting.add_argument("patient", choices=PATIENTS)
    collecting.add_argument("--data", type=Path, default=os.environ.get("MICROCHANGE_DATA"), help="folder of the scans")
    collecting.add_argument("--weights", type=Path, required=True, help="that never saw the patient")
    collecting.add_argument("--stable", type=int, default=30, help="re-scans without change")
    collecting.add_argument("--changed", type=int, default=20, help="re-scans with inserted lesions")
    collecting.add_argument("--threshold", type=float, default=THRESHOLD, help="of the probability of gain, or of loss")
    given["fit"].add_argument("--output", type=Path, required=True, help="file of the confidence")
    given["fit"].add_argument("--without", choices=PATIENTS, help="patient whose pairs are left out")
    given["report"].add_argument("--false-per-pair", type=float, default=0.1)
    given["report"].add_argument("--picture", type=Path, help="PNG with three curves")
    return parser


def bundle_network() -> torch.nn.Module:
    """The network of the bundle, without its weights."""
    parser = ConfigParser()
    parser.read_config(str(shipped_bundle() / "configs" / "inference.yaml"))
    return parser.get_parsed_content("network_def")


if __name__ == "__main__":
    sys.exit(main())
