# SPDX-License-Identifier: Apache-2.0
"""Dice of change maps, on paper and against SciPy."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import dice as dice_distance

from monai_microchange.metrics import ANY_CHANGE, BY_DIRECTION, BY_TYPE, ChangeDiceMetric, compute_change_dice

NAN = float("nan")


def labels(*values):
    """One label map (1, 1, 8) that begins with these values."""
    return torch.tensor([*values, *[0] * (8 - len(values))], dtype=torch.uint8)[None, None]


def test_groups_follow_the_change_types():
    assert (ANY_CHANGE, BY_DIRECTION, BY_TYPE) == (((1, 2, 3, 4),), ((1, 2), (3, 4)), ((1,), (2,), (3,), (4,)))


def test_case_on_paper():
    y_pred, y = labels(1, 1, 2, 0, 4), labels(1, 2, 0, 3, 3)
    # Any: 3 shared of 4 and 4. Gain: 2 shared of 3 and 2. Loss: 1 shared of 1 and 2.
    np.testing.assert_allclose(compute_change_dice(y_pred, y), [[6 / 8]])
    np.testing.assert_allclose(compute_change_dice(y_pred, y, groups=BY_DIRECTION), [[4 / 5, 2 / 3]])
    np.testing.assert_allclose(compute_change_dice(y_pred, y, groups=BY_TYPE), [[2 / 3, 0, 0, 0]])


@pytest.mark.parametrize(
    ("y_pred", "y", "expected"),
    [
        (labels(), labels(), NAN),
        (labels(), labels(1), 0),
        (labels(1), labels(), 0),
        (labels(1), labels(0, 1), 0),
    ],
    ids=["both empty", "prediction empty", "reference empty", "no common voxel"],
)
def test_empty_table(y_pred, y, expected):
    np.testing.assert_equal(compute_change_dice(y_pred, y).numpy(), [[expected]])


def test_empty_score_is_an_argument():
    assert compute_change_dice(labels(), labels(), empty_score=1.0).item() == 1


@pytest.mark.parametrize("shape", [(3, 1, 9, 7), (2, 1, 6, 5, 4)])
def test_agrees_with_scipy(shape):
    rng = np.random.default_rng(0)
    y_pred, y = rng.integers(0, 5, (2, *shape))
    ours = compute_change_dice(torch.as_tensor(y_pred), torch.as_tensor(y).float(), groups=BY_TYPE)
    naive = [
        [1 - dice_distance((p == t).ravel(), (r == t).ravel()) for t in (1, 2, 3, 4)]
        for p, r in zip(y_pred, y, strict=True)
    ]
    np.testing.assert_allclose(ours, naive, rtol=1e-6)


def test_exchanging_the_visits_exchanges_the_columns():
    y_pred, y = torch.randint(0, 5, (2, 4, 1, 5, 5, 5), generator=torch.Generator().manual_seed(0))
    swapped = [torch.where(x > 0, 5 - x, 0) for x in (y_pred, y)]
    there, back = compute_change_dice(y_pred, y, groups=BY_TYPE), compute_change_dice(*swapped, groups=BY_TYPE)
    torch.testing.assert_close(there, back.flip(1))


def test_metric_leaves_nan_out():
    metric = ChangeDiceMetric(groups=BY_DIRECTION, reduction="mean_batch")
    metric(y_pred=torch.cat([labels(1), labels(1, 1)]), y=torch.cat([labels(1), labels(0, 1)]))
    metric(y_pred=[labels()[0]], y=[labels()[0]])
    np.testing.assert_allclose(metric.aggregate(), [(1 + 2 / 3) / 2, NAN])
    assert metric.aggregate("none").shape == (3, 2)
    assert metric.aggregate("mean").item() == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compute_change_dice(labels()[0], labels()[0]), r"\(B, 1, \*spatial\)"),
        (lambda: compute_change_dice(labels(), torch.cat([labels(), labels()])), "of one shape"),
        (lambda: compute_change_dice(labels(), labels(), groups=()), "at least one group"),
        (lambda: ChangeDiceMetric()(labels()), "pass y"),
        (lambda: ChangeDiceMetric(reduction="x"), "reduction must be one of"),
        (lambda: ChangeDiceMetric().aggregate(), "Nothing to aggregate"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
