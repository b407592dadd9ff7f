# SPDX-License-Identifier: Apache-2.0
"""Components of change and their types."""

import numpy as np
import pytest
from scipy import ndimage as ndi

from monai_microchange.enums import ChangeType
from monai_microchange.postprocessing import ChangeMaps, find_changes

SHAPE = (12, 12, 12)
CUBE = np.ones((3, 3, 3))


def grid(*boxes, value=1.0):
    array = np.zeros(SHAPE, dtype=np.float32)
    for box in boxes:
        array[box] = value
    return array


def changes(gain=(), loss=(), baseline=(), followup=(), assessed=None, **options):
    assessed = np.ones(SHAPE, np.uint8) if assessed is None else assessed
    options = {"spacing_mm": (1.0, 1.0, 1.0), **options}
    return find_changes(
        grid(*gain, value=0.9), grid(*loss, value=0.9), grid(*baseline), grid(*followup), assessed, **options
    )


def random_case(seed):
    """Blobs of probability and of lesion, many of them touching."""
    rng = np.random.default_rng(seed)
    shape = (30, 34, 28)

    def smooth(level):
        noise = ndi.gaussian_filter(rng.standard_normal(shape), 1.3)
        return noise / noise.std() > level

    gain, loss = np.clip(rng.random((2, *shape)) * 0.5 + 0.6 * np.stack([smooth(1.2), smooth(1.2)]), 0, 1)
    return gain, loss, smooth(1.3), smooth(1.3), rng.random(shape) > 0.05


def naive(gain, loss, baseline, followup, assessed, min_voxels):
    """The definition, one component and one dense dilation at a time."""
    result = np.zeros(gain.shape, np.uint8)
    sides = ((gain, loss, baseline, 1, 2), (loss, gain, followup, 4, 3))
    for this, other, lesion, apart, touching in sides:
        labels, n = ndi.label((this > 0.5) & (this > other) & assessed, CUBE)
        for i in range(1, n + 1):
            component = labels == i
            if component.sum() >= min_voxels:
                met = (ndi.binary_dilation(component, CUBE) & lesion).sum()
                result[component] = touching if met >= 2 else apart
    return result


BLOCK = np.s_[4:6, 4:6, 4:6]
BESIDE = np.s_[6:7, 4:6, 4:5]  # two voxels that touch the block
CORNER = np.s_[6:7, 6:7, 6:7]  # one voxel that touches it by a corner
FAR = np.s_[7:10, 4:6, 4:6]  # one voxel of air between


@pytest.mark.parametrize(
    ("baseline", "expected"),
    [
        ((), ChangeType.NEW),
        ((BESIDE,), ChangeType.ENLARGING),
        ((CORNER,), ChangeType.NEW),
        ((CORNER, np.s_[3:4, 3:4, 3:4]), ChangeType.ENLARGING),
        ((FAR,), ChangeType.NEW),
        ((np.s_[4:5, 4:5, 4:6],), ChangeType.ENLARGING),  # within the component itself
    ],
)
def test_type_of_gain_follows_baseline_lesion_and_of_loss_followup_lesion(baseline, expected):
    maps = changes(gain=[BLOCK], baseline=baseline)
    assert set(np.unique(maps.change[BLOCK])) == {expected}
    swapped = changes(loss=[BLOCK], followup=baseline)
    assert set(np.unique(swapped.change[BLOCK])) == {expected.swapped}


def test_lesion_of_the_same_visit_does_not_matter():
    assert set(np.unique(changes(gain=[BLOCK], followup=[BLOCK]).change)) == {0, ChangeType.NEW}


def test_lesion_voxels_between_two_components_count_for_both():
    second = np.s_[7:9, 4:6, 4:6]
    maps = changes(gain=[BLOCK, second], baseline=[np.s_[6:7, 7:8, 4:6]])  # touches neither's face, both's edges
    assert maps.gain_labels.max() == 2
    assert set(np.unique(maps.change)) == {0, ChangeType.NEW}
    maps = changes(gain=[BLOCK, second], baseline=[BESIDE])
    assert set(np.unique(maps.change)) == {0, ChangeType.ENLARGING}


