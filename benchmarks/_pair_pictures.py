# SPDX-License-Identifier: Apache-2.0
"""Pictures that set real and simulated pairs side by side. Colours are those of Okabe and Ito (2008)."""

from collections.abc import Sequence
from pathlib import Path
from string import ascii_uppercase

import numpy as np
from _pair_measures import ChangedComponent, changed_components
from _pair_sources import Pair
from _picture_file import save_picture
from matplotlib.axes import Axes
from matplotlib.figure import Figure

REAL_COLOUR, SIMULATED_COLOUR, OUTLINE_COLOUR = "#e69f00", "#0072b2", "#009e73"
WIDTH_INCH, DPI = 14.0, 100
GREY_RANGE = (0.0, 1.9)
DIFFERENCE_RANGE = 0.5


def draw_blind_pairs(path: Path, pairs: Sequence[Pair], random: np.random.RandomState) -> list[str]:
    """Draw baseline, follow-up and their difference of each pair, in random order and without a word on its origin.

    Returns:
        The key: a line a pair, its letter and where it comes from.
    """
    shuffled = [pairs[i] for i in random.permutation(len(pairs))]
    n_rows = -(-len(shuffled) // 2)
    figure = Figure(figsize=(WIDTH_INCH, n_rows * 2.75 + 0.4), dpi=DPI, facecolor="black", layout="constrained")
    halves = figure.subfigures(n_rows, 2, squeeze=False, wspace=0.02, hspace=0.01)
    for half in halves.flat:
        half.set_facecolor("black")
    for letter, pair, half in zip(ascii_uppercase, shuffled, halves.flat, strict=False):
        panels = half.subplots(1, 3)
        k = _slice_to_show(pair, random)
        for axes, title in zip(panels, ("baseline", "follow-up", "difference"), strict=True):
            axes.set_title(title, color="white", fontsize=10)
        panels[0].text(0.03, 0.95, letter, transform=panels[0].transAxes, color="white", fontsize=16, va="top")
        show_grey(panels[0], pair.baseline[:, :, k])
        show_grey(panels[1], pair.followup[:, :, k])
        show_difference(panels[2], (pair.followup - pair.baseline)[:, :, k])
    save_picture(figure, path)
    return [
        f"{a}: {'real' if p.is_real else 'simulated'}, {p.scan}"
        for a, p in zip(ascii_uppercase, shuffled, strict=False)
    ]


def _slice_to_show(pair: Pair, random: np.random.RandomState) -> int:
    """Any slice that shows change, rather than that which shows most: or one pair would look the same in each block."""
    area = pair.change.sum(axis=(0, 1)) * (pair.brain.mean(axis=(0, 1)) > 0.4)
    return int(random.choice(np.flatnonzero(area >= min(20, area.max()))))


def draw_lesions(
    path: Path, real: Sequence[Pair], simulated: Sequence[Pair], *, count: int = 9, edge: int = 32
) -> None:
    """Draw boxes around real changes and, below each, around the simulated one most like it in size and direction."""
    theirs = sorted(_pieces(real, edge), key=lambda one: one[1].volume_mm3)
    ours = _pieces(simulated, edge)
    if not theirs or not ours:
        raise ValueError(f"there is no change to draw: both kinds of pair need some, {edge // 2} mm from the border")
    chosen = [
        theirs[i] for i in (np.linspace(0.05, 0.95, min(count, len(ours))) * (len(theirs) - 1)).round().astype(int)
    ]
    figure = Figure(figsize=(WIDTH_INCH, 9.6), dpi=DPI, facecolor="black", layout="constrained")
    panels = figure.subplots(6, len(chosen), squeeze=False)
    for column, one in zip(panels.T, chosen, strict=True):
        like = ours.pop(int(np.argmin([_unlikeness(one[1], piece) for _, piece in ours])))
        for rows, (pair, piece) in ((column[:3], one), (column[3:], like)):
            _show_piece(rows, pair, piece, edge)
    for row, kind in ((0, "real"), (3, "simulated")):
        for offset, name in enumerate(("baseline", "follow-up", "difference")):
            panels[row + offset, 0].set_ylabel(f"{kind}\n{name}", color="white", fontsize=10)
    save_picture(figure, path)


def draw_distributions(
    path: Path, real: dict[str, list[float]], simulated: dict[str, list[float]], distances: dict[str, float]
) -> None:
    """Draw a histogram of each measure, real against simulated, with their Kolmogorov-Smirnov distance."""
    n_rows = -(-len(real) // 4)
    figure = Figure(figsize=(WIDTH_INCH, 2.6 * n_rows + 0.5), dpi=DPI, layout="constrained")
    panels = figure.subplots(n_rows, 4, squeeze=False).flat
    for axes, (measure, values) in zip(panels, real.items(), strict=False):
        both = [values, simulated.get(measure, [])]
        wide = min(min(v, default=1) for v in both) > 0 and max(map(max, filter(len, both))) > 30
        _histogram(axes, both, logarithmic=wide)
        axes.set_title(f"{measure}\nKS {distances[measure]:.2f}", fontsize=9)
    for axes in panels[len(real) :]:
        axes.set_axis_off()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False)
    save_picture(figure, path)


def _histogram(axes: Axes, both: Sequence[Sequence[float]], *, logarithmic: bool) -> None:
    low, high = np.quantile(np.concatenate(both), (0.0, 0.99))
    edges = (np.geomspace(low, high, 21) if logarithmic else np.linspace(low, high, 21)).tolist()
    for values, colour, name in zip(both, (REAL_COLOUR, SIMULATED_COLOUR), ("real", "simulated"), strict=True):
        weights = np.full(len(values), 1 / max(len(values), 1))
        axes.hist(values, edges, weights=weights, color=colour, alpha=0.35)
        axes.hist(values, edges, weights=weights, color=colour, histtype="step", linewidth=1.8, label=name)
    if logarithmic:
        axes.set_xscale("log")
    axes.set_yticks([])
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _pieces(pairs: Sequence[Pair], edge: int) -> list[tuple[Pair, ChangedComponent]]:
    """Every change around which a box of this edge fits into its volume."""
    return [
        (pair, piece)
        for pair in pairs
        for piece in changed_components(pair.baseline, pair.followup, pair.change, pair.brain)
        if all(edge // 2 <= c <= n - edge // 2 for c, n in zip(piece.centre[:2], pair.change.shape, strict=False))
    ]


def _unlikeness(one: ChangedComponent, other: ChangedComponent) -> float:
    return abs(float(np.log(one.volume_mm3 / other.volume_mm3))) + 10.0 * (one.contrast * other.contrast < 0)


def _show_piece(rows: Sequence[Axes], pair: Pair, piece: ChangedComponent, edge: int) -> None:
    i, j, k = piece.centre
    box = (slice(i - edge // 2, i + edge // 2), slice(j - edge // 2, j + edge // 2), k)
    baseline, followup, change = pair.baseline[box], pair.followup[box], pair.change[box]
    show_grey(rows[0], baseline)
    show_grey(rows[1], followup)
    show_difference(rows[2], followup - baseline)
    rows[2].contour(change.T, levels=[0.5], colors=OUTLINE_COLOUR, linewidths=1.2)
    rows[0].set_title(f"{piece.volume_mm3:.0f} mm³, {piece.contrast:+.2f}", color="white", fontsize=9)


def show_grey(axes: Axes, plane: np.ndarray) -> None:
    _show(axes, plane, "gray", *GREY_RANGE)


def show_difference(axes: Axes, plane: np.ndarray) -> None:
    _show(axes, plane, "RdBu_r", -DIFFERENCE_RANGE, DIFFERENCE_RANGE)


def _show(axes: Axes, plane: np.ndarray, colours: str, low: float, high: float) -> None:
    """First axis to the right, second upwards."""
    axes.imshow(plane.T, cmap=colours, vmin=low, vmax=high, origin="lower", interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.set_frame_on(False)
