# SPDX-License-Identifier: Apache-2.0
"""Direction of what was found, on paper and against loops."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from monai_microchange.enums import ChangeType
from monai_microchange.metrics import (
    DirectionAccuracyMetric,
    compute_direction_accuracy,
    count_directions,
    match_lesions,
)

MM = (1.0, 1.0, 1.0)
NAN = float("nan")
NEW, ENLARGING, SHRINKING, RESOLVED = map(int, ChangeType)


def labels(**places):
    """Label map (12, 6, 6): lesions of 2 x 2 x 2 voxels, by the index at which they start along the first axis."""
    out = np.zeros((12, 6, 6), dtype=np.uint8)
    for place, label in places.items():
        start = int(place.removeprefix("at"))
        out[start : start + 2, :2, :2] = label
    return out


def batch(*volumes):
    return torch.as_tensor(np.stack(volumes))[:, None]


@pytest.mark.parametrize(
    ("y_pred", "y"),
    [
        (labels(), labels()),
        (labels(), labels(at0=NEW)),
        (labels(at0=NEW), labels()),
        (labels(at0=NEW), labels(at6=NEW)),
        (labels(at0=NEW), labels(at0=9)),
    ],
    ids=["both empty", "prediction empty", "reference empty", "no match", "reference unsigned"],
)
def test_empty_table(y_pred, y):
    assert np.isnan(compute_direction_accuracy(batch(y_pred), batch(y), spacing_mm=MM).item())


def test_case_on_paper():
    """New called enlarging is right, resolved called new is wrong, what is false or missed does not count."""
    y = labels(at0=NEW, at4=RESOLVED, at8=SHRINKING)
    y_pred = labels(at0=ENLARGING, at4=NEW)
    y_pred[:3, 4:, 4:] = RESOLVED
    assert count_directions(y_pred, y, spacing_mm=MM) == (1, 2)
    assert compute_direction_accuracy(batch(y_pred), batch(y), spacing_mm=MM).item() == 0.5


def test_most_of_the_shared_voxels_decide():
    y, y_pred = labels(at0=NEW), labels(at0=NEW)
    y_pred[0, :2, :2] = RESOLVED  # four of eight: a tie is wrong
    assert count_directions(y_pred, y, spacing_mm=MM) == (0, 1)
    y_pred[0, 0, 0] = NEW
    assert count_directions(y_pred, y, spacing_mm=MM) == (1, 1)
    assert count_directions(y, labels(at0=NEW) * (y_pred > 0) + 3 * (y_pred == RESOLVED), spacing_mm=MM) == (1, 1)


def test_a_tie_in_the_reference_is_not_judged():
    y = labels(at0=NEW)
    y[0, :2, :2] = RESOLVED
    assert count_directions(labels(at0=NEW), y, spacing_mm=MM) == (0, 0)


def test_classes_of_a_training_label():
    """1 gain, 2 loss, 3 changed without direction."""
    y, y_pred = labels(at0=1, at4=2, at8=3), labels(at0=1, at4=1, at8=1)
    assert count_directions(y_pred, y, spacing_mm=MM, groups=((1,), (2,))) == (1, 2)


def random_labels(seed):
    rng = np.random.default_rng(seed)
    mask = ndimage.gaussian_filter(rng.normal(size=(24, 24, 12)), 1.5) > 0.15
    return np.where(mask, ndimage.zoom(rng.integers(1, 5, (4, 4, 2)), 6, order=0), 0).astype(np.uint8)


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_loops(seed):
    y, y_pred = random_labels(seed), random_labels(seed + 50)
    y_pred = np.where(np.random.default_rng(seed).random(y.shape) < 0.5, y, y_pred)
    matches = match_lesions(y_pred > 0, y > 0, spacing_mm=MM)
    verdicts = []
    for predicted, reference in matches.pairs:
        votes = {"pred": 0, "ref": 0}
        for index in np.argwhere((matches.predicted_labels == predicted) & (matches.reference_labels == reference)):
            votes["pred"] += 1 if y_pred[tuple(index)] <= 2 else -1
            votes["ref"] += 1 if y[tuple(index)] <= 2 else -1
        if votes["ref"] != 0:
            verdicts.append(np.sign(votes["pred"]) == np.sign(votes["ref"]))
    assert len(verdicts) > 0
    assert count_directions(y_pred, y, spacing_mm=MM) == (sum(verdicts), len(verdicts))


def test_exchanging_the_visits_changes_nothing():
    y = random_labels(1)
    y_pred = np.where(np.random.default_rng(1).random(y.shape) < 0.5, y, random_labels(51))
    swapped = [np.where(x > 0, 5 - x.astype(int), 0) for x in (y_pred, y)]
    assert count_directions(y_pred, y, spacing_mm=MM) == count_directions(*swapped, spacing_mm=MM)


def test_metric_leaves_undefined_cases_out():
    metric = DirectionAccuracyMetric(spacing_mm=MM)
    metric(y_pred=batch(labels(at0=NEW), labels()), y=batch(labels(at0=ENLARGING), labels(at0=NEW)))
    metric(y_pred=list(batch(labels(at0=NEW))), y=list(batch(labels(at0=RESOLVED))))
    np.testing.assert_equal(metric.aggregate("none").numpy(), [[1], [NAN], [0]])
    assert metric.aggregate().item() == 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compute_direction_accuracy(batch(labels())[0], batch(labels())[0], spacing_mm=MM), "label maps"),
        (lambda: count_directions(labels(), labels(), spacing_mm=MM, groups=((1,),)), "got 1 groups"),
        (lambda: DirectionAccuracyMetric(spacing_mm=MM)(batch(labels())), "pass y"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
