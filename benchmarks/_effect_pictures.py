# SPDX-License-Identifier: Apache-2.0
"""A picture of every effect of the package, alone on one scan."""

import inspect
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from _pair_pictures import DPI, WIDTH_INCH, show_difference, show_grey
from _picture_file import save_picture
from matplotlib.figure import Figure

from monai_microchange.enums import Anatomy
from monai_microchange.transforms import effects


def effect_classes() -> list[type[effects.Effect]]:
    """Every effect that the package offers, by name: a new one is here as soon as it is exported."""
    offered = [getattr(effects, name) for name in effects.__all__]
    found = [c for c in offered if inspect.isclass(c) and issubclass(c, effects.Effect) and not inspect.isabstract(c)]
    return sorted(found, key=lambda effect: effect.__name__)


def draw_effects(
    path: Path, image: torch.Tensor, anatomy: torch.Tensor, random: np.random.RandomState, *, draws: int = 3
) -> None:
    """Draw before, after and difference of each effect, on the slice where it does most.

    Args:
        path: picture to write.
        image: scan (1, I, J, K), 1 mm, white matter at 1.
        anatomy: its `Anatomy` labels (1, I, J, K).
        random: source of the draws.
        draws: of each effect as many are drawn at full severity, and the one that does most is shown.
    """
    kinds = effect_classes()
    n_rows = -(-len(kinds) // 2)
    figure = Figure(figsize=(WIDTH_INCH, n_rows * 2.75 + 0.2), dpi=DPI, facecolor="black", layout="constrained")
    halves = figure.subfigures(n_rows, 2, squeeze=False, wspace=0.02)
    for half in halves.flat:
        half.set_facecolor("black")
    for kind, half in zip(kinds, halves.flat, strict=False):
        result = strongest(image, [kind.draw(random)(image, anatomy=anatomy) for _ in range(draws)])
        before, after = image[0].numpy(), result[0].numpy()
        plane = busiest_plane(np.abs(after - before), (anatomy[0] != Anatomy.BACKGROUND).numpy())
        panels = half.subplots(1, 3)
        show_grey(panels[0], before[plane])
        show_grey(panels[1], after[plane])
        show_difference(panels[2], (after - before)[plane])
        for axes, title in zip(panels, (f"{kind.__name__}: before", "after", "difference"), strict=True):
            axes.set_title(title, color="white", fontsize=10)
    save_picture(figure, path)


def strongest(image: torch.Tensor, results: Sequence[torch.Tensor]) -> torch.Tensor:
    """The result farthest from the image."""
    return max(results, key=lambda result: float((result - image).abs().mean()))


def busiest_plane(difference: np.ndarray, region: np.ndarray) -> tuple[int | slice, ...]:
    """Index of the plane, through the middle half of the region, in which a difference (I, J, K) is largest."""
    best: tuple[float, tuple[int | slice, ...]] = (-1.0, ())
    for axis in range(3):
        filled = np.flatnonzero(region.any(axis=tuple(a for a in range(3) if a != axis)))
        low, high = np.quantile(filled, (0.25, 0.75)).astype(int)
        for n in range(low, high + 1):
            plane = tuple(n if a == axis else slice(None) for a in range(3))
            best = max(best, (float(difference[plane].mean()), plane), key=lambda one: one[0])
    return best[1]
