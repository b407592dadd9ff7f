# SPDX-License-Identifier: Apache-2.0
"""Planted lesions and the label of what they change."""

from dataclasses import replace

import numpy as np
import pytest

from monai_microchange.enums import Anatomy, ChangeLabel
from monai_microchange.transforms import insert_lesion, mark_change, plant_lesions, visible_change
from monai_microchange.transforms.lesion_course import LesionCourse, LesionState
from monai_microchange.transforms.lesion_site import LesionSite
from monai_microchange.transforms.simulated_lesion import LesionLook, SimulatedLesion, grow_form

SHAPE = (32, 32, 32)
MIDDLE = np.array([16, 16, 16])


def lesion(before, after, *, middle=MIDDLE, **look):
    """A ball."""
    look = LesionLook(**{"contrast": 0.5, **look})
    course = LesionCourse(LesionState(before), LesionState(after))
    ball = np.sqrt(((np.indices((15, 15, 15)) - 7) ** 2).sum(axis=0)) - 4
    forms = grow_form(ball, course, edge_mm=look.edge_mm)
    return SimulatedLesion(course, look, forms, np.asarray(middle) - 7, LesionSite.DEEP_WHITE)


def white_matter(value=1.0):
    return np.full((2, *SHAPE), value, np.float32), np.full(SHAPE, Anatomy.WHITE_MATTER, np.uint8)


def plant(*lesions, value=1.0, **options):
    return plant_lesions(*white_matter(value), lesions, **options)


def test_a_share_of_the_voxel_is_replaced():
    image = np.full((4, 4, 4), 2.0)
    insert_lesion(image, np.full((2, 1, 1), 0.25), np.full((2, 1, 1), 6.0), np.array([1, 2, 3]))
    assert image[1:3, 2, 3].tolist() == [3.0, 3.0]
    assert (image != 2).sum() == 2


@pytest.mark.parametrize(
    "corner", [(-2, 0, 0), (4, 4, 4), (-1, -1, 4), (0, -2, 5), (6, 0, 0), (0, 100, 0), (0, 0, -50)]
)
def test_what_sticks_out_is_cut(corner):
    """Compared with an insertion into an image that is wide enough."""
    share = np.random.RandomState(0).random_sample((3, 3, 3))
    image, wide = np.zeros((6, 6, 6)), np.zeros((26, 26, 26))
    insert_lesion(wide, share, np.ones((3, 3, 3)), np.array(corner) + 10)
    insert_lesion(image, share, np.ones((3, 3, 3)), np.array(corner))
    np.testing.assert_array_equal(image, wide[10:16, 10:16, 10:16])


def test_a_new_lesion_is_at_the_followup_only():
    pair = plant(lesion(0.0, 200.0))
    assert (pair.scans[0] == 1).all()
    assert pair.scans[1][tuple(MIDDLE)] == pytest.approx(1.5)
    np.testing.assert_allclose(pair.change, pair.scans[1] - pair.scans[0], atol=1e-5)
    assert pair.records[0]["baseline_mm3"] == 0
    assert pair.records[0]["followup_mm3"] == pytest.approx(200, rel=0.01)
    assert pair.change.sum() == pytest.approx(0.5 * 200, rel=0.01)


def test_records_hold_the_volumes_that_came_out():
    anatomy = white_matter()[1]
    anatomy[:, :, 16:] = Anatomy.VENTRICLE
    pair = plant_lesions(white_matter()[0], anatomy, [lesion(150.0, 300.0)])
    # half of it would lie in the ventricle, where there is no room but for a voxel
    assert 75 <= pair.records[0]["baseline_mm3"] < 115
    assert 150 <= pair.records[0]["followup_mm3"] < 220
    assert (pair.scans[1][:, :, 18:] == 1).all()


def test_a_stable_lesion_drifts_but_does_not_change():
    pair = plant(lesion(200.0, 200.0, drift=0.1))
    assert not pair.change.any()
    inside = pair.scans[:, 16, 16, 16]
    np.testing.assert_allclose(inside, [1 + 0.5 * 0.95, 1 + 0.5 * 1.05], rtol=1e-5)


def test_a_dark_core_is_no_loss():
    pair = plant(lesion(0.0, 400.0, core_mm=2.0, core_brightness=0.3))
    assert pair.scans[1][tuple(MIDDLE)] == pytest.approx(0.3)
    assert pair.change.min() >= 0
    assert pair.change[tuple(MIDDLE)] == pytest.approx(0.5)


def test_neighbours_merge():
    one, other = lesion(0.0, 200.0, middle=(14, 16, 16)), lesion(0.0, 200.0, middle=(18, 16, 16), contrast=0.2)
    merged, alone = plant(one, other), plant(one)
    assert merged.scans[1].max() == pytest.approx(1.5)
    assert (merged.scans[1] >= alone.scans[1] - 1e-6).all()
    assert merged.scans[1][20, 16, 16] == pytest.approx(1.2)


