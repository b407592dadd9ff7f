# SPDX-License-Identifier: Apache-2.0
"""Scores of one kind of change agree with the metrics, alone and pooled."""

import numpy as np
import pytest
import torch

from monai_microchange.evaluation.class_scores import CHANGES, FIGURES, SIZES, pool_scores, score_class
from monai_microchange.metrics import (
    BY_DIRECTION,
    compute_change_dice,
    compute_change_surface,
    compute_coverage_f1,
    compute_direction_accuracy,
    find_candidates,
    score_lesions,
)

SPACING = (1.0, 1.0, 2.0)
RULE = {"spacing_mm": SPACING, "min_volume_mm3": 3.0, "min_iou": 0.1}


def random_case(seed):
    """Found and true labels of blocks of 3 x 3 x 2 voxels, and the confidence of each block."""
    rng = np.random.default_rng(seed)
    grow = np.ones((3, 3, 2), dtype=np.uint8)
    truth = np.kron(rng.choice([0, 0, 0, 0, 1, 2, 3, 4], (6, 6, 4)).astype(np.uint8), grow)
    found = np.where(rng.random(truth.shape) < 0.8, truth, 0).astype(np.uint8)
    found[:3] = np.kron(rng.choice([0, 0, 1, 4], (1, 6, 4)).astype(np.uint8), grow)
    return found, truth, np.kron(rng.uniform(0.3, 1.0, (6, 6, 4)), grow)


@pytest.mark.parametrize("change", ["any", "gain", "loss"])
def test_agrees_with_the_metrics(change):
    found, truth, confidence = random_case(0)
    one = score_class(change, found, truth, confidence, **RULE)
    pred, ref = np.isin(found, CHANGES[change]), np.isin(truth, CHANGES[change])
    batch = {"y_pred": torch.as_tensor(pred)[None, None], "y": torch.as_tensor(ref)[None, None]}
    lesions, figures = score_lesions(pred, ref, spacing_mm=SPACING), one.figures()
    assert tuple(figures) == FIGURES
    for name in ("n_reference", "n_found", "n_predicted", "sensitivity", "precision", "f1", "dice", "volume_ratio"):
        assert figures[name] == pytest.approx(getattr(lesions, name)), name
    assert [vars(counts) for counts in one.by_size] == [
        {key: value for key, value in vars(part).items() if key in vars(one.counts)} for part in lesions.by_size
    ]
    assert figures["coverage_f1"] == pytest.approx(compute_coverage_f1(**batch, spacing_mm=SPACING).item())
    for name, options in {
        "surface_mm": {},
        "hausdorff95_mm": {"measure": "hausdorff95"},
        "lesion_surface_mm": {"per_lesion": True},
    }.items():
        expected = compute_change_surface(**batch, spacing_mm=SPACING, **options).item()
        assert figures[name] == pytest.approx(expected, rel=1e-5)
    expected = find_candidates(np.where(pred, confidence, 0), ref, spacing_mm=SPACING)
    np.testing.assert_allclose(one.candidates.confidence, expected.confidence)


def test_direction_and_dice_agree_with_the_metrics_of_label_maps():
    found, truth, confidence = random_case(1)
    batch = {"y_pred": torch.as_tensor(found)[None, None], "y": torch.as_tensor(truth)[None, None]}
    of = {change: score_class(change, found, truth, confidence, **RULE).figures() for change in ("any", "gain", "loss")}
    expected = compute_direction_accuracy(**batch, spacing_mm=SPACING).item()
    assert of["any"]["direction_accuracy"] == pytest.approx(expected)
    dice = compute_change_dice(**batch, groups=BY_DIRECTION)
    np.testing.assert_allclose([of["gain"]["dice"], of["loss"]["dice"]], dice[0], rtol=1e-6)
    unsigned = score_class("any", found, truth, confidence, **RULE, signed=False)
    assert np.isnan(unsigned.figures()["direction_accuracy"])


def test_pooling_counts_lesions_together_and_averages_the_rest():
    cases = [score_class("any", *random_case(seed), **RULE) for seed in range(3)]
    empty = np.zeros((4, 4, 4), np.uint8)
    cases.append(score_class("any", empty, empty, empty.astype(float), **RULE))
    pooled, single = pool_scores(cases).figures(), [one.figures() for one in cases]
    assert pooled["n_found"] == sum(one["n_found"] for one in single)
    assert pooled["sensitivity"] == pooled["n_found"] / sum(one["n_reference"] for one in single)
    assert pooled["dice"] == pytest.approx(np.mean([one["dice"] for one in single[:3]]))
    assert (pooled["false_lesions"], pool_scores(cases).n_no_change, pool_scores(cases).n_cases) == (0, 1, 4)
    assert pool_scores(cases).candidates.n_pairs == 4


def test_size_bins_have_names():
    assert SIZES == ("<10", "10-25", "25-100", ">=100")
