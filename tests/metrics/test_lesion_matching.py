# SPDX-License-Identifier: Apache-2.0
"""Pairing of lesions, on paper and against brute force."""

from functools import cache

import numpy as np
import pytest
import torch
from scipy import ndimage

from monai_microchange.metrics import label_components, match_lesions

MM = (1.0, 1.0, 1.0)


def boxes(*corners, shape=(16, 16, 16)):
    """Mask of boxes, each given as ((i0, j0, k0), (i1, j1, k1)), the end excluded."""
    mask = np.zeros(shape, dtype=bool)
    for low, high in corners:
        mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


def blobs(seed, share=0.04, shape=(24, 24, 12)):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.2)
    return noise > np.quantile(noise, 1 - share)


def best_total_iou(y_pred, y, min_iou):
    """By loops and by trying every assignment: slow and plain."""
    lesions = []
    for mask in (y_pred, y):
        labels, n = ndimage.label(mask, np.ones((3, 3, 3)))
        lesions.append([labels == i for i in range(1, n + 1) if (labels == i).sum() >= 3])
    iou = [[(p & r).sum() / (p | r).sum() for r in lesions[1]] for p in lesions[0]]

    @cache
    def best(p, free):
        if p == len(lesions[0]):
            return 0.0
        taken = [iou[p][r] + best(p + 1, free - {r}) for r in free if iou[p][r] >= min_iou]
        return max([best(p + 1, free), *taken])

    return best(0, frozenset(range(len(lesions[1]))))


def test_case_on_paper():
    # Reference: A of 8, B of 8. Prediction: A with one more layer (12), a speck of 3 elsewhere. B is missed.
    y = boxes(((1, 1, 1), (3, 3, 3)), ((10, 10, 10), (12, 12, 12)))
    y_pred = boxes(((1, 1, 1), (4, 3, 3)), ((6, 6, 6), (9, 7, 7)))
    matches = match_lesions(y_pred, y, spacing_mm=MM)
    np.testing.assert_array_equal(matches.pairs, [[1, 1]])
    np.testing.assert_allclose(matches.pair_iou, [8 / 12])
    np.testing.assert_array_equal(matches.missed, [2])
    np.testing.assert_array_equal(matches.false, [2])
    np.testing.assert_array_equal(matches.reference_volumes_mm3, [8, 8])
    np.testing.assert_array_equal(matches.predicted_volumes_mm3, [12, 3])
    np.testing.assert_array_equal(matches.predicted_labels > 0, y_pred)


def test_fragments_find_a_lesion_once():
    y = boxes(((1, 1, 1), (9, 3, 3)))
    y_pred = boxes(((1, 1, 1), (4, 3, 3)), ((5, 1, 1), (9, 3, 3)))
    matches = match_lesions(y_pred, y, spacing_mm=MM)
    np.testing.assert_array_equal(matches.pairs, [[2, 1]])  # the larger fragment
    np.testing.assert_array_equal(matches.false, [1])


def test_one_blob_finds_one_of_two_lesions():
    y = boxes(((1, 1, 1), (4, 3, 3)), ((5, 1, 1), (9, 3, 3)))
    matches = match_lesions(boxes(((1, 1, 1), (9, 3, 3))), y, spacing_mm=MM)
    np.testing.assert_array_equal(matches.pairs, [[1, 2]])
    np.testing.assert_array_equal(matches.missed, [1])


def test_total_iou_goes_before_the_best_single_pair():
    # Along one line: reference a = 0..9, b = 11..14; prediction p = 4..13 (one piece), q = 0..2.
    # p meets a with 6/14 and b with 3/11, q meets a with 3/10. Greedy takes p-a and loses b: 0.43 < 3/11 + 3/10.
    line = np.zeros((4, 16, 3, 3), dtype=bool)
    line[0, 0:10, 1, 1] = line[0, 11:15, 1, 1] = True
    line[1, 4:14, 1, 1] = line[1, 0:3, 1, 1] = True
    matches = match_lesions(line[1], line[0], spacing_mm=MM)
    assert matches.n_found == 2
    np.testing.assert_allclose(matches.pair_iou, [3 / 10, 3 / 11])


@pytest.mark.parametrize(("n_shared", "found"), [(1, False), (2, True)])
def test_an_iou_of_exactly_one_tenth_counts(n_shared, found):
    # Two rods of 11 that share 2 voxels have IoU 2/20.
    y, y_pred = np.zeros((2, 24, 1, 1), dtype=bool)
    y[:11], y_pred[11 - n_shared : 22 - n_shared] = True, True
    assert match_lesions(y_pred, y, spacing_mm=MM).n_found == int(found)


