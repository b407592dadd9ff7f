# SPDX-License-Identifier: Apache-2.0
"""What becomes of a lesion, and how it looks."""

from dataclasses import replace

import numpy as np
import pytest

from monai_microchange.enums import ChangeType
from monai_microchange.transforms.lesion_course import LesionCourse, LesionState
from monai_microchange.transforms.lesion_shape import occupancy
from monai_microchange.transforms.lesion_site import LesionSite
from monai_microchange.transforms.simulated_lesion import LesionLook, SimulatedLesion, grow_form


def course(before, after, strength_before=1.0, strength_after=1.0):
    return LesionCourse(LesionState(before, strength_before), LesionState(after, strength_after))


def ball(radius=4.0, box=21):
    return np.sqrt(((np.indices((box,) * 3) - (box - 1) / 2) ** 2).sum(axis=0)) - radius


def lesion(course, **look):
    look = LesionLook(**{"contrast": 0.5, **look})
    forms = grow_form(ball(), course, edge_mm=look.edge_mm)
    return SimulatedLesion(course, look, forms, np.zeros(3, int), LesionSite.DEEP_WHITE)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (course(0, 20), ChangeType.NEW),
        (course(20, 0), ChangeType.RESOLVED),
        (course(20, 30), ChangeType.ENLARGING),
        (course(30, 20), ChangeType.SHRINKING),
        (course(30, 30, 1.0, 0.4), ChangeType.SHRINKING),
        (course(20, 20), None),
    ],
)
def test_a_course_knows_its_kind_and_its_reverse(given, kind):
    assert given.change_type is kind
    assert given.swapped.change_type is (None if kind is None else kind.swapped)
    assert given.swapped.swapped == given


def test_all_kinds_are_drawn_and_either_way_alike():
    """Of 1000 draws a half, give or take four standard deviations, are gains."""
    random = np.random.RandomState(0)
    drawn = [LesionCourse.draw(random) for _ in range(1000)]
    kinds = [c.change_type for c in drawn]
    assert set(kinds) == set(ChangeType)
    assert np.mean([k.is_gain for k in kinds]) == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / 1000))
    fading = [c for c in drawn if min(c.baseline.strength, c.followup.strength) < 1]
    assert np.mean([c in fading for c in drawn]) == pytest.approx(1 / 6, abs=0.05)
    grown = [c for c, k in zip(drawn, kinds, strict=True) if k in (2, 3) and c not in fading]
    ratios = [c.largest_mm3 / min(c.baseline.volume_mm3, c.followup.volume_mm3) for c in grown]
    assert min(ratios) >= 1.15
    assert max(ratios) > 3


def test_stable_courses_are_stable():
    random = np.random.RandomState(0)
    drawn = [LesionCourse.draw(random, changes=False) for _ in range(50)]
    assert {c.change_type for c in drawn} == {None}
    assert all(c.baseline.volume_mm3 > 0 for c in drawn)


@pytest.mark.parametrize("edge", [1.0, 2.0])
def test_forms_have_the_volumes_of_their_course(edge):
    for before, after in ((80.0, 300.0), (300.0, 80.0), (50.0, 50.0), (0.0, 120.0)):
        forms = grow_form(ball(), course(before, after), direction=np.array([0.3, 0.0, 0.6]), edge_mm=edge)
        volumes = [occupancy(form, edge_mm=edge).sum() for form in forms]
        np.testing.assert_allclose(volumes, [before, after], rtol=0.01)


def test_the_smaller_form_lies_within_the_larger():
    forms = grow_form(ball(), course(100.0, 500.0), direction=np.array([0.5, 0.5, 0.5]))
    assert (forms[0] >= forms[1] - 1e-5).all()


def test_a_fading_lesion_keeps_a_faint_rest():
    presence = lesion(course(100.0, 60.0, 1.0, 0.3)).presence()
    assert presence[0].max() == pytest.approx(1.0)
    assert presence[1].max() == pytest.approx(0.3)


def test_the_penumbra_reaches_as_far_as_it_says():
    """Contrast 0.3 at the surface, half of it half-way out, none beyond."""
    shown = lesion(course(0.0, 300.0), halo=0.3, halo_mm=2.0)
    distance, presence = shown.forms[1], shown.presence()[1]
    ring = (distance > 0.5) & (distance < 2)
    np.testing.assert_allclose(presence[ring], 0.3 * (1 - distance[ring] / 2), atol=1e-6)
    assert not presence[distance > 2].any()
    assert shown.presence()[0].max() == 0


@pytest.mark.parametrize(
    ("tissue", "fill", "expected"),
    [
        (1.0, 0.5, 1.5),  # white matter
        (0.2, 1.0, 1.5),  # CSF that a lesion fills
        (0.2, 0.0, 0.3),  # CSF that stays in the voxel
        (0.6, 0.5, 1.2),  # half of either
        (1.2, 0.5, 1.5),  # bright cortex is not brighter than the lesion elsewhere
        (2.0, 0.5, 2.0),  # fat is not darkened
    ],
)
def test_brightness_follows_the_tissue(tissue, fill, expected):
    look = lesion(course(0.0, 50.0), fill=fill)
    assert look.brightness(np.full((2, 2, 2), tissue), look.contrast()).ravel()[0] == pytest.approx(expected)


def test_texture_varies_the_contrast():
    shown = lesion(course(0.0, 50.0), texture=np.random.RandomState(0).normal(0, 0.1, (3, 3, 3)))
    contrast = shown.contrast()
    assert contrast.shape == shown.forms.shape[1:]
    assert contrast.mean() == pytest.approx(0.5, abs=0.05)
    assert 0.01 < contrast.std() < 0.05


def test_a_dark_core_is_dark_in_the_middle_only():
    shown = lesion(course(0.0, 500.0), core_mm=2.0, core_brightness=0.4)
    bright = np.full(shown.forms.shape[1:], 1.5)
    dark = shown.with_core(bright)
    assert dark[10, 10, 10] == pytest.approx(0.4)
    assert (dark[shown.forms[1] > -1.5] == 1.5).all()
    assert (replace(shown, look=LesionLook(contrast=0.5)).with_core(bright) == 1.5).all()


def test_looks_are_drawn_within_their_range():
    random = np.random.RandomState(0)
    large, small = (
        [LesionLook.draw(random, contrast_range=(0.1, 0.8), radius_mm=radius) for _ in range(200)]
        for radius in (50.0, 1.5)
    )
    assert 0.1 <= min(look.contrast for look in large) < 0.12
    assert max(look.contrast for look in large) <= 0.8
    assert min(look.contrast for look in small) >= 0.5  # 0.1 * (1 + (3 / 1.5)**2)
    assert max(look.edge_mm for look in small) <= 1.5
    assert 0 < sum(look.core_mm is not None for look in large) < 30


def test_the_record_is_plain():
    record = lesion(course(0.0, 50.0)).record((0.0, 49.0))
    assert record["type"] == "NEW"
    assert record["followup_mm3"] == 49.0
    assert record["site"] == [10, 10, 10]
    assert record["location"] == "deep white matter"
    assert all(type(value) in (str, float, int, list) for value in record.values())
