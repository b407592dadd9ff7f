# SPDX-License-Identifier: Apache-2.0
"""Boxes paired in the order of confidence, on paper and against MONAI."""

import numpy as np
import pytest
import torch
from monai.apps.detection.metrics.matching import matching_batch
from monai.data.box_utils import box_iou

from monai_microchange.metrics import LesionCandidates, box_ious, compute_lesion_average_precision, match_boxes

CUBE = [0.0, 0.0, 0.0, 2.0, 2.0, 2.0]


def boxes(seed, n):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 12, (n, 3))
    return np.concatenate([low, low + rng.uniform(2, 6, (n, 3))], axis=1)


def test_case_on_paper():
    # The surest takes the cube (IoU 8/12); the exact one comes too late and is false; the third is elsewhere.
    taller, far, other = [0, 0, 0, 2, 2, 3], [9, 9, 9, 10, 10, 10], [20, 0, 0, 21, 1, 1]
    matches = match_boxes([CUBE, taller, far], [CUBE, other], confidence=[0.8, 0.9, 0.7])
    assert matches.pairs.tolist() == [[1, 0]]
    np.testing.assert_allclose(matches.pair_iou, [8 / 12])
    assert (matches.missed.tolist(), matches.false.tolist()) == ([1], [0, 2])
    assert matches.is_true.tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("y_pred", "y", "missed", "false"),
    [([], [], [], []), ([], [CUBE], [0], []), ([CUBE], [], [], [0]), ([CUBE], [[9, 9, 9, 10, 10, 10]], [0], [0])],
    ids=["both empty", "prediction empty", "reference empty", "no match"],
)
def test_empty_table(y_pred, y, missed, false):
    matches = match_boxes(y_pred, y, confidence=[0.5] * len(y_pred))
    assert matches.pairs.shape == (0, 2)
    assert (matches.missed.tolist(), matches.false.tolist()) == (missed, false)


@pytest.mark.parametrize(("min_iou", "found"), [(0.5, 1), (0.5001, 0)])
def test_an_iou_of_exactly_the_threshold_counts(min_iou, found):
    half = [0, 0, 0, 2, 2, 1]
    assert len(match_boxes([half], [CUBE], confidence=[1.0], min_iou=min_iou).pairs) == found


def test_millimetres_not_voxels_decide():
    """The same shift is small beside a long side and large beside a short one."""
    long, short = [0, 0, 0, 10, 1, 1], [0, 0, 0, 1, 10, 1]
    assert box_ious(np.array([long]) + [0.5, 0, 0] * 2, np.array([long])).item() == pytest.approx(9.5 / 10.5)
    assert box_ious(np.array([short]) + [0.5, 0, 0] * 2, np.array([short])).item() == pytest.approx(5 / 15)


def test_equals_go_by_their_order():
    twice = match_boxes([CUBE, CUBE], [CUBE, CUBE], confidence=[0.5, 0.5])
    assert twice.pairs.tolist() == [[0, 0], [1, 1]]


def test_iou_agrees_with_monai():
    y_pred, y = boxes(0, 12), boxes(1, 9)
    np.testing.assert_allclose(box_ious(y_pred, y), box_iou(torch.as_tensor(y_pred), torch.as_tensor(y)), atol=1e-5)


@pytest.mark.parametrize("min_iou", [0.1, 0.3])
@pytest.mark.parametrize("seed", range(5))
def test_matching_agrees_with_monai(seed, min_iou):
    y_pred, y = boxes(seed, 15), boxes(seed + 100, 8)
    y_pred[:5] = y[:5] + np.random.default_rng(seed).normal(0, 0.3, (5, 6))
    confidence = np.random.default_rng(seed + 200).random(15)
    ours = match_boxes(y_pred, y, confidence=confidence, min_iou=min_iou)
    theirs = matching_batch(
        iou_fn=box_ious,
        iou_thresholds=[min_iou],
        pred_boxes=[y_pred],
        pred_classes=[np.zeros(15, int)],
        pred_scores=[confidence],
        gt_boxes=[y],
        gt_classes=[np.zeros(8, int)],
        gt_ignore=[np.zeros(8, bool)],
        max_detections=100,
    )[0][0]
    assert 0 < ours.is_true.sum() < 15
    np.testing.assert_array_equal(theirs["dtMatches"][0] > 0, ours.is_true[np.argsort(-confidence, kind="stable")])
    assert np.flatnonzero(theirs["gtMatches"][0] == 0).tolist() == ours.missed.tolist()


def test_flags_make_a_ranking():
    y_pred, y = [CUBE, [9, 9, 9, 10, 10, 10]], [CUBE]
    confidence = [0.6, 0.9]
    matches = match_boxes(y_pred, y, confidence=confidence)
    assert compute_lesion_average_precision(LesionCandidates(confidence, matches.is_true, len(y))) == 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: match_boxes([CUBE[:4]], [CUBE], confidence=[1]), r"y_pred must be finite boxes \(N, 6\)"),
        (lambda: match_boxes([CUBE], [[0, 0, 0, 2, 2, 0]], confidence=[1]), "y: each box must go"),
        (lambda: match_boxes([CUBE], [CUBE], confidence=[1, 2]), "one a predicted box"),
        (lambda: match_boxes([CUBE], [CUBE], confidence=[float("nan")]), "one a predicted box"),
        (lambda: match_boxes([CUBE], [CUBE], confidence=[1], min_iou=0), r"min_iou must lie in \(0, 1\]"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
