# SPDX-License-Identifier: Apache-2.0
"""Sensitivity, precision and F1 of batches, and their cumulative classes."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from monai_microchange.metrics import (
    LesionF1Metric,
    LesionPrecisionMetric,
    LesionSensitivityMetric,
    compute_lesion_f1,
    compute_lesion_precision,
    compute_lesion_sensitivity,
    score_lesions,
)

MM = (1.0, 1.0, 1.0)
NAN = float("nan")
CLASSES = {
    compute_lesion_sensitivity: LesionSensitivityMetric,
    compute_lesion_precision: LesionPrecisionMetric,
    compute_lesion_f1: LesionF1Metric,
}


def mask(*boxes):
    """Mask (12, 12, 12) of boxes, each given as its first corner and its extent."""
    out = np.zeros((12, 12, 12), dtype=bool)
    for (i, j, k), (a, b, c) in boxes:
        out[i : i + a, j : j + b, k : k + c] = True
    return out


EMPTY = mask()
ONE = mask(((0, 0, 0), (2, 2, 2)))
ELSEWHERE = mask(((6, 6, 6), (2, 2, 2)))
# case: prediction, reference; sensitivity, precision, F1
TABLE = {
    "both empty": (EMPTY, EMPTY, (NAN, NAN, NAN)),
    "prediction empty": (EMPTY, ONE, (0, NAN, 0)),
    "reference empty": (ONE, EMPTY, (NAN, 0, 0)),
    "no match": (ELSEWHERE, ONE, (0, 0, 0)),
}


def batch(*volumes):
    return torch.as_tensor(np.stack(volumes))[:, None]


@pytest.mark.parametrize("case", TABLE)
def test_empty_table(case):
    y_pred, y, expected = TABLE[case]
    for (compute, metric_class), value in zip(CLASSES.items(), expected, strict=True):
        np.testing.assert_equal(compute(batch(y_pred), batch(y), spacing_mm=MM).item(), value)
        metric = metric_class(spacing_mm=MM)
        np.testing.assert_equal(metric(y_pred=batch(y_pred), y=batch(y)).item(), value)
        np.testing.assert_equal(metric.aggregate().item(), value)


def test_empty_score_is_an_argument():
    assert compute_lesion_f1(batch(EMPTY), batch(EMPTY), spacing_mm=MM, empty_score=0.0).item() == 0
    metric = LesionF1Metric(spacing_mm=MM, empty_score=1.0)
    assert metric(batch(EMPTY), batch(EMPTY)).item() == 1


def test_case_on_paper():
    # Reference 8, 8, 40 mm3; prediction: the first with a layer more (12), the third but a quarter (30), two false.
    y = mask(((0, 0, 0), (2, 2, 2)), ((0, 6, 0), (2, 2, 2)), ((5, 0, 0), (5, 2, 4)))
    y_pred = mask(((0, 0, 0), (3, 2, 2)), ((5, 0, 0), (5, 2, 3)), ((0, 0, 8), (3, 1, 1)), ((8, 8, 8), (3, 3, 3)))
    pair = {"y_pred": batch(y_pred), "y": batch(y), "spacing_mm": MM}
    expected = {
        (0, 10): (1 / 2, 0, 0),
        (10, 25): (NAN, 1, NAN),
        (25, 100): (1, 1 / 2, 2 / 3),
        None: (2 / 3, 1 / 2, 4 / 7),
    }
    for size, values in expected.items():
        chosen = {} if size is None else {"size_mm3": size}
        ours = [compute(**pair, **chosen).item() for compute in CLASSES]
        np.testing.assert_allclose(ours, values, rtol=1e-6)


def test_directions_are_channels():
    """The gain is found, but also called a loss elsewhere: gain perfect, loss without reference."""
    y, y_pred = (torch.as_tensor(np.stack(pair))[None] for pair in ((ONE, EMPTY), (ONE, ELSEWHERE)))
    np.testing.assert_equal(compute_lesion_sensitivity(y_pred, y, spacing_mm=MM).numpy(), [[1, NAN]])
    np.testing.assert_equal(compute_lesion_precision(y_pred, y, spacing_mm=MM).numpy(), [[1, 0]])
    np.testing.assert_equal(compute_lesion_f1(y_pred, y, spacing_mm=MM).numpy(), [[1, 0]])


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_naive_counting(seed):
    """Reference lesions that are plain boxes far apart, each predicted, shifted or left out: no assignment needed."""
    rng = np.random.default_rng(seed)
    y, y_pred, found, n_pred, n_ref = np.zeros((40, 40, 8), bool), np.zeros((40, 40, 8), bool), 0, 0, 0
    for i in range(0, 40, 10):
        for j in range(0, 40, 10):
            has, kind = rng.random() < 0.7, rng.choice(["none", "same", "shifted", "half"])
            y[i + 2 : i + 6, j + 2 : j + 6, 2:6] = has
            shift = {"none": None, "same": 0, "shifted": 3, "half": 2}[kind]
            if shift is not None:
                y_pred[i + 2 + shift : i + 6 + shift, j + 2 : j + 6, 2:6] = True
            n_ref, n_pred = n_ref + has, n_pred + (shift is not None)
            found += has and shift is not None and (4 - shift) / (4 + shift) >= 0.1  # 3: 1/7, found; IoU by hand
    ours = [compute(batch(y_pred), batch(y), spacing_mm=MM).item() for compute in CLASSES]
    np.testing.assert_allclose(ours, [found / n_ref, found / n_pred, 2 * found / (n_ref + n_pred)], rtol=1e-6)


def test_exchanging_the_masks_exchanges_sensitivity_and_precision():
    rng = np.random.default_rng(3)
    y, y_pred = (batch(ndimage.gaussian_filter(rng.normal(size=(24, 24, 12)), 1.5) > 0.15) for _ in range(2))
    there = compute_lesion_sensitivity(y_pred, y, spacing_mm=(1, 1, 3))
    assert there.item() == compute_lesion_precision(y, y_pred, spacing_mm=(1, 1, 3)).item()
    scores = score_lesions(y_pred[0, 0], y[0, 0], spacing_mm=(1, 1, 3))
    assert there.item() == pytest.approx(scores.sensitivity)
    assert compute_lesion_f1(y_pred, y, spacing_mm=(1, 1, 3)).item() == pytest.approx(scores.f1)


def test_one_spacing_an_item():
    # Two voxels: 2 mm3, too small, or 4 mm3.
    y = batch(mask(((0, 0, 0), (2, 1, 1))), mask(((0, 0, 0), (2, 1, 1))))
    f1 = compute_lesion_f1(y, y, spacing_mm=[(1, 1, 1), (1, 1, 2)])
    np.testing.assert_equal(f1.numpy(), [[NAN], [1]])


def test_channels_are_scored_apart():
    y = torch.as_tensor(np.stack([ONE, ELSEWHERE]))[None]
    np.testing.assert_equal(compute_lesion_f1(y.flip(1), y, spacing_mm=MM).numpy(), [[0, 0]])
    np.testing.assert_equal(compute_lesion_f1(y, y, spacing_mm=MM).numpy(), [[1, 1]])


def test_metric_collects_batches_and_lists_and_leaves_nan_out():
    metric = LesionF1Metric(spacing_mm=MM)
    metric(y_pred=batch(ONE, EMPTY), y=batch(ONE, EMPTY))  # 1, NaN
    metric(y_pred=list(batch(ELSEWHERE)), y=list(batch(ONE)))  # 0
    np.testing.assert_equal(metric.aggregate("none").numpy(), [[1], [NAN], [0]])
    assert metric.aggregate().item() == 0.5
    assert metric.aggregate().item() == 0.5  # the buffer is left as it was
    metric.reset()
    metric(y_pred=batch(EMPTY), y=batch(EMPTY))
    assert np.isnan(metric.aggregate().item())


def test_metric_takes_a_spacing_for_one_call():
    metric, thin = LesionF1Metric(spacing_mm=(1, 1, 2)), batch(mask(((0, 0, 0), (2, 1, 1))))
    assert metric(thin, thin).item() == 1
    assert np.isnan(metric(thin, thin, spacing_mm=MM).item())


def test_metric_of_one_size():
    metric = LesionSensitivityMetric(spacing_mm=MM, size_mm3=(10, 25))
    assert np.isnan(metric(batch(ONE), batch(ONE)).item())
    assert metric(batch(ONE), batch(ONE), spacing_mm=(1, 1, 2)).item() == 1


def test_metric_refuses_what_it_does_not_know():
    with pytest.raises(TypeError, match="takes only spacing_mm beside the masks, got spacing"):
        LesionF1Metric(spacing_mm=MM)(batch(ONE), batch(ONE), spacing=MM)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compute_lesion_f1(batch(ONE)[0], batch(ONE)[0], spacing_mm=MM), r"\(B, C, I, J, K\)"),
        (lambda: compute_lesion_f1(batch(ONE, ONE), batch(ONE), spacing_mm=MM), "of one shape"),
        (lambda: compute_lesion_f1(batch(ONE), batch(ONE), spacing_mm=1.0), "must have shape"),
        (lambda: LesionF1Metric(spacing_mm=MM, reduction="median"), "reduction must be one of"),
        (lambda: LesionF1Metric(spacing_mm=(1, 1, -1)), "three positive numbers"),
        (lambda: LesionF1Metric(spacing_mm=MM)(batch(ONE)), "pass y"),
        (lambda: LesionF1Metric(spacing_mm=MM).aggregate(), "Nothing to aggregate"),
        (lambda: LesionSensitivityMetric(spacing_mm=MM, size_mm3=(9, 3))(batch(ONE), batch(ONE)), "must rise"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
