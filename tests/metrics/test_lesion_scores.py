# SPDX-License-Identifier: Apache-2.0
"""Counts and scores of one mask, on paper and against loops."""

import numpy as np
import pytest
from scipy import ndimage

from monai_microchange.metrics import LesionCounts, count_lesions, match_lesions, score_lesions

MM = (1.0, 1.0, 1.0)
NAN = float("nan")


def mask(*boxes):
    """Mask (12, 12, 12) of boxes, each given as its first corner and its extent."""
    out = np.zeros((12, 12, 12), dtype=bool)
    for (i, j, k), (a, b, c) in boxes:
        out[i : i + a, j : j + b, k : k + c] = True
    return out


EMPTY = mask()
ONE = mask(((0, 0, 0), (2, 2, 2)))
ELSEWHERE = mask(((6, 6, 6), (2, 2, 2)))
# case: prediction, reference; sensitivity, precision, F1, Dice, volume ratio
TABLE = {
    "both empty": (EMPTY, EMPTY, NAN, NAN, NAN, NAN, NAN),
    "prediction empty": (EMPTY, ONE, 0, NAN, 0, 0, 0),
    "reference empty": (ONE, EMPTY, NAN, 0, 0, 0, NAN),
    "no match": (ELSEWHERE, ONE, 0, 0, 0, 0, 1),
}


@pytest.mark.parametrize("case", TABLE)
def test_empty_table_of_scores(case):
    y_pred, y, *expected = TABLE[case]
    s = score_lesions(y_pred, y, spacing_mm=MM)
    np.testing.assert_equal([s.sensitivity, s.precision, s.f1, s.dice, s.volume_ratio], expected)


def test_empty_score_is_an_argument():
    both = score_lesions(EMPTY, EMPTY, spacing_mm=MM, empty_score=1.0)
    assert (both.f1, both.dice) == (1, 1)


def test_specks_make_an_empty_mask_for_lesions_but_not_for_voxels():
    speck = mask(((0, 0, 0), (2, 1, 1)))
    s = score_lesions(speck, speck, spacing_mm=MM)
    np.testing.assert_equal([s.f1, s.dice, s.volume_ratio], [NAN, 1, 1])


def test_case_on_paper():
    # Reference 8, 8, 40 mm3; prediction: the first with a layer more (12), the third but a quarter (30), two false.
    y = mask(((0, 0, 0), (2, 2, 2)), ((0, 6, 0), (2, 2, 2)), ((5, 0, 0), (5, 2, 4)))
    y_pred = mask(((0, 0, 0), (3, 2, 2)), ((5, 0, 0), (5, 2, 3)), ((0, 0, 8), (3, 1, 1)), ((8, 8, 8), (3, 3, 3)))
    s = score_lesions(y_pred, y, spacing_mm=MM)
    assert (s.n_reference, s.n_predicted, s.n_found) == (3, 4, 2)
    assert (s.sensitivity, s.precision, s.f1) == (2 / 3, 2 / 4, 4 / 7)
    assert s.dice == 2 * (8 + 30) / (56 + 72)
    assert s.volume_ratio == 72 / 56
    assert [(b.lower_mm3, b.upper_mm3) for b in s.by_size] == [(0, 10), (10, 25), (25, 100), (100, float("inf"))]
    assert [(b.n_reference, b.n_found, b.n_predicted, b.n_false) for b in s.by_size] == [
        (2, 1, 1, 1),
        (0, 0, 1, 0),
        (1, 1, 2, 1),
        (0, 0, 0, 0),
    ]
    np.testing.assert_equal([b.sensitivity for b in s.by_size], [0.5, NAN, 1, NAN])
    np.testing.assert_equal([b.precision for b in s.by_size], [0, 1, 0.5, NAN])


def test_spacing_moves_lesions_between_bins():
    coarse = score_lesions(ONE, ONE, spacing_mm=(1, 1, 3))
    assert [b.n_found for b in coarse.by_size] == [0, 1, 0, 0]  # 24 mm3


def test_bins_add_up_to_the_whole():
    rng = np.random.default_rng(0)
    y, y_pred = (ndimage.gaussian_filter(rng.normal(size=(30, 30, 20)), 1.2) > 0.25 for _ in range(2))
    matches = match_lesions(y_pred | y & (rng.random(y.shape) < 0.7), y, spacing_mm=(1, 1, 2))
    bounds = [(0, 10), (10, 25), (25, 100), (100, float("inf"))]
    assert sum((count_lesions(matches, bound) for bound in bounds), LesionCounts()) == count_lesions(matches)


@pytest.mark.parametrize("bound", [(0, 10), (10, 25), (25, float("inf"))])
def test_counts_of_a_size_agree_with_loops(bound):
    rng = np.random.default_rng(1)
    y = ndimage.gaussian_filter(rng.normal(size=(30, 30, 20)), 1.2) > 0.3
    y_pred = ndimage.binary_dilation(y) ^ (rng.random(y.shape) < 0.02)
    matches = match_lesions(y_pred, y, spacing_mm=MM)
    inside = {
        name: [n for n in range(1, labels.max() + 1) if bound[0] <= (labels == n).sum() < bound[1]]
        for name, labels in (("pred", matches.predicted_labels), ("ref", matches.reference_labels))
    }
    partners = {"pred": set(matches.pairs[:, 0]), "ref": set(matches.pairs[:, 1])}
    counts = count_lesions(matches, bound)
    assert (counts.n_reference, counts.n_predicted) == (len(inside["ref"]), len(inside["pred"]))
    assert counts.n_found == len(partners["ref"] & set(inside["ref"]))
    assert counts.n_true == len(partners["pred"] & set(inside["pred"]))


def test_a_bin_edge_survives_single_precision():
    ten = mask(((0, 0, 0), (5, 2, 1)))
    matches = match_lesions(ten, ten, spacing_mm=(1, 1, np.float32(0.9999999)))
    assert count_lesions(matches, (10, 25)).n_found == 1


@pytest.mark.parametrize(
    ("counts", "f1"),
    [
        (LesionCounts(), NAN),
        (LesionCounts(n_reference=2), 0),
        (LesionCounts(n_predicted=2, n_false=2), 0),
        (LesionCounts(2, 0, 2, 2), 0),
        (LesionCounts(0, 0, 2, 1), NAN),  # one is true, its partner is of another size
        (LesionCounts(2, 1, 3, 1), 2 * (1 / 2) * (2 / 3) / (1 / 2 + 2 / 3)),
    ],
)
def test_f1_of_counts(counts, f1):
    np.testing.assert_equal(counts.f1, f1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: score_lesions(ONE, ONE, spacing_mm=MM, size_edges_mm3=(10, 10)), "must rise"),
        (lambda: count_lesions(match_lesions(ONE, ONE, spacing_mm=MM), (10, 10)), "size_mm3 must rise"),
        (lambda: count_lesions(match_lesions(ONE, ONE, spacing_mm=MM), (-1, 10)), "size_mm3 must rise"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
