# SPDX-License-Identifier: Apache-2.0
"""All that is measured of one kind of change, in one case or over several."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from monai_microchange.enums import ChangeType
from monai_microchange.metrics import (
    SIZE_EDGES_MM3,
    LesionCandidates,
    LesionCounts,
    candidates_from_matches,
    count_covered_lesions,
    count_directions,
    count_lesions,
    label_components,
    lesion_surfaces_mm,
    match_lesions,
    pool_candidates,
    surface_mm,
)

__all__ = ["CHANGES", "FIGURES", "SIZES", "ClassScores", "mean_known", "pool_scores", "score_class"]

Row: TypeAlias = dict[str, Any]

CHANGES = {
    "any": tuple(ChangeType),
    "gain": tuple(kind for kind in ChangeType if kind.is_gain),
    "loss": tuple(kind for kind in ChangeType if not kind.is_gain),
    **{kind.name.lower(): (kind,) for kind in ChangeType},
}
"""What is scored apart, and the labels that belong to it."""

_EDGES = [f"{edge:g}" for edge in SIZE_EDGES_MM3]
SIZES = (f"<{_EDGES[0]}", *map("-".join, pairwise(_EDGES)), f">={_EDGES[-1]}")
"""Names of the size bins, in mm3."""

LESION_FIGURES = ("n_reference", "n_found", "n_predicted", "n_false", "sensitivity", "precision", "f1")
"""Of `LesionCounts`."""

CASE_FIGURES = (
    "dice",
    "volume_ratio",
    "surface_mm",
    "hausdorff95_mm",
    "lesion_surface_mm",
    "false_lesions",
    "false_mm3",
)
"""Measured case by case; over several cases the mean of those that have it."""

FIGURES = (*LESION_FIGURES, "coverage_f1", "direction_accuracy", *CASE_FIGURES)


@dataclass(frozen=True, eq=False)
class ClassScores:
    """What is measured of one kind of change.

    Attributes:
        counts: lesions, matched one to one.
        by_size: the same by size bin, in the order of `SIZES`.
        covered: lesions by the coverage rule.
        directions: found lesions whose direction is right, and those that have one.
        candidates: reported lesions with their confidence.
        measured: value of each of `CASE_FIGURES`, NaN where there is none.
        n_cases: how many cases this is of.
        n_no_change: in how many of them nothing at all changed.
    """

    counts: LesionCounts
    by_size: tuple[LesionCounts, ...]
    covered: LesionCounts
    directions: tuple[int, int]
    candidates: LesionCandidates
    measured: dict[str, float]
    n_cases: int = 1
    n_no_change: int = 0

    def figures(self) -> Row:
        """All of `FIGURES`."""
        right, judged = self.directions
        return {
            **lesion_figures(self.counts),
            "coverage_f1": self.covered.f1,
            "direction_accuracy": right / judged if judged else math.nan,
            **self.measured,
        }

    def figures_by_size(self) -> list[Row]:
        """`size` and `LESION_FIGURES` for each size bin."""
        return [{"size": size, **lesion_figures(counts)} for size, counts in zip(SIZES, self.by_size, strict=True)]


def lesion_figures(counts: LesionCounts) -> Row:
    """The figures that follow from counts alone."""
    return {name: getattr(counts, name) for name in LESION_FIGURES}


def score_class(
    change: str,
    found: np.ndarray,
    truth: np.ndarray,
    confidence: np.ndarray,
    *,
    spacing_mm: Sequence[float],
    min_volume_mm3: float,
    min_iou: float,
    signed: bool = True,
) -> ClassScores:
    """Measure one kind of change in one case.

    Args:
        change: one of `CHANGES`.
        found: `ChangeType` labels (I, J, K) that were reported.
        truth: the same of the reference.
        confidence: (I, J, K), of the reported lesion in each voxel.
        spacing_mm: voxel size along I, J, K.
        min_volume_mm3: smallest component that counts as a lesion.
        min_iou: smallest intersection over union of a found lesion and its true one.
        signed: whether the reference tells directions.
    """
    pred, ref = np.isin(found, CHANGES[change]), np.isin(truth, CHANGES[change])
    lesion: dict[str, Any] = {"spacing_mm": spacing_mm, "min_volume_mm3": min_volume_mm3}
    matches = match_lesions(pred, ref, **lesion, min_iou=min_iou)
    nothing_changed = not truth.any()
    shared, n_pred, n_ref = (int(np.count_nonzero(mask)) for mask in (pred & ref, pred, ref))
    surfaces = lesion_surfaces_mm(matches, spacing_mm=spacing_mm)
    false_labels, n_false = label_components(pred, **lesion)
    measured = {
        "dice": 2 * shared / (n_pred + n_ref) if n_pred + n_ref else math.nan,
        "volume_ratio": n_pred / n_ref if n_ref else math.nan,
        "surface_mm": surface_mm(pred, ref, spacing_mm=spacing_mm),
        "hausdorff95_mm": surface_mm(pred, ref, spacing_mm=spacing_mm, measure="hausdorff95"),
        "lesion_surface_mm": float(np.median(surfaces)) if len(surfaces) else math.nan,
        "false_lesions": float(n_false) if nothing_changed else math.nan,
        "false_mm3": float((false_labels > 0).sum() * np.prod(spacing_mm)) if nothing_changed else math.nan,
    }
    edges = (0.0, *SIZE_EDGES_MM3, math.inf)
    # whatever was found counts here, or every lesion of a class would have the direction of the class
    directions = count_directions(found, np.where(ref, truth, 0), **lesion, min_iou=min_iou)
    return ClassScores(
        counts=count_lesions(matches),
        by_size=tuple(count_lesions(matches, bound) for bound in pairwise(edges)),
        covered=count_covered_lesions(pred, ref, **lesion),
        directions=directions if signed else (0, 0),
        candidates=candidates_from_matches(matches, confidence),
        measured=measured,
        n_no_change=int(nothing_changed),
    )


def pool_scores(several: Sequence[ClassScores]) -> ClassScores:
    """Several cases as one: lesions are counted together, what is measured case by case is averaged."""
    names = several[0].measured
    return ClassScores(
        counts=sum((one.counts for one in several), LesionCounts()),
        by_size=tuple(sum(column, LesionCounts()) for column in zip(*(one.by_size for one in several), strict=True)),
        covered=sum((one.covered for one in several), LesionCounts()),
        directions=(sum(one.directions[0] for one in several), sum(one.directions[1] for one in several)),
        candidates=pool_candidates(one.candidates for one in several),
        measured={name: mean_known([one.measured[name] for one in several]) for name in names},
        n_cases=sum(one.n_cases for one in several),
        n_no_change=sum(one.n_no_change for one in several),
    )


def mean_known(values: Sequence[float]) -> float:
    """Mean of the values that are not NaN; NaN if none is.

    >>> mean_known([0.5, math.nan]), mean_known([math.nan])
    (0.5, nan)
    """
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
