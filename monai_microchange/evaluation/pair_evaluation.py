# SPDX-License-Identifier: Apache-2.0
"""The run of an evaluation: compare each labelled pair, score it, print and write how it went."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from monai_microchange._frames import spacing_from_affine
from monai_microchange.data import InputError
from monai_microchange.data.datalist import LabelledPair, read_datalist, read_label
from monai_microchange.evaluation.class_scores import CHANGES, ClassScores, Row, score_class
from monai_microchange.evaluation.label_grid import change_on_label, confidence_on_label, ignored_on_label
from monai_microchange.evaluation.report import SCORES_JSON, build_report, write_report
from monai_microchange.evaluation.tables import print_report
from monai_microchange.evaluation.trained_on import cases_trained_on, record_is_complete
from monai_microchange.result import ChangeResult

__all__ = ["PairEvaluation"]


class _Workflow(Protocol):
    """What compares a pair; `PairWorkflow` does."""

    def run(self, pair: Mapping[str, Any], output_dir: Path, *, overwrite: bool) -> ChangeResult: ...


class PairEvaluation:
    """Compare labelled pairs, score each on its label's grid, and write down how it went.

    Any change is scored; gain (new, enlarging), loss (shrinking, resolved) and each type apart where the label tells
    them apart. The functions of `monai_microchange.metrics` say what each figure is, and what it is where there is
    nothing to score: NaN, `null` in JSON. What nobody judged counts on neither side.

    Args:
        workflow: compares one pair, as `PairWorkflow` does.
        min_volume_mm3: smallest component that counts as a lesion.
        min_iou: smallest intersection over union of a found lesion and its true one.
        weights: the network's file: cases that it learnt from are refused. None where there is none to ask.
        allow_trained_on: score such cases all the same, and say so wherever their scores stand.
    """

    def __init__(
        self,
        workflow: _Workflow,
        *,
        min_volume_mm3: float = 3.0,
        min_iou: float = 0.1,
        weights: str | Path | None = None,
        allow_trained_on: bool = False,
    ):
        self.workflow = workflow
        self.min_volume_mm3 = min_volume_mm3
        self.min_iou = min_iou
        self.weights = weights
        self.allow_trained_on = allow_trained_on

    def run(
        self,
        datalist: str | Path | Sequence[Mapping[str, Any]] | Mapping[str, Any],
        output_dir: str | Path,
        *,
        section: str | None = None,
        fold: int | None = None,
        overwrite: bool = False,
    ) -> list[Row]:
        """Score every case; write `scores.json`, tables and a result folder for each case; print tables.

        Args:
            datalist: what `read_datalist` takes.
            output_dir: folder for all that is written.
            section: of the datalist, all labelled ones by default.
            fold: only the cases of this fold.
            overwrite: replace earlier results there.

        Returns:
            A row for each case and kind of change.

        Raises:
            InputError: before any work if the list or a label cannot be used, there are scores already, or the weights
                learnt from a case; after the others were scored and written if the workflow refused a case.
        """
        cases, folder = read_datalist(datalist, section=section, fold=fold), Path(output_dir)
        if (folder / SCORES_JSON).exists() and not overwrite:
            raise InputError(
                f"{folder}: expected a new folder, got one that holds scores; give overwrite to replace them."
            )
        trained_on = self._trained_on(cases)
        for case in cases:
            read_label(case)
        scores, refused = {}, {}
        for case in cases:
            try:
                result = self.workflow.run(case.pair, folder / case.name, overwrite=overwrite)
            except InputError as error:
                refused[case.name] = str(error)
            else:
                scores[case.name] = self.score(case, result)
        failures = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
        if not scores:
            raise InputError(failures)
        report = {
            "rule": {"min_volume_mm3": self.min_volume_mm3, "min_iou": self.min_iou},
            "refused": refused,
            "trained_on": trained_on,
            "training_inputs_known": self.weights is None or record_is_complete(self.weights),
            **build_report(scores, trained_on),
        }
        write_report(folder, report)
        print_report(report)
        if refused:
            raise InputError(f"{len(refused)} of {len(cases)} cases have no score, the others are written: {failures}")
        rows: list[Row] = report["cases"]
        return rows

    def score(self, case: LabelledPair, result: ChangeResult) -> dict[str, ClassScores]:
        """Scores of one case by kind of change: any, and the others where the label is signed."""
        label = read_label(case)
        truth, found = label.numpy()[0], change_on_label(result, label, case.label_to_baseline)
        confidence = confidence_on_label(result, label, case.label_to_baseline)
        if case.ignore is not None:
            unjudged = ignored_on_label(case.ignore, label)
            truth, found = (np.where(unjudged, 0, labels) for labels in (truth, found))
        near = _about((truth > 0) | (found > 0))
        changes = list(CHANGES) if case.signed else ["any"]
        return {
            change: score_class(
                change,
                found[near],
                truth[near],
                confidence[near],
                spacing_mm=tuple(spacing_from_affine(label.affine.numpy()).tolist()),
                min_volume_mm3=self.min_volume_mm3,
                min_iou=self.min_iou,
                signed=case.signed,
            )
            for change in changes
        }

    def _trained_on(self, cases: Sequence[LabelledPair]) -> list[str]:
        names = [] if self.weights is None else cases_trained_on(cases, self.weights)
        if names and not self.allow_trained_on:
            raise InputError(
                f"{', '.join(names)}: expected scans that the weights have not seen, got some that they learnt from; "
                "leave these cases out, or give allow_trained_on for scores that are labelled as such."
            )
        return names


def _about(mask: np.ndarray) -> tuple[slice, ...]:
    """Slices about what a mask (I, J, K) holds; one voxel of an empty one."""
    spans = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    return tuple(slice(span[0], span[-1] + 1) if len(span) else slice(0, 1) for span in spans)
