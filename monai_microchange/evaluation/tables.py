# SPDX-License-Identifier: Apache-2.0
"""What an evaluation shows on the screen."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from monai_microchange.evaluation.class_scores import Row
from monai_microchange.evaluation.report import RANKED
from monai_microchange.evaluation.trained_on import TRAINED_ON

__all__ = ["print_report"]

WIDTH = 120

LESIONS = {
    "true": "n_reference",
    "found": "n_found",
    "reported": "n_predicted",
    "false": "n_false",
    "sens": "sensitivity",
    "prec": "precision",
    "F1": "f1",
}
OVERLAP = {"covF1": "coverage_f1", "Dice": "dice", "volume": "volume_ratio"}
DISTANCE = {"ASSD mm": "surface_mm", "HD95 mm": "hausdorff95_mm", "lesion mm": "lesion_surface_mm"}
DIRECTION = {"direction": "direction_accuracy"}
CASES = {**LESIONS, **OVERLAP, "ASSD mm": "surface_mm", **DIRECTION}
NO_CHANGE = {"pairs": "n_no_change", "false lesions per pair": "false_lesions", "mm³ per pair": "false_mm3"}
CONFIDENCE = {
    "reported": "n_predicted",
    "AP": "average_precision",
    **{f"sens@{f}": f"sensitivity_at_{f}_false" for f in ("0.5", "1", "2", "4", "8")},
    "ECE": "ece",
    "ECE mass": "ece_equal_mass",
    "Brier": "brier",
}
"""Heads of the columns, and the figures under them."""

LEGEND = (
    "Lesions are components, matched one to one by IoU. covF1: F1 by the coverage rule of older papers, not to be "
    "quoted alone. volume: reported / true. ASSD, HD95: average and 95th percentile of surface distance of the whole "
    "maps; lesion mm: median ASSD of the found lesions. direction: right share of the found. sens@n: sensitivity at n "
    "false lesions per pair. Dice, volume and distances are means over cases. - is undefined."
)


def print_report(report: Mapping[str, Any], console: Console | None = None) -> None:
    """Tables of at most 120 columns: each case, all cases by class and by size, no-change pairs, confidence."""
    console = console or Console(highlight=False, width=WIDTH)
    if report["trained_on"]:
        console.print(f"[bold red]{TRAINED_ON}:[/] {escape(', '.join(report['trained_on']))}")
    if not report["training_inputs_known"]:
        console.print(
            "The weights do not say all that they learnt from: whether these scans are among it is not known."
        )
    names = list(dict.fromkeys(row["case"] for row in report["cases"]))
    whole = names[0] if len(names) == 1 else f"{len(names)} cases, lesions pooled"
    mark = " (TRAINING-SET SCORES)" if report["trained_on"] else ""
    if len(names) > 1:
        each = [row for row in (*report["cases"], *report["mean"]) if row["change"] in RANKED]
        console.print(_table(f"Each case{mark}", ("case", "change"), CASES, each))
    console.print(
        _table(
            f"By class: {whole}{mark}", ("change",), {**LESIONS, **OVERLAP, **DISTANCE, **DIRECTION}, report["pooled"]
        )
    )
    sizes = [row for row in report["pooled_by_size"] if row["change"] in RANKED]
    console.print(_table(f"By size in mm³, each side by its own: {whole}{mark}", ("change", "size"), LESIONS, sizes))
    unchanged = [row for row in report["pooled"] if row["n_no_change"] and row["change"] in RANKED]
    if unchanged:
        console.print(_table(f"Pairs without any change{mark}", ("change",), NO_CHANGE, unchanged))
    console.print(
        _table(f"Confidence of the reported lesions: {whole}{mark}", ("change",), CONFIDENCE, report["confidence"])
    )
    console.print(LEGEND, style="dim")


def _table(title: str, keys: Sequence[str], columns: Mapping[str, str], rows: Iterable[Row]) -> Table:
    table = Table(title=f"\n{escape(title)}", title_justify="left", title_style="bold", box=None, pad_edge=False)
    for key in keys:
        table.add_column(key, overflow="fold")
    for head in columns:
        table.add_column(head, justify="right", no_wrap=True)
    previous: tuple[Any, ...] = ()
    for row in rows:
        labels = tuple(row[key] for key in keys)
        # a name that stands above is not said again
        shown = [
            "" if len(keys) > 1 and n == 0 and labels[:1] == previous[:1] else str(x) for n, x in enumerate(labels)
        ]
        table.add_row(*map(escape, shown), *(_cell(row[name]) for name in columns.values()))
        previous = labels
    return table


def _cell(value: float) -> str:
    """A figure as text.

    >>> _cell(3), _cell(0.25), _cell(math.nan), _cell(120.0)
    ('3', '0.25', '-', '120')
    """
    if isinstance(value, int):
        return str(value)
    if math.isnan(value):
        return "-"
    return f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"