@pytest.mark.parametrize(
    ("spacing", "n_voxels", "n"),
    [(MM, 2, 0), (MM, 3, 1), ((0.5, 0.5, 3), 3, 0), ((0.5, 0.5, 3), 4, 1), ((1, 1, 2.9999990), 1, 1)],
)
def test_volume_limit_is_in_mm3(spacing, n_voxels, n):
    mask = boxes(((0, 0, 0), (n_voxels, 1, 1)))
    assert label_components(mask, spacing_mm=spacing)[1] == n


def test_labels_have_no_gaps_and_corners_connect():
    mask = boxes(((0, 0, 0), (1, 1, 1)), ((2, 0, 0), (4, 2, 1)), ((4, 2, 1), (6, 3, 2)))
    labels, n = label_components(mask, spacing_mm=MM)
    assert n == 1
    assert labels[0, 0, 0] == 0
    assert set(np.unique(labels[2:])) == {0, 1}


@pytest.mark.parametrize("seed", range(8))
def test_agrees_with_brute_force(seed):
    y, y_pred = blobs(seed, 0.012), blobs(seed + 100, 0.006) | np.roll(blobs(seed, 0.012), 1, axis=seed % 3)
    matches = match_lesions(y_pred, y, spacing_mm=MM)
    assert matches.pair_iou.sum() == pytest.approx(best_total_iou(y_pred, y, 0.1))


def test_exchanging_the_masks_transposes_the_pairs():
    y, y_pred = blobs(1), blobs(1) ^ blobs(2)
    one, other = match_lesions(y_pred, y, spacing_mm=MM), match_lesions(y, y_pred, spacing_mm=MM)
    assert {tuple(p) for p in one.pairs} == {tuple(p[::-1]) for p in other.pairs}
    np.testing.assert_array_equal(one.missed, other.false)


def test_every_lesion_is_in_a_pair_or_left_over():
    matches = match_lesions(blobs(3), blobs(3) | blobs(4), spacing_mm=MM)
    assert sorted([*matches.pairs[:, 0], *matches.false]) == list(range(1, matches.n_predicted + 1))
    assert sorted([*matches.pairs[:, 1], *matches.missed]) == list(range(1, matches.n_reference + 1))


def test_same_mask_matches_itself():
    matches = match_lesions(blobs(5), blobs(5), spacing_mm=MM)
    np.testing.assert_array_equal(matches.pairs[:, 0], matches.pairs[:, 1])
    np.testing.assert_array_equal(matches.pair_iou, 1)


@pytest.mark.parametrize(("pred", "ref"), [(False, False), (True, False), (False, True)])
def test_empty_masks(pred, ref):
    box, empty = boxes(((0, 0, 0), (3, 3, 3))), boxes()
    matches = match_lesions(box if pred else empty, box if ref else empty, spacing_mm=MM)
    assert matches.pairs.shape == (0, 2)
    assert len(matches.false) == int(pred)
    assert len(matches.missed) == int(ref)


def test_takes_tensors_and_any_memory_order():
    y = torch.as_tensor(boxes(((1, 1, 1), (4, 4, 4))).astype(np.uint8))
    assert match_lesions(y.permute(2, 1, 0), y.float(), spacing_mm=MM).n_found == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_pred": np.zeros((4, 4, 4), bool)}, "resample both to one grid"),
        ({"y_pred": np.full((16, 16, 16), 0.3)}, "y_pred must hold only 0 and 1"),
        ({"y": np.full((16, 16, 16), 4)}, "got values from 4 to 4"),
        ({"y": np.zeros((1, 16, 16, 16))}, "one mask"),
        ({"spacing_mm": (1, 1)}, "three positive numbers"),
        ({"spacing_mm": (1, 1, 0)}, "three positive numbers"),
        ({"spacing_mm": (1, 1, float("nan"))}, "three positive numbers"),
        ({"min_iou": 0}, r"min_iou must lie in \(0, 1\]"),
        ({"min_volume_mm3": -1}, "min_volume_mm3 must be at least 0"),
    ],
)
def test_refuses(change, message):
    arguments = {"y_pred": boxes(), "y": boxes(), "spacing_mm": MM} | change
    with pytest.raises(ValueError, match=message):
        match_lesions(**arguments)
