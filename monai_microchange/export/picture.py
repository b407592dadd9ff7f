# SPDX-License-Identifier: Apache-2.0
"""A picture of a pair: slices of both visits side by side, the change outlined in the colours of its types."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import numpy.typing as npt

from monai_microchange._frames import apply_affine, spacing_from_affine
from monai_microchange.enums import ChangeType
from monai_microchange.export.slice_choice import choose_slices
from monai_microchange.export.slicer import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_pair"]

COLUMN_INCH, HEADER_INCH, LEGEND_INCH = 3.4, 0.4, 0.8
MARGIN_MM = 4.0


@dataclass(frozen=True)
class _View:
    """What is drawn, axes along left, posterior, superior: so [i, j] is x to the viewer's right and y downwards."""

    scans: tuple[np.ndarray, np.ndarray]
    change: np.ndarray
    inside: np.ndarray
    affine: np.ndarray

    @property
    def spacing(self) -> np.ndarray:
        return spacing_from_affine(self.affine)

    def limits_mm(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Range of x and of y that holds the region and all change, with a margin, in mm from the grid's corner."""
        ranges = []
        for axis in (0, 1):
            filled = self.inside.sum(axis=(1 - axis, 2))
            # Stray voxels of a region, such as a speck of noise in the air, must not shrink the head.
            shown = (filled > 0.01 * filled.max()) | self.change.any(axis=(1 - axis, 2))
            index = np.flatnonzero(shown)
            low, high = index[0] * self.spacing[axis], (index[-1] + 1) * self.spacing[axis]
            end = len(shown) * self.spacing[axis]
            ranges.append((float(max(low - MARGIN_MM, 0)), float(min(high + MARGIN_MM, end))))
        return ranges[0], ranges[1]


def draw_pair(
    path: Path | str,
    baseline: npt.ArrayLike,
    followup: npt.ArrayLike,
    change: npt.ArrayLike,
    *,
    affine: npt.ArrayLike,
    region: npt.ArrayLike | None = None,
    n_rows: int = 4,
    title: str | None = None,
) -> None:
    """Draw axial slices of a pair on one grid, in columns baseline, follow-up, follow-up with the change outlined.

    The slices are those that together show most of the change (`choose_slices`), from top to bottom of the head, in
    the radiological view: the patient's right is on the left, whatever the order of the array's axes. Both visits get
    their grey levels by the same rule, each from its own voxels. The file says nothing about the patient but what
    `title` says.

    Args:
        path: picture to write; its ending says the format (`.png`, `.svg`, `.pdf`).
        baseline: scan (I, J, K).
        followup: scan (I, J, K).
        change: labels (I, J, K), 0 or a `ChangeType`.
        affine: (4, 4), voxel to RAS mm, of that grid.
        region: mask (I, J, K), for example the brain, to which the view and the grey levels are fitted; without it
            whatever is bright.
        n_rows: number of slices; fewer where the grid has fewer. Without change they are spread evenly.
        title: line above the picture.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: arrays that are not 3D or differ in shape, labels other than 0 to 4, or `n_rows` below 1.

    Example:
        >>> import tempfile
        >>> scan = np.random.default_rng(0).random((20, 24, 16))
        >>> change = np.zeros(scan.shape, dtype=np.uint8)
        >>> change[8:11, 8:11, 8:11] = ChangeType.NEW
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     draw_pair(f"{folder}/pair.png", scan, scan, change, affine=np.eye(4), n_rows=2)
        ...     Path(f"{folder}/pair.png").stat().st_size > 1000
        True
    """
    view = _view(baseline, followup, change, region, np.asarray(affine, dtype=np.float64))
    # From the top of the head to its bottom.
    slices = choose_slices(view.change, n_rows, spacing_mm=tuple(view.spacing), region=view.inside)[::-1]
    (left, right), (top, bottom) = view.limits_mm()
    row_inch = COLUMN_INCH * (bottom - top) / (right - left)
    header_inch = HEADER_INCH * (2 if title else 1)
    size = 3 * COLUMN_INCH, len(slices) * row_inch + header_inch + LEGEND_INCH

    figure = _new_figure(size)
    edges = {"left": 0.0, "right": 1.0, "bottom": LEGEND_INCH / size[1], "top": 1 - header_inch / size[1]}
    panels = figure.subplots(len(slices), 3, squeeze=False, gridspec_kw=edges | {"wspace": 0.01, "hspace": 0.01})
    _draw_panels(panels, view, slices)
    _write_texts(figure, panels, view, slices, title)
    figure.savefig(path, dpi=150, facecolor="black")


def _view(
    baseline: npt.ArrayLike,
    followup: npt.ArrayLike,
    change: npt.ArrayLike,
    region: npt.ArrayLike | None,
    affine: np.ndarray,
) -> _View:
    given = {"baseline": baseline, "followup": followup, "change": change}
    arrays = {name: np.asarray(array) for name, array in given.items()}
    arrays["region"] = _bright(arrays) if region is None else np.asarray(region) > 0
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) != 1 or arrays["change"].ndim != 3:
        raise ValueError(f"Expected arrays (I, J, K) of one shape, got {shapes}: resample them to one grid first.")
    if not np.isin(arrays["change"], [0, *ChangeType]).all():
        raise ValueError(f"change must hold only 0 and the ChangeType values 1 to 4, got {arrays['change'].max()}.")
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(affine), nib.orientations.axcodes2ornt(("L", "P", "S"))
    )
    turned = {name: nib.orientations.apply_orientation(array, turn) for name, array in arrays.items()}
    return _View(
        scans=(turned["baseline"], turned["followup"]),
        change=turned["change"],
        inside=turned["region"] if turned["region"].any() else np.ones_like(turned["region"]),
        affine=affine @ nib.orientations.inv_ornt_aff(turn, arrays["change"].shape),
    )