def test_small_components_are_dropped_by_volume():
    three = np.s_[1:4, 1, 1]
    assert (changes(gain=[three]).change > 0).sum() == 3
    assert not changes(gain=[three], min_volume_mm3=3.5).change.any()
    assert not changes(gain=[three], spacing_mm=(0.9, 1.0, 1.0)).change.any()
    assert (changes(gain=[three], spacing_mm=(0.9999999, 1.0, 1.0)).change > 0).sum() == 3
    assert (changes(gain=[np.s_[1, 1, 1]], spacing_mm=(1.0, 1.0, 3.0)).change > 0).sum() == 1


def test_threshold_assessed_and_the_larger_probability():
    assert not changes(gain=[BLOCK], threshold=0.95).change.any()
    assert not changes(gain=[BLOCK], assessed=np.zeros(SHAPE)).change.any()
    assert not changes(gain=[BLOCK], loss=[BLOCK]).change.any()  # equal: neither


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_the_definition_and_swaps_exactly(seed):
    gain, loss, baseline, followup, assessed = random_case(seed)
    maps = find_changes(gain, loss, baseline, followup, assessed, spacing_mm=(1, 1, 1))
    assert set(np.unique(maps.change)) == {0, *ChangeType}
    np.testing.assert_array_equal(maps.change, naive(gain, loss, baseline, followup, assessed, 3))

    swapped = find_changes(loss, gain, followup, baseline, assessed, spacing_mm=(1, 1, 1))
    np.testing.assert_array_equal(swapped.change, np.where(maps.change > 0, 5 - maps.change, 0))
    np.testing.assert_array_equal(swapped.gain_labels, maps.loss_labels)
    np.testing.assert_array_equal(swapped.loss_labels, maps.gain_labels)


def test_labels_are_numbered_without_gaps_and_dtypes_are_small():
    gain, loss, baseline, followup, assessed = random_case(5)
    maps = find_changes(gain, loss, baseline, followup, assessed, spacing_mm=(1, 1, 1))
    assert isinstance(maps, ChangeMaps)
    assert (maps.change.dtype, maps.gain_labels.dtype, maps.loss_labels.dtype) == (np.uint8, np.int32, np.int32)
    for labels in (maps.gain_labels, maps.loss_labels):
        np.testing.assert_array_equal(np.unique(labels), np.arange(labels.max() + 1))
    np.testing.assert_array_equal(maps.change > 0, (maps.gain_labels > 0) | (maps.loss_labels > 0))


def test_no_change_gives_zeros():
    maps = changes(baseline=[BLOCK], followup=[BLOCK])
    assert not maps.change.any()
    assert not maps.gain_labels.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spacing_mm": (1.0, 0.0, 1.0)}, "three positive voxel sizes"),
        ({"threshold": 1.0}, r"threshold in \[0, 1\)"),
        ({"min_volume_mm3": -1.0}, "least volume of 0 mm3 or more"),
        ({"assessed": np.ones((3, 3, 3))}, "3D arrays of one shape"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        changes(gain=[BLOCK], **options)


def test_component_needs_a_seed_but_keeps_its_whole_extent():
    gain, nothing = np.zeros((12, 12, 12)), np.zeros((12, 12, 12))
    gain[2:5, 2:5, 2:5] = 0.6
    gain[8:11, 8:11, 8:11] = 0.6
    gain[9, 9, 9] = 0.95
    maps = find_changes(
        gain, nothing, nothing, nothing, np.ones_like(gain), spacing_mm=(1, 1, 1), threshold=0.5, seed_threshold=0.9
    )
    assert int((maps.change > 0).sum()) == 27
    assert maps.change[8, 8, 8] == ChangeType.NEW


def test_seed_counts_only_within_the_seed_region():
    gain, nothing, deep = np.zeros((12, 12, 12)), np.zeros((12, 12, 12)), np.zeros((12, 12, 12))
    gain[2:5, 2:5, 2:5] = gain[8:11, 8:11, 8:11] = 0.99
    deep[10, 10, 10] = 1
    maps = find_changes(gain, nothing, nothing, nothing, np.ones_like(gain), spacing_mm=(1, 1, 1), seed_region=deep)
    assert int((maps.change > 0).sum()) == 27
    assert maps.change[8, 8, 8] == ChangeType.NEW
