# SPDX-License-Identifier: Apache-2.0
"""The list of lesions."""

import dataclasses

import numpy as np
import pytest
from scipy import ndimage as ndi

from monai_microchange.enums import Anatomy, ChangeType, Location
from monai_microchange.postprocessing import ChangeMaps, MidMaps, find_changes, list_lesions

SHAPE = (20, 20, 20)


def make_maps(affine=None, anatomy=None, probability=0.9, **boxes):
    """Maps with boxes given by name: baseline_lesion, followup_lesion, gain, loss. Images follow gain and loss."""
    arrays = {name: np.zeros(SHAPE, np.float32) for name in ("baseline_lesion", "followup_lesion", "gain", "loss")}
    for name, places in boxes.items():
        for place in places:
            arrays[name][place] = 1
    return MidMaps(
        baseline=4 * arrays["baseline_lesion"],
        followup=4 * arrays["baseline_lesion"] + 2 * arrays["gain"] - 3 * arrays["loss"],
        baseline_lesion=arrays["baseline_lesion"],
        followup_lesion=arrays["followup_lesion"],
        gain_probability=probability * arrays["gain"],
        loss_probability=probability * arrays["loss"],
        affine=np.eye(4) if affine is None else affine,
        anatomy=anatomy,
    )


def find(maps, **options):
    spacing = np.linalg.norm(maps.affine[:3, :3], axis=0).tolist()
    changes = find_changes(
        maps.gain_probability,
        maps.loss_probability,
        maps.baseline_lesion,
        maps.followup_lesion,
        np.ones(np.shape(maps.baseline)),
        spacing_mm=spacing,
    )
    return list_lesions(changes, maps, **options)


def test_one_lesion_on_paper():
    # voxels of 2 mm, first axis running to the left, a 2 x 2 x 2 block of gain at 4..5
    affine = np.array([[-2.0, 0, 0, 10], [0, 2, 0, 20], [0, 0, 2, 30], [0, 0, 0, 1]])
    block = np.s_[4:6, 4:6, 4:6]
    ids, (lesion,) = find(make_maps(affine, gain=[block], followup_lesion=[block]))
    assert (ids == 1).sum() == 8
    assert (lesion.id, lesion.change_type, lesion.type_name) == (1, ChangeType.NEW, "new")
    assert (lesion.gain_mm3, lesion.loss_mm3, lesion.change_mm3) == pytest.approx((64, 0, 64))
    assert (lesion.baseline_volume_mm3, lesion.followup_volume_mm3) == pytest.approx((0, 64))
    # centre at index 4.5: 10 - 9 = 1, 20 + 9 = 29, 30 + 9 = 39; faces at 3.5 and 5.5
    assert lesion.centroid_ras_mm == pytest.approx((1, 29, 39))
    assert lesion.bbox_ijk == ((4, 4, 4), (6, 6, 6))
    assert lesion.bbox_ras_mm == (pytest.approx((-1, 27, 37)), pytest.approx((3, 31, 41)))
    assert lesion.confidence == pytest.approx(0.9)
    assert lesion.intensity_change == pytest.approx(2)
    assert lesion.location is Location.UNKNOWN
    assert lesion.note == ""


def test_growth_and_shrinkage_of_one_lesion_share_an_id_and_the_larger_gives_the_type():
    core, grown, shrunk = np.s_[5:9, 5:9, 5:9], np.s_[9:12, 5:9, 5:9], np.s_[4:5, 5:9, 5:9]
    maps = make_maps(baseline_lesion=[core, shrunk], followup_lesion=[core, grown], gain=[grown], loss=[shrunk])
    ids, (lesion,) = find(maps)
    assert ids.max() == 1
    assert lesion.change_type is ChangeType.ENLARGING
    assert (lesion.gain_mm3, lesion.loss_mm3, lesion.change_mm3) == pytest.approx((48, 16, 32))
    assert lesion.bbox_ijk == ((4, 5, 5), (12, 9, 9))


def test_merging_and_splitting_make_one_union():
    two, bridge = [np.s_[2:5, 5:8, 5:8], np.s_[8:11, 5:8, 5:8]], np.s_[5:8, 5:8, 5:8]
    merged = make_maps(baseline_lesion=two, followup_lesion=[*two, bridge], gain=[bridge])
    _, (lesion,) = find(merged)
    assert lesion.change_type is ChangeType.ENLARGING
    assert lesion.baseline_volume_mm3 == pytest.approx(54)
    _, (lesion,) = find(merged.swapped)
    assert lesion.change_type is ChangeType.SHRINKING


def test_stable_lesions_are_listed_from_three_voxels_on():
    large, small = np.s_[2:5, 2:5, 2:5], np.s_[15:16, 15:16, 15:17]
    ids, (lesion,) = find(make_maps(baseline_lesion=[large, small], followup_lesion=[large, small]))
    assert (lesion.change_type, lesion.type_name) == (None, "stable")
    assert lesion.confidence == 1
    assert lesion.centroid_ras_mm == pytest.approx((3, 3, 3))
    assert not ids[small].any()


