# SPDX-License-Identifier: Apache-2.0
"""FROC, on paper, against loops and against MONAI's curve."""

import numpy as np
import pytest
import torch
from monai.metrics import compute_froc_curve_data

from monai_microchange.metrics import FALSE_PER_PAIR, LesionCandidates, LesionFrocMetric, compute_lesion_froc

NAN = float("nan")

# case: confidence, truth, reference lesions; sensitivity
TABLE = {
    "both empty": ([], [], 0, NAN),
    "prediction empty": ([], [], 2, 0),
    "reference empty": ([0.5], [False], 0, NAN),
    "no match": ([0.5], [False], 2, 0),
}


def random_candidates(seed, *, levels=None):
    rng = np.random.default_rng(seed)
    is_true = rng.random(40) < 0.4
    confidence = np.clip(rng.normal(0.4 + 0.2 * is_true, 0.2), 0, 1)
    if levels is not None:
        confidence = np.round(confidence * levels) / levels
    return LesionCandidates(confidence, is_true, int(is_true.sum()) + 3, n_pairs=4)


@pytest.mark.parametrize("case", TABLE)
def test_empty_table(case):
    confidence, is_true, n_reference, expected = TABLE[case]
    ours = compute_lesion_froc(LesionCandidates(confidence, is_true, n_reference))
    np.testing.assert_equal(ours, [expected] * len(FALSE_PER_PAIR))


def test_case_on_paper():
    """True, false, true, false, true of four, in two pairs: each false one is half a false one per pair."""
    some = LesionCandidates([0.9, 0.8, 0.7, 0.6, 0.5], [1, 0, 1, 0, 1], n_reference=4, n_pairs=2)
    ours = compute_lesion_froc(some, false_per_pair=(0, 0.49, 0.5, 1, 8))
    assert ours.tolist() == [1 / 4, 1 / 4, 2 / 4, 3 / 4, 3 / 4]


def test_ties_stand_or_fall_together():
    some = LesionCandidates([0.5, 0.5, 0.4], [True, False, True], n_reference=2)
    assert compute_lesion_froc(some, false_per_pair=(0.5, 1)).tolist() == [0, 1]


@pytest.mark.parametrize("levels", [None, 5])
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_loops(seed, levels):
    some, expected = random_candidates(seed, levels=levels), []
    for limit in FALSE_PER_PAIR:
        best = 0.0
        for threshold in some.confidence:
            kept = some.is_true[some.confidence >= threshold]
            if (~kept).sum() / some.n_pairs <= limit:
                best = max(best, kept.sum() / some.n_reference)
        expected.append(best)
    np.testing.assert_allclose(compute_lesion_froc(some), expected)


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_the_curve_of_monai(seed):
    some = random_candidates(seed)
    false, sensitivity = compute_froc_curve_data(
        some.confidence[~some.is_true], some.confidence[some.is_true], some.n_reference, some.n_pairs
    )
    expected = [max(s for f, s in zip(false, sensitivity, strict=True) if f <= limit) for limit in FALSE_PER_PAIR]
    np.testing.assert_allclose(compute_lesion_froc(some), expected)


def test_sensitivity_never_falls():
    assert np.all(np.diff(compute_lesion_froc(random_candidates(9), false_per_pair=np.linspace(0, 9, 40))) >= 0)


def test_metric_gives_a_value_for_each_limit():
    metric = LesionFrocMetric(spacing_mm=(1, 1, 1), false_per_pair=(0, 1))
    y_pred, y = torch.zeros(2, 1, 1, 10, 4, 4)
    y_pred[..., :2, :2, :2], y_pred[..., 5:7, :2, :2], y[..., 5:7, :2, :2] = 0.9, 0.4, 1
    metric(y_pred=y_pred, y=y)
    assert metric.aggregate().tolist() == [0, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compute_lesion_froc(LesionCandidates([], [], 0), false_per_pair=(-1,)), "at least 0"),
        (lambda: compute_lesion_froc(LesionCandidates([], [], 1, n_pairs=0)), "n_pairs must be at least 1"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
