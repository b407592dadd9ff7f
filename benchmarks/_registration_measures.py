# SPDX-License-Identifier: Apache-2.0
"""Errors of registrations, kept one line a run, and the tables made of them."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich import box
from rich.table import Table

from monai_microchange._frames import apply_affine

__all__ = [
    "SUCCESS_MM",
    "Outcome",
    "Records",
    "compare_table",
    "inverse_consistency_mm",
    "markdown_table",
    "overview_table",
    "point_errors_mm",
    "real_table",
    "solved_by_all",
]

SUCCESS_MM = 1.0
"""A case is solved if its mean error is below this."""


@dataclass(frozen=True)
class Outcome:
    """What a method made of a case.

    Attributes:
        case: split and number, or a patient.
        method: its name.
        mean_mm: distance from the truth over brain points; infinite if the method gave up.
        p95_mm: 95th percentile of it.
        inverse_mm: mean distance from where a point lay after the way to the follow-up and back, both found apart.
        seconds: of one direction; the mean of both.
        cpu_seconds: the same, summed over threads: less disturbed by what else the machine does.
        note: why it gave up.
    """

    case: str
    method: str
    mean_mm: float
    p95_mm: float
    inverse_mm: float
    seconds: float
    cpu_seconds: float
    note: str = ""


class Records:
    """Results of finished runs, one JSON object a line, so that a killed benchmark goes on where it was.

    Args:
        path: file that grows; nothing is kept without one.
    """

    def __init__(self, path: Path | None):
        self.path = path
        lines = path.read_text().splitlines() if path is not None and path.exists() else []
        self._known = {(record["kind"], record["case"], record["method"]): record for record in map(json.loads, lines)}

    def find(self, kind: str, case: str, method: str) -> dict | None:
        """An earlier result."""
        record = self._known.get((kind, case, method))
        return None if record is None else {key: value for key, value in record.items() if key != "kind"}

    def add(self, kind: str, result: Outcome | dict) -> dict:
        """Keep a result, and return it as a dict."""
        record = result if isinstance(result, dict) else asdict(result)
        self._known[kind, record["case"], record["method"]] = {"kind": kind, **record}
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps({"kind": kind, **record}) + "\n")
        return record


def point_errors_mm(found: np.ndarray, truth: np.ndarray, points_mm: np.ndarray) -> np.ndarray:
    """Distances (N,) between where two matrices (4, 4) put points (N, 3)."""
    return np.linalg.norm(apply_affine(found, points_mm) - apply_affine(truth, points_mm), axis=1)


def inverse_consistency_mm(forth: np.ndarray, back: np.ndarray, points_mm: np.ndarray) -> float:
    """Mean distance of points (N, 3) from themselves after the way forth and back."""
    return float(point_errors_mm(back @ forth, np.eye(4), points_mm).mean())


def solved_by_all(outcomes: Iterable[Outcome]) -> list[str]:
    """Cases that every method was tried on and solved."""
    outcomes = list(outcomes)
    methods = {o.method for o in outcomes}
    solved = {(o.case, o.method) for o in outcomes if o.mean_mm < SUCCESS_MM}
    cases = dict.fromkeys(o.case for o in outcomes)
    return [case for case in cases if all((case, method) in solved for method in methods)]


def overview_table(outcomes: Sequence[Outcome]) -> Table:
    """A row a method: over all cases, and on those that every method solves."""
    common = set(solved_by_all(outcomes))
    head = ["method", "solved", "median, mm", "p95, mm", "points' p95, mm", "inverse, mm", "seconds", "CPU seconds"]
    rows = []
    for method in dict.fromkeys(o.method for o in outcomes):
        own = [o for o in outcomes if o.method == method]
        shared = np.array([o.mean_mm for o in own if o.case in common])
        tails = np.array([o.p95_mm for o in own if o.case in common])
        solved = [o for o in own if o.mean_mm < SUCCESS_MM]
        rows.append(
            [
                method,
                f"{len(solved)}/{len(own)}",
                *(_number(f(v, q)) for f, v, q in ((_quantile, shared, 0.5), (_quantile, shared, 0.95))),
                _number(_quantile(tails, 0.5)),
                _number(_quantile(np.array([o.inverse_mm for o in solved]), 0.5), 4),
                _number(_quantile(np.array([o.seconds for o in own]), 0.5), 1),
                _number(_quantile(np.array([o.cpu_seconds for o in own]), 0.5), 1),
            ]
        )
    return markdown_table(head, rows)


def compare_table(outcomes: Sequence[Outcome], ours: str, peers: Sequence[str]) -> Table:
    """A row a peer: ours over theirs on the cases that both solve (below 1 we are better)."""
    head = ["against", "both solve", "only ours", "only theirs", "median", "p95", "closer in", "seconds", "CPU seconds"]
    own = {o.case: o for o in outcomes if o.method == ours}
    rows = []
    for peer in peers:
        pairs = [(own[o.case], o) for o in outcomes if o.method == peer and o.case in own]
        one, other = (np.array([[p[i].mean_mm < SUCCESS_MM for p in pairs]], dtype=bool)[0] for i in (0, 1))
        both = [pair for pair, good in zip(pairs, one & other, strict=True) if good]
        ratios = ["–"] * 5
        if both:
            errors = np.array([[o.mean_mm for o in pair] for pair in both])
            times = [np.array([[getattr(o, n) for o in pair] for pair in both]) for n in ("seconds", "cpu_seconds")]
            middle, tail = (np.quantile(errors, q, axis=0) for q in (0.5, 0.95))
            closer = int((errors[:, 0] < errors[:, 1]).sum())
            ratios = [f"{m[0] / m[1]:.2f}" for m in (middle, tail)]
            spent = [np.median(time, axis=0) for time in times]
            ratios += [f"{closer}/{len(both)}", *(f"{time[0] / time[1]:.2f}" for time in spent)]
        rows.append([peer, str(len(both)), str((one & ~other).sum()), str((other & ~one).sum()), *ratios])
    return markdown_table(head, rows)


def real_table(outcomes: Sequence[Outcome]) -> Table:
    """A row a method, for each patient the distance to the data set's own transform, and seconds."""
    patients = list(dict.fromkeys(o.case for o in outcomes))
    head = ["method", *(f"{patient}, {what}" for patient in patients for what in ("mm", "inverse, mm", "s", "CPU s"))]
    rows = []
    for method in dict.fromkeys(o.method for o in outcomes):
        by_case = {o.case: o for o in outcomes if o.method == method}
        cells = [by_case.get(patient) for patient in patients]
        rows.append([method, *(text for outcome in cells for text in _real_cells(outcome))])
    return markdown_table(head, rows)


def _real_cells(outcome: Outcome | None) -> list[str]:
    if outcome is None:
        return ["–"] * 4
    values = (outcome.mean_mm, outcome.inverse_mm, outcome.seconds, outcome.cpu_seconds)
    return [_number(value, digits) for value, digits in zip(values, (3, 4, 1, 1), strict=True)]


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table that prints as Markdown."""
    table = Table(*head, box=box.MARKDOWN)
    for row in rows:
        table.add_row(*row)
    return table


def _quantile(values: np.ndarray, share: float) -> float:
    return float(np.quantile(values, share)) if values.size else float("nan")


def _number(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else "–"