def test_confidence_of_a_stable_lesion_falls_with_the_probability_of_change():
    block = np.s_[2:5, 2:5, 2:5]
    maps = make_maps(baseline_lesion=[block], followup_lesion=[block], gain=[np.s_[3, 3, 3]], probability=0.4)
    _, (lesion,) = find(maps)
    assert lesion.confidence == pytest.approx(0.6)


def test_confidence_is_that_of_the_largest_component():
    core, large, small = np.s_[5:9, 5:9, 5:9], np.s_[9:12, 5:9, 5:9], np.s_[4:5, 5:9, 5:9]
    maps = make_maps(baseline_lesion=[core], followup_lesion=[core, large], gain=[large], loss=[small])
    maps.gain_probability[large] = 0.6
    _, (lesion,) = find(maps)
    assert lesion.confidence == pytest.approx(0.6)


def test_order_is_by_changed_volume_then_position():
    small, large = np.s_[1:3, 1:3, 1:3], np.s_[8:12, 8:12, 8:12]
    equal, still = np.s_[1:3, 15:17, 1:3], np.s_[15:18, 1:4, 1:4]
    maps = make_maps(
        gain=[small, large], loss=[equal], baseline_lesion=[equal, still], followup_lesion=[small, large, still]
    )
    _, lesions = find(maps)
    assert [lesion.type_name for lesion in lesions] == ["new", "new", "resolved", "stable"]
    assert [lesion.centroid_ras_mm[0] for lesion in lesions] == pytest.approx([9.5, 1.5, 1.5, 16])


def test_determinants_scale_each_visits_volumes():
    core, grown, shrunk = np.s_[5:9, 5:9, 5:9], np.s_[9:12, 5:9, 5:9], np.s_[4:5, 5:9, 5:9]
    maps = make_maps(baseline_lesion=[core, shrunk], followup_lesion=[core, grown], gain=[grown], loss=[shrunk])
    _, (lesion,) = find(maps, determinants=(1.1, 0.9))
    assert lesion.baseline_volume_mm3 == pytest.approx(80 * 1.1)
    assert lesion.loss_mm3 == pytest.approx(16 * 1.1)
    assert lesion.followup_volume_mm3 == pytest.approx(112 * 0.9)
    assert lesion.gain_mm3 == pytest.approx(48 * 0.9)


def test_determinants_may_differ_from_voxel_to_voxel():
    """Two lesions of 8 voxels: where the follow-up stretches to 1.5 each counts 12 mm3, elsewhere 8."""
    here, there = np.s_[4:6, 4:6, 4:6], np.s_[12:14, 12:14, 12:14]
    maps = make_maps(followup_lesion=[here, there], gain=[here], loss=[there])
    stretch = np.ones(maps.gain_probability.shape)
    stretch[:8] = 1.5
    _, (first, second) = find(maps, determinants=(1.0, stretch))
    volumes = {row.type_name: row for row in (first, second)}
    assert volumes["new"].gain_mm3 == pytest.approx(12)
    assert volumes["new"].followup_volume_mm3 == pytest.approx(12)
    # a loss is measured in the baseline, which is not stretched
    assert volumes["shrinking"].loss_mm3 == pytest.approx(8)


def test_a_map_of_one_number_is_that_number():
    maps = make_maps(gain=[np.s_[4:6, 4:6, 4:6]], followup_lesion=[np.s_[4:7, 4:6, 4:6]])
    _, one = find(maps, determinants=(1.1, 0.9))
    _, other = find(maps, determinants=(np.full(maps.gain_probability.shape, 1.1), 0.9))
    assert [row.gain_mm3 for row in one] == pytest.approx([row.gain_mm3 for row in other])
    assert [row.baseline_volume_mm3 for row in one] == pytest.approx([row.baseline_volume_mm3 for row in other])


def test_determinants_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="expected determinants as numbers, or of shape"):
        find(make_maps(), determinants=(1.0, np.ones((3, 3, 3))))


def test_a_change_that_the_lesion_mask_misses_is_noted():
    _, (lesion,) = find(make_maps(gain=[np.s_[4:6, 4:6, 4:6]]))
    assert lesion.note == "not in the follow-up lesion mask"
    _, (lesion,) = find(make_maps(loss=[np.s_[4:6, 4:6, 4:6]]))
    assert lesion.note == "not in the baseline lesion mask"


def test_nothing_gives_no_row():
    ids, lesions = find(make_maps())
    assert lesions == []
    assert not ids.any()
    assert ids.dtype == np.int32


