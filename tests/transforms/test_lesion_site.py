# SPDX-License-Identifier: Apache-2.0
"""Places of lesions obey the table."""

import numpy as np
import pytest
from scipy import ndimage as ndi

from monai_microchange.enums import Anatomy
from monai_microchange.transforms.lesion_site import (
    JUXTACORTICAL_MM,
    PERIVENTRICULAR_MM,
    SITE_SHARES,
    LesionSite,
    SiteSampler,
    site_categories,
)


@pytest.fixture
def head():
    """Shells about a ventricle: white matter, cortex, CSF; a slab of cerebellum below, a ball of deep grey."""
    place = np.indices((40, 40, 48)) - np.array([19.5, 19.5, 26]).reshape(3, 1, 1, 1)
    radius = np.sqrt((place**2).sum(axis=0))
    labels = np.select(
        [radius < 4, radius < 15, radius < 17, radius < 19],
        [Anatomy.VENTRICLE, Anatomy.WHITE_MATTER, Anatomy.CORTEX, Anatomy.OUTER_CSF],
        Anatomy.BACKGROUND,
    )
    labels[np.sqrt(((place - np.array([0, 9, 0]).reshape(3, 1, 1, 1)) ** 2).sum(axis=0)) < 3] = Anatomy.DEEP_GREY
    labels[10:30, 10:30, :6] = Anatomy.INFRATENTORIAL
    return labels.astype(np.uint8)


def test_shares_sum_to_one():
    assert set(SITE_SHARES) == set(LesionSite)
    assert sum(SITE_SHARES.values()) == pytest.approx(1.0)


def test_places_are_drawn_by_the_table(head):
    """400 draws: a share of p is met within 4 standard deviations, at most 0.1."""
    sampler, random = SiteSampler(head), np.random.RandomState(0)
    drawn = [sampler.draw(random) for _ in range(400)]
    for site, share in SITE_SHARES.items():
        assert np.mean([s == site for s, _ in drawn]) == pytest.approx(
            share, abs=4 * np.sqrt(share * (1 - share) / 400)
        )


def test_places_lie_where_their_category_says(head):
    sampler, random = SiteSampler(head), np.random.RandomState(1)
    from_ventricle = ndi.distance_transform_cdt(head != Anatomy.VENTRICLE, metric="chessboard")
    from_cortex = ndi.distance_transform_cdt(head != Anatomy.CORTEX, metric="chessboard")
    for site, voxel in (sampler.draw(random) for _ in range(200)):
        tissue, ventricle, cortex = (field[tuple(voxel)] for field in (head, from_ventricle, from_cortex))
        if site in (LesionSite.DEEP_WHITE, LesionSite.PERIVENTRICULAR, LesionSite.JUXTACORTICAL):
            assert tissue == Anatomy.WHITE_MATTER
            assert (ventricle <= PERIVENTRICULAR_MM) == (site == LesionSite.PERIVENTRICULAR)
        if site == LesionSite.JUXTACORTICAL:
            assert cortex <= JUXTACORTICAL_MM
        if site == LesionSite.DEEP_WHITE:
            assert cortex > JUXTACORTICAL_MM
        expected = {LesionSite.CORTICAL: Anatomy.CORTEX, LesionSite.DEEP_GREY: Anatomy.DEEP_GREY}
        assert tissue == expected.get(site, tissue)


def test_a_lone_tissue_gets_every_lesion():
    sampler, random = SiteSampler(np.full((5, 5, 5), int(Anatomy.CORTEX))), np.random.RandomState(0)
    assert {sampler.draw(random)[0] for _ in range(10)} == {LesionSite.CORTICAL}


def test_shares_may_be_others(head):
    sampler, random = SiteSampler(head, {"infratentorial": 2.0, "cortical": 0.0}), np.random.RandomState(0)
    assert {sampler.draw(random)[0] for _ in range(10)} == {LesionSite.INFRATENTORIAL}


def test_no_tissue_no_category():
    for label in (Anatomy.BACKGROUND, Anatomy.VENTRICLE, Anatomy.OUTER_CSF):
        labels = np.full((4, 4, 4), int(label))
        assert not site_categories(labels).any()
        with pytest.raises(ValueError, match="no tissue that lesions may lie in"):
            SiteSampler(labels)