def test_texture_of_the_scan_stays():
    noise = np.random.RandomState(0).normal(0, 0.03, SHAPE).astype(np.float32)
    scans = np.broadcast_to(1 + noise, (2, *SHAPE))
    shown = plant_lesions(scans, white_matter()[1], [lesion(0.0, 400.0, fill=1.0)]).scans[1]
    inside = np.sqrt(((np.indices(SHAPE) - 16) ** 2).sum(axis=0)) < 3.5
    assert np.corrcoef(shown[inside], noise[inside])[0, 1] > 0.9


def test_thick_slices_blur_along_the_last_axis():
    sharp, thick = plant(lesion(0.0, 100.0)).change, plant(lesion(0.0, 100.0), slice_mm=4.0).change
    assert thick.sum() == pytest.approx(sharp.sum(), rel=0.02)

    def spread(change, axis):
        weight = change.sum(axis=tuple({0, 1, 2} - {axis}))
        return np.average((np.arange(32) - 16) ** 2, weights=weight)

    assert spread(thick, 0) == pytest.approx(spread(sharp, 0), rel=0.02)
    assert spread(thick, 2) - spread(sharp, 2) == pytest.approx(15 / 2.355**2, rel=0.1)  # 4**2 - 1**2


def test_scans_of_another_grid_are_refused():
    with pytest.raises(ValueError, match="two scans on the grid"):
        plant_lesions(np.ones((2, 4, 4, 4)), np.ones((4, 4, 5), np.uint8), [])


def test_scans_are_left_as_they_were():
    scans, anatomy = white_matter()
    plant_lesions(scans, anatomy, [lesion(0.0, 100.0)])
    assert (scans == 1).all()


def test_exchanging_the_visits_exchanges_gain_and_loss():
    lesions = [lesion(0.0, 200.0, middle=(8, 16, 16)), lesion(300.0, 100.0, middle=(24, 16, 16), drift=0.2)]
    forth, back = plant(*lesions), plant(*(one.swapped for one in lesions))
    np.testing.assert_allclose(forth.scans, back.scans[::-1], atol=1e-6)
    there, here = (mark_change(pair.gained, pair.lost) for pair in (forth, back))
    exchanged = np.array([ChangeLabel.NONE, ChangeLabel.LOSS, ChangeLabel.GAIN, 3, ChangeLabel.UNKNOWN])[here]
    np.testing.assert_array_equal(there, exchanged)
    assert {1, 2} <= set(np.unique(there))


@pytest.mark.parametrize("radius", [4.0, 6.0])
def test_a_sharp_ball_is_marked_up_to_its_surface(radius):
    """Above 0.35 of the peak are the voxels that it covers by more than that: its volume and a little."""
    distance = np.sqrt(((np.indices(SHAPE) - 16) ** 2).sum(axis=0)) - radius
    marked = visible_change(0.3 * np.clip(0.5 - distance, 0, 1))
    np.testing.assert_array_equal(marked, distance < 0.15)


def test_outlines_are_relative_to_the_peak_nearby():
    # peaks of 1 and 0.5, more than 4 voxels apart, and a faint one
    signal = np.zeros((30, 3, 3))
    signal[:15, 1, 1] = [0, 0.3, 0.6, 1, 0.6, 0.3, 0, 0, 0, 0, 0, 0.1, 0.3, 0.5, 0.1]
    signal[25, 1, 1] = 0.09
    assert visible_change(signal)[:, 1, 1].nonzero()[0].tolist() == [2, 3, 4, 12, 13]
    assert visible_change(signal, floor=0.05)[:, 1, 1].nonzero()[0].tolist() == [2, 3, 4, 12, 13, 25]


@pytest.mark.parametrize(
    ("peak", "code"), [(0.5, ChangeLabel.GAIN), (0.09, ChangeLabel.UNKNOWN), (0.02, ChangeLabel.NONE)]
)
def test_how_faint_a_change_is_decides_its_code(peak, code):
    label = mark_change(*(np.stack([plant(lesion(0.0, 300.0)).gained, np.zeros(SHAPE)]) * peak / 0.5))
    assert label.dtype == np.uint8
    assert label[tuple(MIDDLE)] == code
    assert set(np.unique(label)) == {0, int(code)}


def test_where_gain_and_loss_meet_the_larger_counts():
    gained, lost = np.zeros((2, 12, 3, 3))
    gained[2:7, 1, 1], lost[5:10, 1, 1] = 0.4, 0.3
    label = mark_change(gained, lost)[:, 1, 1].tolist()
    assert label == [0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 0, 0]


def test_a_fragment_below_the_floor_is_not_judged():
    """A faint spot by a bright one: above 0.35 of a peak that can be seen, but itself cannot."""
    gained = np.zeros((12, 3, 3))
    gained[2:4, 1, 1], gained[6, 1, 1] = 0.15, 0.08
    assert mark_change(gained, np.zeros_like(gained))[:, 1, 1].tolist() == [0, 0, 1, 1, 0, 0, 4, 0, 0, 0, 0, 0]


def test_no_change_no_label():
    assert not mark_change(np.zeros(SHAPE), np.zeros(SHAPE)).any()
    stable = replace(lesion(100.0, 100.0), corner=np.array([-5, -5, -5]))
    pair = plant(stable)
    assert not mark_change(pair.gained, pair.lost).any()
