# SPDX-License-Identifier: Apache-2.0
"""Tables of the results on real pairs, in Markdown."""

from collections.abc import Sequence

from _real_scores import DRAWS, PooledScores
from truth_grid import PairScores

__all__ = ["markdown", "score_table", "size_table", "stage_table"]

SUBTRACTION_ORACLE = {"patient01": (0.658, 0.182), "patient19": (0.480, 0.362)}
"""Dice and lesion-wise F1, each the best of 96 subtraction settings chosen with the truth in hand.

Plain subtraction is best for patient01; for patient19 that after N4 and local standardisation (12 mm).
"""

NOTE = f"""\
F1, sensitivity, precision: lesions of at least 3 mm³ matched one to one, IoU at least 0.1. Volume ratio: predicted over
true. Direction: found lesions of clear contrast whose sign is right. Registration: mean distance to the data set's own
affine. Subtraction oracle: best of 96 subtraction settings chosen with the truth in hand, for Dice and F1 apart; no
fixed setting does as well. Pooled: over the lesions of all pairs; Dice is the mean of the pairs. In brackets: 95 % of
{DRAWS} resamplings of the lesions within each pair, so what hangs on single lesions of these patients; it says nothing
about other patients."""


def stage_table(provenance: dict[str, dict]) -> str:
    """A row a stage, a column a pair, from each `result.json`."""
    stages = list(dict.fromkeys(stage for p in provenance.values() for stage in p["seconds"]))
    rows = [[s, *(f"{p['seconds'].get(s, float('nan')):.1f}" for p in provenance.values())] for s in stages]
    if "total" not in stages:
        rows.append(["total", *(f"{sum(p['seconds'].values()):.1f}" for p in provenance.values())])
    rows.append(["peak memory, MB", *(f"{p['peak_memory_mb']:.0f}" for p in provenance.values())])
    return markdown(["stage", *provenance], rows)


def score_table(scores: dict[str, PairScores], pooled: PooledScores) -> str:
    """Two rows a patient, the result and what subtraction can reach at best; and one of all pairs together."""
    rows = []
    for patient, s in scores.items():
        values = (s.lesions.dice, s.lesions.f1, s.lesions.sensitivity, s.lesions.precision)
        direction = f"{s.n_direction_ok}/{s.n_direction}"
        ratio, error = f"{s.lesions.volume_ratio:.2f}", f"{s.registration_mm:.2f}"
        rows.append([patient, "microchange", *(f"{v:.3f}" for v in values), ratio, direction, error])
        if patient in SUBTRACTION_ORACLE:
            oracle = [f"{v:.3f}" for v in SUBTRACTION_ORACLE[patient]]
            rows.append([patient, "subtraction oracle", *oracle, *["–"] * 5])
    f1 = f"{pooled.lesions.f1:.3f} [{pooled.f1_interval[0]:.3f}–{pooled.f1_interval[1]:.3f}]"
    shares = [f"{share:.3f}" for share in (pooled.lesions.sensitivity, pooled.lesions.precision)]
    direction = f"{pooled.n_direction_ok}/{pooled.n_direction}"
    rows.append(["pooled", "microchange", f"{pooled.mean_dice:.3f}", f1, *shares, "–", direction, "–"])
    head = ["pair", "method", "Dice", "F1", "sensitivity", "precision", "volume ratio", "direction", "registration, mm"]
    return f"{markdown(head, rows)}\n\n{NOTE}"


def size_table(scores: dict[str, PairScores], pooled: PooledScores) -> str:
    """A row a patient and one of all, a column a range of volume: found / all true ones, and false ones."""
    bounds = [(b.lower_mm3, b.upper_mm3) for b in pooled.by_size]
    head = [f"{lower:g}–{upper:g}" if upper < float("inf") else f"from {lower:g}" for lower, upper in bounds]
    bins = {patient: s.lesions.by_size for patient, s in scores.items()} | {"pooled": pooled.by_size}
    rows = [
        [name, *(f"{b.n_found}/{b.n_reference}, {b.n_false} false" for b in by_size)] for name, by_size in bins.items()
    ]
    return markdown(["pair", *head], rows)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown, with columns of even width so that it also reads as plain text."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in (head, *rows)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
