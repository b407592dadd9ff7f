# SPDX-License-Identifier: Apache-2.0
"""The coverage rule, on paper and against loops."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from monai_microchange.metrics import CoverageF1Metric, LesionCounts, compute_coverage_f1, count_covered_lesions

MM = (1.0, 1.0, 1.0)
NAN = float("nan")
EMPTY, ONE, ELSEWHERE = np.zeros((3, 10, 10, 10), dtype=bool)
ONE[:2, :2, :2], ELSEWHERE[5:7, 5:7, 5:7] = True, True


def batch(*volumes):
    return torch.as_tensor(np.stack(volumes))[:, None]


@pytest.mark.parametrize(
    ("y_pred", "y", "expected"),
    [(EMPTY, EMPTY, NAN), (EMPTY, ONE, 0), (ONE, EMPTY, 0), (ELSEWHERE, ONE, 0)],
    ids=["both empty", "prediction empty", "reference empty", "no match"],
)
def test_empty_table(y_pred, y, expected):
    np.testing.assert_equal(compute_coverage_f1(batch(y_pred), batch(y), spacing_mm=MM).item(), expected)


def test_empty_score_is_an_argument():
    assert compute_coverage_f1(batch(EMPTY), batch(EMPTY), spacing_mm=MM, empty_score=1.0).item() == 1


def test_fragments_are_all_true_and_a_blob_finds_all():
    """Why it is never quoted alone: one rod in two pieces, or two lesions under one blob."""
    rod, pieces = np.zeros((2, 10, 3, 3), dtype=bool)
    rod[:9, 1, 1] = pieces[:4, 1, 1] = pieces[5:9, 1, 1] = True
    assert count_covered_lesions(pieces, rod, spacing_mm=MM) == LesionCounts(1, 1, 2, 0)
    assert count_covered_lesions(rod, pieces, spacing_mm=MM) == LesionCounts(2, 2, 1, 0)


@pytest.mark.parametrize(("n_covered", "found"), [(1, 1), (0, 0)])
def test_a_tenth_is_enough(n_covered, found):
    y, y_pred = np.zeros((2, 24, 1, 1), dtype=bool)
    y[:10], y_pred[10 - n_covered : 20] = True, True
    assert count_covered_lesions(y_pred, y, spacing_mm=MM).n_found == found


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_loops(seed):
    rng = np.random.default_rng(seed)
    y, other = (ndimage.gaussian_filter(rng.normal(size=(24, 24, 12)), 1.2) > 0.22 for _ in range(2))
    y_pred = np.roll(y, 1, axis=0) & (rng.random(y.shape) < 0.6) | other
    shares = []
    for mask, cover in ((y, y_pred), (y_pred, y)):
        labels, n = ndimage.label(mask, np.ones((3, 3, 3)))
        lesions = [labels == i for i in range(1, n + 1) if (labels == i).sum() * 0.5 >= 3]
        shares.append(np.mean([cover[lesion].mean() >= 0.1 for lesion in lesions]))
    f1 = compute_coverage_f1(batch(y_pred), batch(y), spacing_mm=(1, 1, 0.5)).item()
    assert f1 == pytest.approx(2 * shares[0] * shares[1] / sum(shares), rel=1e-6)


def test_metric_collects_and_leaves_nan_out():
    metric = CoverageF1Metric(spacing_mm=MM)
    metric(y_pred=batch(ONE, EMPTY), y=batch(ONE, EMPTY))
    metric(y_pred=list(batch(ELSEWHERE)), y=list(batch(ONE)))
    np.testing.assert_equal(metric.aggregate("none").numpy(), [[1], [NAN], [0]])
    assert metric.aggregate().item() == 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: count_covered_lesions(ONE, ONE, spacing_mm=MM, min_coverage=0), r"min_coverage must lie in \(0, 1\]"),
        (lambda: count_covered_lesions(ONE, ONE[:5], spacing_mm=MM), "resample both to one grid"),
        (lambda: compute_coverage_f1(batch(ONE)[0], batch(ONE)[0], spacing_mm=MM), r"\(B, C, I, J, K\)"),
        (lambda: CoverageF1Metric(spacing_mm=(1, 1)), "three positive numbers"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
