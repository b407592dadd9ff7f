# SPDX-License-Identifier: Apache-2.0
"""What a confidence is worth, in three pictures: false alarms, reliability, detection limit."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _candidates import PairRecord
from _confidence_report import confidences, found_truth, planted_table, rate_bound
from _picture_file import save_picture
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from monai_microchange.metrics import compute_reliability
from monai_microchange.postprocessing import ConfidenceModel

__all__ = ["draw_confidence"]

Judged = Sequence[tuple[ConfidenceModel, float, PairRecord]]

LEVELS = np.linspace(0, 1, 101)
VOLUME_EDGES_MM3 = (3, 5, 8, 12, 20, 35, 70, 200)
CONTRASTS = ((0.08, 0.3, "faint"), (0.3, 0.7, "ordinary"), (0.7, 1.01, "bright"))
COLOURS = {"faint": "#9bb7d4", "ordinary": "#2c6fa8", "bright": "#0b2e4f"}


def draw_confidence(path: Path, judged: Judged) -> None:
    """Draw the three pictures side by side.

    Args:
        path: PNG file.
        judged: each pair with the confidence that judges it, and the least confidence that counts.
    """
    figure = Figure(figsize=(12, 3.8), layout="constrained", dpi=110)
    axes = figure.subplots(1, 3)
    _false_alarms(axes[0], judged)
    _reliability(axes[1], judged)
    _detection(axes[2], judged)
    for one in axes:
        one.grid(alpha=0.3)
        one.spines[["top", "right"]].set_visible(False)
    save_picture(figure, path)


def _of(judged: Judged, kind: str) -> Judged:
    return [one for one in judged if one[2].about["kind"] == kind]


def _false_alarms(axes: Axes, judged: Judged) -> None:
    stable, changed = _of(judged, "stable"), _of(judged, "changed")
    false = np.concatenate([confidences(model, one) for model, _, one in stable])
    counts = np.array([(false >= level).sum() for level in LEVELS])
    found = [np.mean(np.concatenate([found_truth(m, one, level) for m, _, one in changed])) for level in LEVELS]
    axes.plot(counts / len(stable), found, color=COLOURS["ordinary"])
    bounds = [rate_bound(int(n), len(stable)) for n in counts]
    axes.plot(bounds, found, color=COLOURS["faint"], linestyle="--", label="upper 95 % bound")
    axes.set(xscale="log", xlabel="false lesions in a pair without change", ylabel="true changes found")
    axes.set(ylim=(0, 1), title=f"{len(stable)} re-scans without change, {len(changed)} with")
    axes.legend(frameon=False, loc="lower right")


def _reliability(axes: Axes, judged: Judged) -> None:
    simulated = [*_of(judged, "stable"), *_of(judged, "changed")]
    axes.plot([0, 1], [0, 1], color="0.7", linestyle=":")
    for name, some, colour in (("simulated", simulated, "ordinary"), ("real", _of(judged, "real"), "bright")):
        sure = np.concatenate([confidences(model, one) for model, _, one in some])
        curve = compute_reliability(sure, np.concatenate([one.is_true[one.judged] for *_, one in some]), n_bins=6)
        label = f"{name}: {len(sure)} lesions, ECE {curve.expected_error:.3f}"
        axes.plot(curve.mean_confidence, curve.true_share, marker="o", color=COLOURS[colour], label=label)
    axes.set(xlabel="confidence", ylabel="share that is true", xlim=(0, 1), ylim=(0, 1), title="Calibration")
    axes.legend(frameon=False, loc="upper left")


def _detection(axes: Axes, judged: Judged) -> None:
    planted = planted_table(_of(judged, "changed"))
    edges = np.asarray(VOLUME_EDGES_MM3, dtype=float)
    for low, high, name in CONTRASTS:
        rows = planted[(planted[:, 1] >= low) & (planted[:, 1] < high)]
        place = np.digitize(rows[:, 0], edges) - 1
        inside = [rows[place == k, 2] for k in range(len(edges) - 1)]
        some = [k for k, values in enumerate(inside) if len(values) >= 3]
        middle = np.sqrt(edges[:-1] * edges[1:])[some]
        shares, label = [inside[k].mean() for k in some], f"{name} ({low:g} to {min(high, 1):g})"
        axes.plot(middle, shares, marker="o", color=COLOURS[name], label=label)
    axes.axhline(0.8, color="0.7", linestyle=":")
    axes.set(xscale="log", xlabel="volume inserted, mm³", ylabel="found", ylim=(0, 1.02), title="Detection limit")
    axes.legend(frameon=False, title="contrast to white matter", loc="lower right")