def _bright(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Where either scan exceeds a fifth of its bright end: the head, without the air around it."""
    return np.any([a > 0.2 * np.quantile(a, 0.99) for a in (arrays["baseline"], arrays["followup"])], axis=0)


def _new_figure(size_inch: tuple[float, float]) -> "Figure":
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            'Pictures need matplotlib: install it with `pip install "monai-microchange[report]"`.'
        ) from error
    # Not through pyplot: the caller's figures and backend stay as they are, and no display is needed.
    figure = Figure(figsize=size_inch, facecolor="black")
    FigureCanvasAgg(figure)
    return figure


def _draw_panels(panels: np.ndarray, view: _View, slices: list[int]) -> None:
    limits = view.limits_mm()
    grey = [np.quantile(scan[view.inside], (0.005, 0.998)) for scan in view.scans]
    end = np.asarray(view.change.shape) * view.spacing
    for row, k in zip(panels, slices, strict=True):
        for axes, visit in zip(row, (0, 1, 1), strict=True):
            low, high = grey[visit]
            axes.imshow(
                view.scans[visit][:, :, k].T,
                cmap="gray",
                vmin=low,
                vmax=max(high, low + 1e-6),
                extent=(0, end[0], end[1], 0),
                interpolation="bicubic",
            )
            axes.set(xlim=limits[0], ylim=limits[1][::-1])
            axes.set_axis_off()
        for kind in ChangeType:
            _outline(row[2], view.change[:, :, k] == kind, view.spacing, _colour(kind))


def _colour(kind: ChangeType) -> str:
    return "#{:02x}{:02x}{:02x}".format(*COLOURS[kind])


def _outline(axes: "Axes", mask: np.ndarray, spacing_mm: np.ndarray, colour: str) -> None:
    """Draw the voxel edges around a mask (I, J): exact, however small the lesion."""
    from matplotlib.collections import LineCollection

    padded = np.pad(mask, 1)
    upright = np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1])  # from corner (i, j) to (i, j + 1)
    level = np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1])  # from corner (i, j) to (i + 1, j)
    segments = [np.stack([start, start + step], axis=1) for start, step in ((upright, (0, 1)), (level, (1, 0)))]
    lines = np.concatenate(segments) * spacing_mm[:2]
    axes.add_collection(LineCollection(list(lines), colors=[colour], linewidths=1.3, capstyle="projecting"))


def _write_texts(figure: "Figure", panels: np.ndarray, view: _View, slices: list[int], title: str | None) -> None:
    from matplotlib.lines import Line2D

    for axes, text in zip(panels[0], ("Baseline", "Follow-up", "Follow-up, change outlined"), strict=True):
        axes.set_title(text, color="white", fontsize=12)
        for x, side in ((0.04, "R"), (0.96, "L")):
            axes.text(x, 0.97, side, transform=axes.transAxes, color="white", ha="center", va="top", fontsize=11)
    middle = (np.asarray(view.change.shape) - 1) / 2
    for axes, k in zip(panels[:, 0], slices, strict=True):
        height = apply_affine(view.affine, np.array([middle[0], middle[1], k]))[2]
        axes.text(0.03, 0.02, f"z {height:+.0f} mm", transform=axes.transAxes, color="white", fontsize=10)
    bottom = 1 / figure.get_size_inches()[1]
    note = "Radiological view: the patient's right (R) is on the left."
    if not view.change.any():
        note = f"No change marked. {note}"
    figure.text(0.5, 0.12 * bottom, note, color="0.75", ha="center", fontsize=10)
    if title:
        figure.suptitle(title, color="white", fontsize=13, y=1 - 0.1 * bottom, va="top")
    volume = np.bincount(view.change.astype(np.int64).ravel(), minlength=5) * np.prod(view.spacing)
    names = {kind: f"{kind.name.capitalize()} {volume[kind]:.0f} mm³" for kind in ChangeType}
    figure.legend(
        handles=[Line2D([], [], color=_colour(kind), linewidth=4, label=name) for kind, name in names.items()],
        ncols=len(names),
        loc="lower center",
        bbox_to_anchor=(0.5, 0.3 * bottom),
        frameon=False,
        labelcolor="white",
        fontsize=12,
    )