def random_maps(shape, seed, sigma=1.5, level=2.0):
    rng = np.random.default_rng(seed)

    def smooth():
        noise = ndi.gaussian_filter(rng.standard_normal(shape).astype(np.float32), sigma)
        return noise / noise.std()

    lesion, gain, loss = smooth() > level, smooth() > level, smooth() > level
    anatomy = np.full(shape, Anatomy.WHITE_MATTER, np.uint8)
    anatomy[: shape[0] // 8] = Anatomy.INFRATENTORIAL
    anatomy[shape[0] // 2 : shape[0] // 2 + 3] = Anatomy.VENTRICLE
    anatomy[:, :2], anatomy[:, -2:] = Anatomy.CORTEX, Anatomy.OUTER_CSF
    noise = rng.uniform(0.5, 1, shape).astype(np.float32)
    return MidMaps(
        baseline=smooth(),
        followup=smooth(),
        baseline_lesion=lesion | loss,
        followup_lesion=lesion | gain,
        gain_probability=gain * noise,
        loss_probability=loss * noise[::-1],
        affine=np.array([[-1.0, 0, 0, 70], [0, -1, 0, 90], [0, 0, 1, -60], [0, 0, 0, 1]]),
        anatomy=anatomy,
    )


@pytest.mark.parametrize("seed", range(3))
def test_swapping_the_visits_swaps_every_row(seed):
    maps = random_maps((40, 44, 36), seed)
    ids, lesions = find(maps)
    swapped_ids, swapped = find(maps.swapped)
    np.testing.assert_array_equal(ids, swapped_ids)
    assert {lesion.type_name for lesion in lesions} == {"new", "enlarging", "shrinking", "resolved", "stable"}
    expected = [
        dataclasses.replace(
            lesion,
            change_type=lesion.change_type and lesion.change_type.swapped,
            baseline_volume_mm3=lesion.followup_volume_mm3,
            followup_volume_mm3=lesion.baseline_volume_mm3,
            gain_mm3=lesion.loss_mm3,
            loss_mm3=lesion.gain_mm3,
            intensity_change=-lesion.intensity_change,
        )
        for lesion in lesions
    ]
    assert swapped == expected


def test_agrees_with_a_loop_over_lesions():
    maps = random_maps((40, 44, 36), 7)
    changes = find_changes(
        maps.gain_probability,
        maps.loss_probability,
        maps.baseline_lesion,
        maps.followup_lesion,
        np.ones(maps.baseline.shape),
        spacing_mm=(1, 1, 1),
    )
    ids, lesions = list_lesions(changes, maps)
    union, n = ndi.label((changes.change > 0) | maps.baseline_lesion | maps.followup_lesion, np.ones((3, 3, 3)))
    sizes = [(changes.change[union == i] > 0).sum() or (union == i).sum() >= 3 for i in range(1, n + 1)]
    assert len(lesions) == np.count_nonzero(sizes)
    for lesion in lesions:
        inside = ids == lesion.id
        assert len(np.unique(union[inside])) == 1
        assert lesion.baseline_volume_mm3 == pytest.approx((maps.baseline_lesion & inside).sum())
        assert lesion.gain_mm3 == pytest.approx(np.isin(changes.change[inside], (1, 2)).sum())
        assert lesion.loss_mm3 == pytest.approx(np.isin(changes.change[inside], (3, 4)).sum())
        focus = inside & (changes.change > 0) if lesion.change_type else inside
        index = np.argwhere(focus)
        assert lesion.centroid_ras_mm == pytest.approx(
            tuple(maps.affine[:3, :3] @ index.mean(axis=0) + maps.affine[:3, 3])
        )
        assert lesion.bbox_ijk == (tuple(index.min(axis=0)), tuple(index.max(axis=0) + 1))
        assert lesion.intensity_change == pytest.approx((maps.followup - maps.baseline)[focus].mean(), abs=1e-5)
        parts = [
            (labels == i)
            for labels in (changes.gain_labels, changes.loss_labels)
            for i in np.unique(labels[inside])
            if i > 0
        ]
        if parts:
            largest = max(part.sum() for part in parts)
            assert lesion.change_type in {changes.change[part].max() for part in parts if part.sum() == largest}


def test_hundreds_of_lesions_in_a_whole_brain():  # a loop over the volume for each would take minutes
    maps = random_maps((150, 190, 150), 1, sigma=5, level=2.6)
    changes = find_changes(
        maps.gain_probability,
        maps.loss_probability,
        maps.baseline_lesion,
        maps.followup_lesion,
        np.ones(maps.baseline.shape, bool),
        spacing_mm=(1, 1, 1),
    )
    _, lesions = list_lesions(changes, maps)
    assert len(lesions) > 100
    assert [lesion.id for lesion in lesions] == list(range(1, len(lesions) + 1))


def test_refuses():
    maps = make_maps()
    with pytest.raises(ValueError, match="change map of shape"):
        list_lesions(ChangeMaps(*[np.zeros((2, 2, 2), np.int32)] * 3), maps)
    with pytest.raises(ValueError, match="3D maps of one shape"):
        dataclasses.replace(maps, followup=np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match="3D maps of one shape"):
        dataclasses.replace(maps, anatomy=np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match=r"affine of shape \(4, 4\)"):
        dataclasses.replace(maps, affine=np.eye(3))
