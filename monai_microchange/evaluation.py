# SPDX-License-Identifier: Apache-2.0
"""Score comparisons against labelled pairs: the Python behind a bundle's `evaluate.yaml`."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import SimpleITK as sitk
from monai.data import MetaTensor

from monai_microchange._frames import array_from_image, image_from_array, spacing_from_affine, transform_from_matrix
from monai_microchange.data import InputError
from monai_microchange.data.datalist import LabelledPair, read_datalist, read_label
from monai_microchange.enums import ChangeType
from monai_microchange.metrics import score_lesions
from monai_microchange.result import ChangeResult

__all__ = ["PairEvaluation", "change_on_label"]

Row: TypeAlias = dict[str, Any]
"""Case, change, and the figures named in `FIGURES`."""

FIGURES = ("dice", "f1", "sensitivity", "precision", "volume_ratio", "n_reference", "n_predicted", "n_found")
"""Of `LesionScores`."""

CHANGES = {
    "any": tuple(ChangeType),
    "gain": tuple(kind for kind in ChangeType if kind.is_gain),
    "loss": tuple(kind for kind in ChangeType if not kind.is_gain),
}
"""What is scored apart, and the labels that belong to it."""

SCORES_JSON, SCORES_CSV = "scores.json", "scores.csv"


class _Workflow(Protocol):
    """What compares a pair; `PairWorkflow` does."""

    def run(self, pair: Mapping[str, Any], output_dir: Path, *, overwrite: bool) -> ChangeResult: ...


def change_on_label(result: ChangeResult, label: MetaTensor, label_to_baseline: np.ndarray) -> np.ndarray:
    """The change map of a result at the voxels of a label.

    Args:
        result: its `change` in mid-space is taken, once, with nearest neighbour.
        label: (1, I, J, K) with its affine to RAS mm.
        label_to_baseline: (4, 4), points of the label to points of the baseline scan, RAS mm.

    Returns:
        `ChangeType` labels (I, J, K), 0 where nothing changed or mid-space does not reach.
    """
    label_to_mid = np.linalg.inv(result.space.mid_to("baseline")) @ label_to_baseline
    change = image_from_array(np.asarray(result.change.as_tensor()[0]), result.change.affine.numpy())
    grid = image_from_array(np.zeros(tuple(label.shape[1:]), dtype=np.uint8), label.affine.numpy())
    moved = sitk.Resample(change, grid, transform_from_matrix(label_to_mid), sitk.sitkNearestNeighbor, 0)
    return array_from_image(moved)


class PairEvaluation:
    """Compare labelled pairs, score each on its label's grid, and write down how it went.

    Any change is scored, and gain (new, enlarging) and loss (shrinking, resolved) apart where the label tells them
    apart. `score_lesions` says what each figure is, and what it is where there is nothing to score: NaN, `null` in
    JSON.

    Args:
        workflow: compares one pair, as `PairWorkflow` does.
        min_volume_mm3: smallest component that counts as a lesion.
        min_iou: smallest intersection over union of a found lesion and its true one.
    """

    def __init__(self, workflow: _Workflow, *, min_volume_mm3: float = 3.0, min_iou: float = 0.1):
        self.workflow = workflow
        self.min_volume_mm3 = min_volume_mm3
        self.min_iou = min_iou

    def run(
        self, datalist: str | Path | Sequence[Mapping[str, Any]], output_dir: str | Path, *, overwrite: bool = False
    ) -> list[Row]:
        """Score every case; write `scores.json`, `scores.csv` and a result folder for each case; print a table.

        Args:
            datalist: what `read_datalist` takes.
            output_dir: folder for all that is written.
            overwrite: replace earlier results there.

        Returns:
            A row for each case and kind of change.

        Raises:
            InputError: before any work if the list or a label cannot be used or there are scores already; and whatever
                the workflow refuses.
        """
        cases, folder = read_datalist(datalist), Path(output_dir)
        if (folder / SCORES_JSON).exists() and not overwrite:
            raise InputError(
                f"{folder}: expected a new folder, got one that holds scores; give overwrite to replace them."
            )
        for case in cases:
            read_label(case)
        rows: list[Row] = []
        for case in cases:
            result = self.workflow.run(case.pair, folder / case.name, overwrite=overwrite)
            rows += self.score(case, result)
        folder.mkdir(parents=True, exist_ok=True)
        _write_scores(folder, rows)
        print(_table(rows + _means(rows) if len(cases) > 1 else rows))
        return rows

    def score(self, case: LabelledPair, result: ChangeResult) -> list[Row]:
        """Rows of one case: any change, then gain and loss where the label is signed."""
        label = read_label(case)
        truth, found = label.numpy()[0], change_on_label(result, label, case.label_to_baseline)
        spacing_mm = tuple(spacing_from_affine(label.affine.numpy()).tolist())
        rows = []
        for change, kinds in CHANGES.items() if case.signed else [("any", CHANGES["any"])]:
            scores = score_lesions(
                np.isin(found, kinds),
                np.isin(truth, kinds),
                spacing_mm=spacing_mm,
                min_volume_mm3=self.min_volume_mm3,
                min_iou=self.min_iou,
            )
            rows.append({"case": case.name, "change": change, **{name: getattr(scores, name) for name in FIGURES}})
        return rows


def _means(rows: Sequence[Row]) -> list[Row]:
    """For each kind of change the mean of every figure over the cases that have it; NaN if none has.

    >>> row = dict.fromkeys(FIGURES, 0.5)
    >>> [mean["dice"] for mean in _means([{"change": "any", **row}, {"change": "any", **row, "dice": math.nan}])]
    [0.5]
    """
    means = []
    for change in dict.fromkeys(row["change"] for row in rows):
        figures = {}
        for name in FIGURES:
            known = [row[name] for row in rows if row["change"] == change and not math.isnan(row[name])]
            figures[name] = sum(known) / len(known) if known else math.nan
        means.append({"case": "mean", "change": change, **figures})
    return means


def _write_scores(folder: Path, rows: Sequence[Row]) -> None:
    def plain(row: Row) -> Row:
        unknown = [key for key, value in row.items() if isinstance(value, float) and math.isnan(value)]
        return {**row, **dict.fromkeys(unknown)}

    content = {"cases": [plain(row) for row in rows], "mean": [plain(row) for row in _means(rows)]}
    (folder / SCORES_JSON).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    with open(folder / SCORES_CSV, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["case", "change", *FIGURES])
        writer.writeheader()
        writer.writerows(plain(row) for row in rows)


def _table(rows: Sequence[Row]) -> str:
    """Rows as text, one line each, in columns.

    >>> print(_table([{"case": "one", "change": "any", **dict.fromkeys(FIGURES, 1)}]).splitlines()[1][:28])
    one   any     1      1   1
    """
    head = ["case", "change", *FIGURES]
    lines = [head] + [[f"{v:.3f}" if isinstance(v, float) else str(v) for v in (row[k] for k in head)] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)
