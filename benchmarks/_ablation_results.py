# SPDX-License-Identifier: Apache-2.0
"""The results of the ablation: a line of JSON for each variant and seed, and a table of them."""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _ablation_variants import FULL, VARIANTS

COLUMNS = (
    "variant",
    "parameters",
    "steps",
    "Dice (min–max)",
    "Dice − full",
    "average precision",
    "F1 (min–max)",
    "F1 − full",
    "false per stable block",
)


def read_results(path: Path) -> list[dict[str, Any]]:
    """All finished runs; a last line that was cut off is not one."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def add_result(path: Path, result: dict[str, Any]) -> None:
    """Append a finished run, after whatever whole lines there are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        end = file.seek(0, 2)
        if end:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
        file.write((json.dumps(result) + "\n").encode())


def find_result(results: Iterable[dict[str, Any]], **wanted: Any) -> dict[str, Any] | None:
    """The first run that has all these values."""
    return next((one for one in results if all(one.get(key) == value for key, value in wanted.items())), None)


def tables(results: Sequence[dict[str, Any]]) -> str:
    """A Markdown table for each setting that there are runs of."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for one in results:
        groups.setdefault(json.dumps(one["settings"], sort_keys=True), []).append(one)
    return "\n\n".join(f"{_heading(group)}\n\n{table(group)}" for group in groups.values())


def table(results: Sequence[dict[str, Any]]) -> str:
    """A row a variant, means over its seeds; differences are between runs of the same seed."""
    rows = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    runs = {name: {one["seed"]: one for one in results if one["variant"] == name} for name in VARIANTS}
    for name, of_seed in runs.items():
        if not of_seed:
            continue
        values = {key: [one[key] for one in of_seed.values()] for key in next(iter(of_seed.values()))}
        cells = (
            name,
            f"{values['parameters'][0]:,}",
            f"{np.mean(values['steps']):.0f}",
            _spread(values["dice"]),
            _difference(of_seed, runs[FULL], "dice") if name != FULL else "–",
            f"{np.mean(values['average_precision']):.3f}",
            _spread(values["f1"]),
            _difference(of_seed, runs[FULL], "f1") if name != FULL else "–",
            f"{np.mean(values['false_per_stable']):.2f}",
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _heading(results: Sequence[dict[str, Any]]) -> str:
    settings = results[0]["settings"]
    seeds = len({one["seed"] for one in results})
    seconds = [one["cpu_s"] for one in results]
    return (
        f"{settings['cpu_minutes']:g} minutes of processor time each (used: {min(seconds):.0f}–{max(seconds):.0f} s), "
        f"channels {settings['channels']}, {settings['draws']} draws, {settings['blocks']} blocks with change and "
        f"{settings['stable_blocks']} without, {seeds} seed(s)"
    )


def _spread(values: Sequence[float]) -> str:
    """Mean, least and greatest.

    >>> _spread([0.25, 0.75])
    '0.500 (0.250–0.750)'
    """
    return f"{np.mean(values):.3f} ({min(values):.3f}–{max(values):.3f})"


def _difference(of_seed: dict[int, dict[str, Any]], full: dict[int, dict[str, Any]], key: str) -> str:
    """Mean over the seeds that both were run with."""
    common = [of_seed[seed][key] - full[seed][key] for seed in of_seed.keys() & full.keys()]
    mean = float(np.mean(common)) if common else math.nan
    return "–" if math.isnan(mean) else f"{mean:+.3f}"
