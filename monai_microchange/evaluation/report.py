# SPDX-License-Identifier: Apache-2.0
"""The figures of an evaluation as lists of rows, and the JSON and CSV files that hold them."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_microchange.evaluation.class_scores import CHANGES, FIGURES, ClassScores, Row, mean_known, pool_scores
from monai_microchange.metrics import (
    FALSE_PER_PAIR,
    LesionCandidates,
    compute_brier,
    compute_lesion_average_precision,
    compute_lesion_froc,
    compute_reliability,
)

__all__ = ["SCORES_JSON", "build_report", "write_report"]

SCORES_JSON = "scores.json"
CSV_FILES = {
    "cases": "scores.csv",
    "cases_by_size": "scores_by_size.csv",
    "pooled": "pooled.csv",
    "pooled_by_size": "pooled_by_size.csv",
    "mean": "mean.csv",
    "confidence": "confidence.csv",
    "reliability": "reliability.csv",
}
"""The table that each list of rows is written to."""

RANKED = ("any", "gain", "loss")
"""Kinds of change whose confidence is judged; a type has too few lesions for it."""

POOLED = "all"


def build_report(scores: Mapping[str, Mapping[str, ClassScores]], trained_on: Sequence[str] = ()) -> dict[str, Any]:
    """Rows of every kind, by the names of `CSV_FILES`.

    Args:
        scores: by case, then by kind of change.
        trained_on: cases that the weights learnt from.
    """
    pooled = {
        change: pool_scores([of_case[change] for of_case in scores.values() if change in of_case])
        for change in CHANGES
        if any(change in of_case for of_case in scores.values())
    }
    cases, cases_by_size = [], []
    for case, of_case in scores.items():
        start = {"case": case, "trained_on": case in trained_on}
        for change, one in of_case.items():
            cases.append({**start, "change": change, **one.figures()})
            cases_by_size += [{**start, "change": change, **row} for row in one.figures_by_size()]
    common = {"case": POOLED, "trained_on": bool(trained_on)}
    return {
        "cases": cases,
        "cases_by_size": cases_by_size,
        "pooled": [
            {**common, "change": change, "n_cases": one.n_cases, "n_no_change": one.n_no_change, **one.figures()}
            for change, one in pooled.items()
        ],
        "pooled_by_size": [
            {**common, "change": change, **row} for change, one in pooled.items() for row in one.figures_by_size()
        ],
        "mean": [{**common, "case": "mean", "change": change, **_mean(cases, change)} for change in pooled],
        "confidence": [
            {**common, "change": change, **_confidence(one.candidates)}
            for change, one in pooled.items()
            if change in RANKED
        ],
        "reliability": [
            {**common, "change": change, **row}
            for change, one in pooled.items()
            if change in RANKED
            for row in _reliability(one.candidates)
        ],
    }


def write_report(folder: Path, report: Mapping[str, Any]) -> None:
    """Write everything as `scores.json`, and each list of rows as a table; NaN becomes null, and an empty cell."""
    plain = {key: [_plain(row) for row in value] if key in CSV_FILES else value for key, value in report.items()}
    folder.mkdir(parents=True, exist_ok=True)
    for key, name in CSV_FILES.items():
        with open(folder / name, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(plain[key][0]))
            writer.writeheader()
            writer.writerows(plain[key])
    # the last one, whole or not at all: it says that the folder holds scores
    unfinished = folder / f"{SCORES_JSON}.part"
    unfinished.write_text(json.dumps(plain, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    unfinished.replace(folder / SCORES_JSON)


def _mean(cases: Sequence[Row], change: str) -> Row:
    """For every figure the mean over the cases that have it."""
    return {name: mean_known([row[name] for row in cases if row["change"] == change]) for name in FIGURES}


def _confidence(candidates: LesionCandidates) -> Row:
    sure, true = candidates.confidence, candidates.is_true
    sensitivity = compute_lesion_froc(candidates)
    return {
        "n_reference": candidates.n_reference,
        "n_predicted": len(sure),
        "average_precision": compute_lesion_average_precision(candidates),
        **{f"sensitivity_at_{f:g}_false": float(s) for f, s in zip(FALSE_PER_PAIR, sensitivity, strict=True)},
        "ece": compute_reliability(sure, true).expected_error,
        "ece_equal_mass": compute_reliability(sure, true, equal_mass=True).expected_error,
        "brier": compute_brier(sure, true),
        "mean_confidence": float(sure.mean()) if len(sure) else math.nan,
        "true_share": float(true.mean()) if len(sure) else math.nan,
    }


def _reliability(candidates: LesionCandidates) -> list[Row]:
    rows = []
    for bins, equal_mass in (("equal width", False), ("equal mass", True)):
        curve = compute_reliability(candidates.confidence, candidates.is_true, equal_mass=equal_mass)
        columns = zip(curve.count.tolist(), curve.mean_confidence.tolist(), curve.true_share.tolist(), strict=True)
        for number, (count, mean, share) in enumerate(columns, start=1):
            rows.append({"bins": bins, "bin": number, "count": count, "mean_confidence": mean, "true_share": share})
    return rows


def _plain(row: Row) -> Row:
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}
