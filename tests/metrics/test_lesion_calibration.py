# SPDX-License-Identifier: Apache-2.0
"""Reliability, expected calibration error and Brier score, on paper, against scikit-learn, MONAI and loops."""

import numpy as np
import pytest
import torch
from monai.metrics import CalibrationErrorMetric

from monai_microchange.metrics import (
    LesionBrierMetric,
    LesionCalibrationMetric,
    compute_brier,
    compute_reliability,
)

NAN = float("nan")
# case: confidences, truth; expected calibration error, Brier score
TABLE = {
    "both empty": ([], [], NAN, NAN),
    "prediction empty": ([], [], NAN, NAN),
    "reference empty": ([0.2, 0.6], [0, 0], 0.4, 0.2),
    "no match": ([0.2, 0.6], [0, 0], 0.4, 0.2),
}


def lesions(seed, n=57):
    rng = np.random.default_rng(seed)
    confidence = rng.random(n)
    return confidence, rng.random(n) < confidence**2


@pytest.mark.parametrize("case", TABLE)
def test_empty_table(case):
    confidence, is_true, ece, brier = TABLE[case]
    for equal_mass in (False, True):
        curve = compute_reliability(confidence, is_true, equal_mass=equal_mass)
        np.testing.assert_allclose(curve.expected_error, ece)
    np.testing.assert_allclose(compute_brier(confidence, is_true), brier)


def test_equal_width_on_paper():
    """Bins [0, 0.5) and [0.5, 1]: gaps |0.2 - 1/2| of two lesions and |0.8 - 1/3| of three."""
    curve = compute_reliability([0.1, 0.3, 0.5, 0.9, 1.0], [0, 1, 0, 0, 1], n_bins=2)
    assert curve.count.tolist() == [2, 3]
    np.testing.assert_allclose(curve.mean_confidence, [0.2, 0.8])
    np.testing.assert_allclose(curve.true_share, [1 / 2, 1 / 3])
    assert curve.expected_error == pytest.approx((2 * 0.3 + 3 * (0.8 - 1 / 3)) / 5)


def test_equal_mass_on_paper():
    """The two least sure and the two surest of four that equal width would all put into one bin."""
    curve = compute_reliability([0.98, 0.91, 0.96, 0.93], [1, 0, 1, 1], n_bins=2, equal_mass=True)
    assert curve.count.tolist() == [2, 2]
    np.testing.assert_allclose(curve.mean_confidence, [0.92, 0.97])
    np.testing.assert_allclose(curve.true_share, [0.5, 1.0])


def test_empty_bins_are_undefined_and_do_not_count():
    curve = compute_reliability([0.95], [1])
    np.testing.assert_equal(curve.mean_confidence[:9], [NAN] * 9)
    assert curve.expected_error == pytest.approx(0.05)


def test_the_order_of_equals_does_not_matter():
    for is_true in ([1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 1, 0]):
        curve = compute_reliability([0.5] * 4, is_true, n_bins=2, equal_mass=True)
        assert curve.true_share.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_scikit_learn(seed):
    sklearn, metrics = pytest.importorskip("sklearn.calibration"), pytest.importorskip("sklearn.metrics")
    confidence, is_true = lesions(seed)
    curve = compute_reliability(confidence, is_true)
    true_share, mean_confidence = sklearn.calibration_curve(is_true, confidence, n_bins=10)
    filled = curve.count > 0
    np.testing.assert_allclose(curve.true_share[filled], true_share)
    np.testing.assert_allclose(curve.mean_confidence[filled], mean_confidence)
    assert compute_brier(confidence, is_true) == pytest.approx(metrics.brier_score_loss(is_true, confidence))


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_monai(seed):
    confidence, is_true = (torch.as_tensor(x, dtype=torch.float32)[None, None] for x in lesions(seed))
    metric = CalibrationErrorMetric(num_bins=10)
    metric(y_pred=confidence, y=is_true)
    ours = compute_reliability(confidence[0, 0].numpy(), is_true[0, 0].numpy())
    assert ours.expected_error == pytest.approx(metric.aggregate().item(), rel=1e-5)


@pytest.mark.parametrize("n_bins", [1, 7, 10, 80])
def test_equal_mass_agrees_with_loops(n_bins):
    confidence, is_true = lesions(11)
    ranked = sorted(zip(confidence, is_true, strict=True))
    parts = [[] for _ in range(n_bins)]
    for rank, lesion in enumerate(ranked):
        parts[rank * n_bins // len(ranked)].append(lesion)
    ece = sum(abs(sum(c for c, _ in part) - sum(t for _, t in part)) for part in parts) / len(ranked)
    curve = compute_reliability(confidence, is_true, n_bins=n_bins, equal_mass=True)
    assert curve.expected_error == pytest.approx(ece)
    assert np.ptp(curve.count) <= 1


def test_metrics_pool_the_lesions_of_all_pairs():
    y_pred, y = torch.zeros(2, 2, 1, 10, 4, 4)
    y_pred[0, :, :2, :2, :2], y_pred[1, :, 5:7, :2, :2], y[1, :, 5:7, :2, :2] = 0.25, 0.75, 1
    for metric, expected in (
        (LesionCalibrationMetric(spacing_mm=(1, 1, 1)), 0.25),
        (LesionCalibrationMetric(spacing_mm=(1, 1, 1), n_bins=1, equal_mass=True), 0.0),
        (LesionBrierMetric(spacing_mm=(1, 1, 1)), 0.0625),
    ):
        metric(y_pred=y_pred, y=y)
        assert metric.aggregate().item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compute_reliability([1.2], [1]), r"must lie in \[0, 1\]"),
        (lambda: compute_reliability([NAN], [1]), r"must lie in \[0, 1\]"),
        (lambda: compute_reliability([0.5], [1, 0]), "one confidence and one flag"),
        (lambda: compute_reliability([0.5], [1], n_bins=0), "n_bins must be at least 1"),
        (lambda: compute_brier([2.0], [1]), r"must lie in \[0, 1\]"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
