# SPDX-License-Identifier: Apache-2.0
"""Reported lesions with confidence: found on paper, pooled, and carried through a cumulative metric."""

import numpy as np
import pytest
import torch

from monai_microchange.metrics import (
    LesionAveragePrecisionMetric,
    LesionCandidates,
    LesionFrocMetric,
    compute_lesion_average_precision,
    compute_lesion_froc,
    find_candidates,
    pool_candidates,
)

MM = (1.0, 1.0, 1.0)


def volume(*lesions):
    """Map (12, 6, 6): lesions of 8 voxels as (start along the first axis, value)."""
    out = np.zeros((12, 6, 6))
    for start, value in lesions:
        out[start : start + 2, :2, :2] = value
    return out


def batch(*volumes):
    return torch.as_tensor(np.stack(volumes), dtype=torch.float32)[:, None]


def test_case_on_paper():
    y_pred = volume((0, 0.9), (4, 0.3), (8, 0.6))
    y_pred[8, 0, 0] = 0.7  # the surest voxel counts
    y_pred[0, 5, 5] = 1.0  # a speck of 1 mm3 does not
    found = find_candidates(y_pred, volume((0, 1), (8, 1)) > 0, spacing_mm=MM)
    np.testing.assert_allclose(found.confidence, [0.9, 0.3, 0.7])
    assert found.is_true.tolist() == [True, False, True]
    assert (found.n_reference, found.n_pairs) == (2, 1)


@pytest.mark.parametrize(
    ("y_pred", "y", "n", "n_true", "n_reference"),
    [
        (volume(), volume(), 0, 0, 0),
        (volume(), volume((0, 1)), 0, 0, 1),
        (volume((0, 0.5)), volume(), 1, 0, 0),
        (volume((0, 0.5)), volume((6, 1)), 1, 0, 1),
    ],
    ids=["both empty", "prediction empty", "reference empty", "no match"],
)
def test_empty_table(y_pred, y, n, n_true, n_reference):
    found = find_candidates(y_pred, y > 0, spacing_mm=MM)
    assert (len(found.confidence), found.is_true.sum(), found.n_reference) == (n, n_true, n_reference)


def test_pooling_adds_up():
    parts = [LesionCandidates([0.5], [True], 2), LesionCandidates([], [], 0), LesionCandidates([0.1, 0.9], [0, 0], 1)]
    pooled = pool_candidates(parts)
    assert pooled.confidence.tolist() == [0.5, 0.1, 0.9]
    assert pooled.is_true.tolist() == [True, False, False]
    assert (pooled.n_reference, pooled.n_pairs) == (3, 3)
    assert pool_candidates([]).n_pairs == 0


def test_metrics_pool_pairs_and_channels():
    y_pred = torch.cat([batch(volume((0, 0.9), (4, 0.8)), volume()), batch(volume((8, 0.7)), volume())], dim=1)
    y = torch.cat([batch(volume((0, 1)), volume((0, 1))), batch(volume((8, 1)), volume())], dim=1)
    expected = LesionCandidates([0.9, 0.8, 0.7], [True, False, True], n_reference=3, n_pairs=2)
    whole, parts = (LesionFrocMetric(spacing_mm=MM, false_per_pair=(0, 0.5)) for _ in range(2))
    whole(y_pred=y_pred, y=y)
    for pred, ref in zip(y_pred, y, strict=True):
        parts(y_pred=[pred], y=[ref])
    np.testing.assert_allclose(whole.aggregate(), compute_lesion_froc(expected, false_per_pair=(0, 0.5)))
    torch.testing.assert_close(whole.aggregate(), parts.aggregate())
    precision = LesionAveragePrecisionMetric(spacing_mm=MM)
    precision(y_pred=y_pred, y=y)
    assert precision.aggregate().item() == pytest.approx(compute_lesion_average_precision(expected))


def test_a_pair_without_any_lesion_counts_as_a_pair():
    metric = LesionFrocMetric(spacing_mm=MM, false_per_pair=(0.5,))
    metric(y_pred=batch(volume((0, 0.5), (4, 0.9))), y=batch(volume((0, 1))))
    assert metric.aggregate().item() == 0  # one false lesion in one pair comes first
    metric(y_pred=batch(volume()), y=batch(volume()))
    assert metric.aggregate().item() == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LesionCandidates([0.5], [True, False], 2), "one finite confidence and one flag"),
        (lambda: LesionCandidates([np.nan], [True], 2), "1 that are not finite"),
        (lambda: LesionCandidates([0.5, 0.6], [True, True], 1), "match one to one"),
        (lambda: find_candidates(-volume((0, 1)), volume() > 0, spacing_mm=MM), "of at least 0"),
        (lambda: LesionAveragePrecisionMetric(spacing_mm=MM).aggregate(), "Nothing to aggregate"),
        (lambda: LesionAveragePrecisionMetric(spacing_mm=MM)(batch(volume())), "pass y"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
