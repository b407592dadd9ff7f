# SPDX-License-Identifier: Apache-2.0
"""One number for one lesion over all pairs, on maps made by hand."""

import numpy as np
import pytest
from scipy import ndimage

from monai_microchange.enums import ChangeType, Location
from monai_microchange.postprocessing import MidMaps, find_changes, list_lesions
from monai_microchange.series.identities import merged_lesion, number_over_visits, with_series_ids

from .conftest import AFFINE

SHAPE = (12, 8, 8)


def box(*ranges: tuple[int, int]) -> np.ndarray:
    """Lesion mask of one or more stretches along the first axis, 3 x 3 voxels thick."""
    mask = np.zeros(SHAPE, np.uint8)
    for start, stop in ranges:
        mask[start:stop, 2:5, 2:5] = 1
    return mask


def test_lesions_that_touch_at_any_visit_are_one():
    """Two lesions grow together at the last visit: one lesion throughout, as it is between two visits."""
    apart, together = box((1, 3), (6, 8)), box((1, 8))
    ids = number_over_visits([ndimage.label(apart)[0], ndimage.label(together)[0]], [apart * 0, together - apart])
    np.testing.assert_array_equal(ids, together)


def test_a_lesion_of_one_visit_alone_keeps_its_number_beside_a_larger_change():
    small, large = box((1, 2)), box((6, 9))
    ids = number_over_visits([small, large], [small, large])
    assert (ids[small > 0] == 2).all()
    assert (ids[large > 0] == 1).all()
    assert ids.dtype == np.int32


def test_numbers_are_those_of_a_labelling_of_the_union():
    draw = np.random.default_rng(0)
    masks = [ndimage.binary_dilation(draw.random((20, 20, 20)) > 0.996) for _ in range(3)]
    ids = number_over_visits([ndimage.label(mask, np.ones((3, 3, 3)))[0] for mask in masks], masks)
    reference, count = ndimage.label(np.any(masks, axis=0), np.ones((3, 3, 3)))
    assert ids.max() == count
    assert len(set(zip(ids.ravel().tolist(), reference.ravel().tolist(), strict=True))) == count + 1
    changed = [sum(int((mask & (ids == i)).sum()) for mask in masks) for i in range(1, count + 1)]
    assert changed == sorted(changed, reverse=True)


def test_order_of_pairs_does_not_matter():
    masks = [box((1, 3)), box((5, 8)), box((2, 4), (10, 12))]
    forth = number_over_visits(masks, [masks[0], masks[0] * 0, masks[2]])
    back = number_over_visits(masks[::-1], [masks[2], masks[0] * 0, masks[0]])
    np.testing.assert_array_equal(forth, back)


def test_no_lesion_gives_no_number():
    assert not number_over_visits([box()], [box()]).any()


def test_maps_on_different_grids_are_refused():
    with pytest.raises(ValueError, match="one grid"):
        number_over_visits([box()], [np.zeros((2, 2, 2))])


def test_rows_of_one_lesion_become_one_row(result_of):
    """In this pair one lesion is new and one grows; over the series they are one, as if listed so from the start."""
    before, after = box((1, 3)), box((1, 4), (6, 10))
    result = result_of(before, after)
    assert [row.type_name for row in result.lesions] == ["new", "enlarging"]
    series_ids = np.where(box((1, 10)), 5, 0).astype(np.int32)
    numbered = with_series_ids(result, series_ids, [Location.DEEP] * 5)
    (row,) = numbered.lesions
    assert (row.id, row.change_type, row.location) == (5, ChangeType.NEW, Location.DEEP)
    assert (row.gain_mm3, row.baseline_volume_mm3, row.followup_volume_mm3) == (45, 18, 63)
    assert set(np.unique(numbered.lesion_ids)) == {0, 5}
    assert numbered.provenance["counts"] == {"new": 1, "enlarging": 0, "shrinking": 0, "resolved": 0, "stable": 0}
    # the reference: the pair listed again with a bridge that no measure but the box and volumes at the visits sees
    gain = 0.9 * (after > before)
    changes = find_changes(gain, gain * 0, before, after, np.ones(SHAPE), spacing_mm=(1, 1, 1))
    bridge = box((1, 10))
    maps = MidMaps(before, after, bridge, bridge, gain, gain * 0, AFFINE)
    _, (reference,) = list_lesions(changes, maps)
    for name in ("change_type", "gain_mm3", "loss_mm3", "bbox_ijk", "bbox_ras_mm"):
        assert getattr(row, name) == getattr(reference, name), name
    assert row.confidence == pytest.approx(reference.confidence)
    assert row.centroid_ras_mm == pytest.approx(reference.centroid_ras_mm)
    assert row.intensity_change == pytest.approx(reference.intensity_change)


def test_stable_and_changed_rows_merge_into_a_changed_one(result_of):
    result = result_of(box((1, 3), (6, 8)), box((1, 3), (6, 9)))
    changed, stable = result.lesions
    change, ids = (np.asarray(m.as_tensor()[0]) for m in (result.change, result.lesion_ids))
    row = merged_lesion([stable, changed], change, ids)
    assert (row.id, row.change_type, row.gain_mm3) == (stable.id, ChangeType.ENLARGING, 9)
    assert row.bbox_ijk == changed.bbox_ijk
    assert row.baseline_volume_mm3 == 36


def test_stable_rows_merge_into_a_stable_one(result_of):
    result = result_of(box((1, 3), (6, 9)), box((1, 3), (6, 9)))
    change, ids = (np.asarray(m.as_tensor()[0]) for m in (result.change, result.lesion_ids))
    row = merged_lesion(result.lesions, change, ids)
    assert row.change_type is None
    # centres at 1.5 and 7, of 18 and 27 voxels; RAS turns the first axis
    assert row.centroid_ras_mm[0] == pytest.approx(-(18 * 1.5 + 27 * 7) / 45)
    assert row.bbox_ijk == ((1, 2, 2), (9, 5, 5))


def test_changed_rows_come_first_by_changed_volume(result_of):
    result = result_of(box((1, 3), (5, 6)), box((1, 3), (5, 7), (9, 12)))
    series_ids = np.zeros(SHAPE, np.int32)
    for number, mask in ((1, box((1, 3))), (2, box((5, 7))), (3, box((9, 12)))):
        series_ids[mask > 0] = number
    rows = with_series_ids(result, series_ids, [Location.UNKNOWN] * 3).lesions
    assert [(row.id, row.type_name) for row in rows] == [(3, "new"), (2, "enlarging"), (1, "stable")]
