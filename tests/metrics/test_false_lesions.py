# SPDX-License-Identifier: Apache-2.0
"""False lesions where nothing changed, on paper and against SciPy."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from monai_microchange.metrics import FalseLesionMetric, compute_false_lesions

MM = (1.0, 1.0, 1.0)
NAN = float("nan")
EMPTY, ONE, ELSEWHERE = np.zeros((3, 10, 10, 10), dtype=bool)
ONE[:2, :2, :2], ELSEWHERE[5:7, 5:7, 5:7] = True, True


def batch(*volumes):
    return torch.as_tensor(np.stack(volumes))[:, None]


@pytest.mark.parametrize(
    ("y_pred", "y", "count", "volume"),
    [(EMPTY, EMPTY, 0, 0), (EMPTY, ONE, NAN, NAN), (ONE, EMPTY, 1, 8), (ELSEWHERE, ONE, NAN, NAN)],
    ids=["both empty", "prediction empty", "reference empty", "no match"],
)
def test_empty_table(y_pred, y, count, volume):
    pair = {"y_pred": batch(y_pred), "y": batch(y), "spacing_mm": MM}
    np.testing.assert_equal(compute_false_lesions(**pair).item(), count)
    np.testing.assert_equal(compute_false_lesions(**pair, measure="volume_mm3").item(), volume)


def test_specks_are_no_lesions_and_have_no_volume():
    """Two voxels of 1.4 mm3 are 2.8 mm3; eight are 11.2."""
    y_pred = ONE.copy()
    y_pred[8, 8, 8:] = True
    volume = compute_false_lesions(batch(y_pred), batch(EMPTY), spacing_mm=(1, 1, 1.4), measure="volume_mm3")
    assert volume.item() == pytest.approx(11.2)


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_scipy(seed):
    y_pred = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(20, 20, 10)), 1.0) > 0.3
    labels, n = ndimage.label(y_pred, np.ones((3, 3, 3)))
    volumes = ndimage.sum(y_pred, labels, range(1, n + 1)) * 2.0
    pair = {"y_pred": batch(y_pred), "y": batch(np.zeros_like(y_pred)), "spacing_mm": (1, 1, 2)}
    assert compute_false_lesions(**pair).item() == (volumes >= 3).sum()
    assert compute_false_lesions(**pair, measure="volume_mm3").item() == volumes[volumes >= 3].sum()


def test_metric_is_per_pair_without_change():
    metric = FalseLesionMetric(spacing_mm=MM)
    metric(y_pred=batch(ONE | ELSEWHERE, EMPTY, ONE), y=batch(EMPTY, EMPTY, ELSEWHERE))
    assert metric.aggregate().item() == 1  # 2 and 0; the third pair did change
    metric(y_pred=list(batch(ONE)), y=list(batch(EMPTY)))
    np.testing.assert_equal(metric.aggregate("none").numpy(), [[2], [0], [NAN], [1]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compute_false_lesions(batch(ONE), batch(ONE), spacing_mm=MM, measure="x"), "measure must be one of"),
        (lambda: FalseLesionMetric(spacing_mm=MM, measure="x"), "measure must be one of"),
        (lambda: compute_false_lesions(batch(ONE) * 3, batch(ONE), spacing_mm=MM), "must hold only 0 and 1"),
        (lambda: compute_false_lesions(batch(ONE), batch(ONE), spacing_mm=(1, 1, 0)), "three positive numbers"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
