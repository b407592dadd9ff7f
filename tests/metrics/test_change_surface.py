# SPDX-License-Identifier: Apache-2.0
"""Surface distances in mm, on paper and against loops over voxels."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.distance import cdist

from monai_microchange.metrics import (
    ChangeSurfaceMetric,
    compute_change_surface,
    lesion_surfaces_mm,
    match_lesions,
    surface_mm,
)

MM = (1.0, 1.0, 1.0)
NAN = float("nan")
EMPTY, ONE, ELSEWHERE = np.zeros((3, 12, 10, 8), dtype=bool)
ONE[:2, :2, :2], ELSEWHERE[5:7, :2, :2] = True, True


def batch(*volumes):
    return torch.as_tensor(np.stack(volumes))[:, None]


def naive(y_pred, y, spacing, measure):
    """All distances between all voxels that have a face neighbour outside."""
    surfaces = []
    for mask in (y_pred, y):
        padded = np.pad(mask, 1)
        edge = [
            index
            for index in np.argwhere(padded)
            if not all(padded[tuple(index + step)] for axis in np.eye(3, dtype=int) for step in (axis, -axis))
        ]
        surfaces.append((np.array(edge) - 1) * spacing)
    between = cdist(*surfaces)
    there, back = between.min(axis=1), between.min(axis=0)
    if measure == "average":
        return np.concatenate([there, back]).mean()
    return max(np.percentile(there, 95), np.percentile(back, 95))


# case: prediction, reference; whole masks, per lesion
TABLE = {
    "both empty": (EMPTY, EMPTY, NAN, NAN),
    "prediction empty": (EMPTY, ONE, NAN, NAN),
    "reference empty": (ONE, EMPTY, NAN, NAN),
    "no match": (ELSEWHERE, ONE, 4.5, NAN),  # the near faces are 4 mm apart, the far ones 5
}


@pytest.mark.parametrize("case", TABLE)
def test_empty_table(case):
    y_pred, y, whole, per_lesion = TABLE[case]
    pair = {"y_pred": batch(y_pred), "y": batch(y), "spacing_mm": MM}
    np.testing.assert_equal(compute_change_surface(**pair).item(), whole)
    np.testing.assert_equal(compute_change_surface(**pair, per_lesion=True).item(), per_lesion)


def test_a_penalty_for_nothing_found_is_an_argument():
    assert surface_mm(EMPTY, ONE, spacing_mm=MM, one_empty_mm=50.0) == 50
    assert surface_mm(ONE, EMPTY, spacing_mm=MM, one_empty_mm=50.0) == 50
    assert np.isnan(surface_mm(EMPTY, EMPTY, spacing_mm=MM, one_empty_mm=50.0))


@pytest.mark.parametrize(("axis", "mm"), [(0, 1.0), (1, 2.0), (2, 5.0)])
def test_two_voxels_apart_along_each_axis(axis, mm):
    y_pred, y = np.zeros((2, 4, 4, 4), dtype=bool)
    y[1, 1, 1] = True
    y_pred[tuple(np.array([1, 1, 1]) + 2 * np.eye(3, dtype=int)[axis])] = True
    for measure in ("average", "hausdorff95"):
        assert surface_mm(y_pred, y, spacing_mm=(1, 2, 5), measure=measure) == 2 * mm


@pytest.mark.parametrize("measure", ["average", "hausdorff95"])
@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_loops(measure, seed):
    rng, spacing = np.random.default_rng(seed), (0.8, 1.1, 3.0)
    y, y_pred = (ndimage.gaussian_filter(rng.normal(size=(14, 12, 9)), 1.5) > 0.15 for _ in range(2))
    ours = surface_mm(y_pred, y, spacing_mm=spacing, measure=measure)
    assert ours == pytest.approx(naive(y_pred, y, spacing, measure), rel=1e-5)


def test_each_lesion_is_measured_against_its_partner():
    rng, spacing = np.random.default_rng(7), (1.0, 1.0, 2.5)
    y = ndimage.gaussian_filter(rng.normal(size=(24, 24, 12)), 1.5) > 0.2
    matches = match_lesions(ndimage.binary_dilation(y), y, spacing_mm=spacing)
    expected = [
        naive(matches.predicted_labels == p, matches.reference_labels == r, spacing, "average")
        for p, r in matches.pairs
    ]
    assert len(expected) > 1
    np.testing.assert_allclose(lesion_surfaces_mm(matches, spacing_mm=spacing), expected, rtol=1e-5)
    ours = compute_change_surface(batch(ndimage.binary_dilation(y)), batch(y), spacing_mm=spacing, per_lesion=True)
    assert ours.item() == pytest.approx(np.median(expected), rel=1e-5)


def test_exchanging_the_masks_changes_nothing():
    rng = np.random.default_rng(9)
    y, y_pred = (rng.random((6, 6, 6)) < 0.2 for _ in range(2))
    for measure in ("average", "hausdorff95"):
        there, back = (surface_mm(*pair, spacing_mm=(1, 2, 3), measure=measure) for pair in ((y, y_pred), (y_pred, y)))
        assert there == pytest.approx(back)
        assert surface_mm(y, y, spacing_mm=MM, measure=measure) == 0


def test_metric_collects_and_takes_a_spacing_for_one_call():
    metric = ChangeSurfaceMetric(spacing_mm=MM)
    metric(y_pred=batch(ELSEWHERE, EMPTY), y=batch(ONE, ONE))
    metric(y_pred=list(batch(ELSEWHERE)), y=list(batch(ONE)), spacing_mm=(2, 1, 1))
    np.testing.assert_equal(metric.aggregate("none").numpy(), [[4.5], [NAN], [9]])
    assert metric.aggregate().item() == pytest.approx(6.75)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: surface_mm(ONE, ONE, spacing_mm=MM, measure="max"), "measure must be one of average, hausdorff95"),
        (lambda: surface_mm(ONE, ONE[:4], spacing_mm=MM), "resample both to one grid"),
        (lambda: surface_mm(ONE, ONE, spacing_mm=(1, 1)), "three positive numbers"),
        (lambda: ChangeSurfaceMetric(spacing_mm=MM, measure="max"), "measure must be one of"),
        (lambda: compute_change_surface(batch(ONE)[0], batch(ONE)[0], spacing_mm=MM), r"\(B, C, I, J, K\)"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
