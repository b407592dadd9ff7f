# SPDX-License-Identifier: Apache-2.0
"""Score comparisons against labelled pairs: the Python behind a bundle's `evaluate.yaml`."""

from monai_microchange.evaluation.label_grid import change_on_label
from monai_microchange.evaluation.pair_evaluation import PairEvaluation

__all__ = ["PairEvaluation", "change_on_label"]
