# SPDX-License-Identifier: Apache-2.0
"""Average precision, on paper, against loops and against scikit-learn's curve."""

import numpy as np
import pytest
import torch

from monai_microchange.metrics import LesionAveragePrecisionMetric, LesionCandidates, compute_lesion_average_precision

NAN = float("nan")

# case: confidence, truth, reference lesions; AP
TABLE = {
    "both empty": ([], [], 0, NAN),
    "prediction empty": ([], [], 2, 0),
    "reference empty": ([0.5], [False], 0, NAN),
    "no match": ([0.5], [False], 2, 0),
}


def random_candidates(seed, *, levels=None):
    """Twenty lesions, of as many levels of confidence as are given, so that some are tied."""
    rng = np.random.default_rng(seed)
    is_true = rng.random(20) < 0.5
    confidence = np.clip(rng.normal(0.4 + 0.2 * is_true, 0.2), 0, 1)
    if levels is not None:
        confidence = np.round(confidence * levels) / levels
    return LesionCandidates(confidence, is_true, int(is_true.sum()) + 3)


@pytest.mark.parametrize("case", TABLE)
def test_empty_table(case):
    confidence, is_true, n_reference, expected = TABLE[case]
    ours = compute_lesion_average_precision(LesionCandidates(confidence, is_true, n_reference))
    np.testing.assert_equal(ours, expected)


def test_case_on_paper():
    """Three of four found. Precision 1, 1/2, 2/3, 3/4 by rank: the last two thirds are lifted to 3/4."""
    some = LesionCandidates([0.9, 0.8, 0.7, 0.6], [True, False, True, True], n_reference=4)
    assert compute_lesion_average_precision(some) == pytest.approx((1 + 3 / 4 + 3 / 4) / 4)


def test_ties_enter_together():
    """Whatever their order: one true and one false at 0.5 have precision 1/2."""
    for is_true in ([True, False], [False, True]):
        assert compute_lesion_average_precision(LesionCandidates([0.5, 0.5], is_true, 1)) == 0.5


def naive(candidates):
    """For each lesion that can be found, the best precision over all thresholds that find at least so many."""
    points = []
    for threshold in candidates.confidence:
        kept = candidates.is_true[candidates.confidence >= threshold]
        points.append((kept.sum(), kept.mean()))
    best = [max([p for n, p in points if n >= k], default=0.0) for k in range(1, candidates.n_reference + 1)]
    return sum(best) / candidates.n_reference


@pytest.mark.parametrize("levels", [None, 4])
@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_loops(seed, levels):
    some = random_candidates(seed, levels=levels)
    assert compute_lesion_average_precision(some) == pytest.approx(naive(some))


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_the_curve_of_scikit_learn(seed):
    """Missed lesions are put at the end of the ranking, behind as many false ones as it takes for no precision."""
    sklearn = pytest.importorskip("sklearn.metrics")
    some = random_candidates(seed, levels=6)
    n_missed = some.n_reference - int(some.is_true.sum())
    truth = np.concatenate([some.is_true, np.ones(n_missed)])
    precision, recall, _ = sklearn.precision_recall_curve(truth, np.concatenate([some.confidence, -np.ones(n_missed)]))
    attained = recall <= some.is_true.sum() / some.n_reference + 1e-9
    precision, recall = precision[attained][::-1], recall[attained][::-1]  # sensitivity rises
    best = [precision[n:].max() for n in range(len(precision))]
    assert compute_lesion_average_precision(some) == pytest.approx(np.sum(np.diff(recall) * best[1:]))


def test_only_the_order_matters():
    some = random_candidates(3)
    squeezed = LesionCandidates(some.confidence**3 / 10, some.is_true, some.n_reference)
    assert compute_lesion_average_precision(squeezed) == pytest.approx(compute_lesion_average_precision(some))


def test_metric_gives_one_number():
    metric = LesionAveragePrecisionMetric(spacing_mm=(1, 1, 1))
    y_pred, y = torch.zeros(2, 1, 1, 10, 4, 4)
    y_pred[..., :2, :2, :2], y_pred[..., 5:7, :2, :2], y[..., 5:7, :2, :2] = 0.9, 0.4, 1
    metric(y_pred=y_pred, y=y)
    assert metric.aggregate().item() == 0.5
    with pytest.raises(ValueError, match="give no reduction"):
        metric.aggregate("mean")
