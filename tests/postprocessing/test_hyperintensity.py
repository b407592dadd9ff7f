# SPDX-License-Identifier: Apache-2.0
"""Lesion at a visit by brightness."""

import numpy as np
import pytest

from monai_microchange.enums import Anatomy
from monai_microchange.postprocessing import visit_lesions

SHAPE = (48, 48, 48)
SPACING = (1.0, 1.0, 1.0)
LESION = np.s_[30:34, 22:26, 22:26]


def make_anatomy():
    """Nested balls: ventricle to 6 mm, white matter to 16, cortex to 19, outer CSF to 21."""
    radius = np.linalg.norm(np.indices(SHAPE) - 23.5, axis=0)
    anatomy = np.zeros(SHAPE, np.uint8)
    for outer, label in ((21, "OUTER_CSF"), (19, "CORTEX"), (16, "WHITE_MATTER"), (6, "VENTRICLE")):
        anatomy[radius < outer] = Anatomy[label]
    return anatomy


def make_image(anatomy, seed=0):
    mean = np.zeros(len(Anatomy))
    mean[[Anatomy.WHITE_MATTER, Anatomy.CORTEX, Anatomy.VENTRICLE, Anatomy.OUTER_CSF]] = 0, 6, -6, -6
    return mean[anatomy] + np.random.default_rng(seed).normal(size=SHAPE)


def find(image, anatomy, **options):
    return visit_lesions(image, anatomy > 0, anatomy, **{"spacing_mm": SPACING, **options})


def test_finds_a_lesion_and_neither_noise_nor_bright_cortex():
    anatomy = make_anatomy()
    image = make_image(anatomy)
    assert not find(image, anatomy).any()
    image[LESION] += 6
    found = find(image, anatomy)
    assert found.dtype == np.uint8
    truth = np.zeros(SHAPE, bool)
    truth[LESION] = True
    assert (found > 0)[truth].mean() > 0.98
    assert found[~truth].sum() <= 3  # noise beside it


@pytest.mark.parametrize(
    ("place", "label"),
    [
        (LESION, Anatomy.CORTEX),
        (np.s_[30:38, 20:28, 20:28], Anatomy.CORTEX),  # larger than the cube and than the closing
        (LESION, Anatomy.DEEP_GREY),
    ],
)
def test_finds_a_lesion_that_the_map_calls_grey_matter(place, label):
    anatomy = make_anatomy()
    image = make_image(anatomy)
    image[place] += 8
    anatomy[place] = label
    assert find(image, anatomy)[place].mean() > 0.95


def test_finds_nothing_in_ventricle_outer_csf_or_at_the_edge():
    anatomy = make_anatomy()
    image = make_image(anatomy)
    image[22:26, 22:26, 22:26] += 30
    image[43:45, 22:26, 22:26] += 30
    image[np.isin(anatomy, (Anatomy.BACKGROUND,))] += 30
    assert not find(image, anatomy).any()


def test_scale_and_offset_of_the_image_do_not_matter():
    anatomy = make_anatomy()
    image = make_image(anatomy)
    image[LESION] += 6
    np.testing.assert_array_equal(find(image, anatomy), find(37 * image + 500, anatomy))


def test_a_seed_is_needed_and_the_dim_rim_is_taken_with_it():
    anatomy = make_anatomy()
    image = 0.6745 * (np.indices(SHAPE).sum(axis=0) % 3 - 1)  # median 0, 1.4826 MAD = 1
    image[LESION] = 3.0
    assert not find(image, anatomy).any()
    image[31, 23, 23] = 5.0
    assert find(image, anatomy).sum() == 64
    assert find(image, anatomy, grow_z=3.5).sum() == 0  # the seed alone is under 3 mm3
    assert find(image, anatomy, grow_z=3.5, min_volume_mm3=1).sum() == 1


def test_without_anatomy_the_brain_is_the_reference():
    image = np.random.default_rng(1).normal(size=SHAPE)
    image[LESION] += 10
    image[:3] += 10  # edge of the brain
    found = visit_lesions(image, np.ones(SHAPE), spacing_mm=SPACING)
    assert found[LESION].all()
    assert not found[:2].any()


def test_refuses():
    anatomy = make_anatomy()
    image = make_image(anatomy)
    with pytest.raises(ValueError, match="of one shape"):
        find(image[1:], anatomy)
    with pytest.raises(ValueError, match="grow_z <= seed_z"):
        find(image, anatomy, seed_z=2)
    with pytest.raises(ValueError, match="found none"):
        visit_lesions(image, np.zeros(SHAPE), spacing_mm=SPACING)
    with pytest.raises(ValueError, match="varying intensity"):
        find(np.zeros(SHAPE), anatomy)


def test_tissue_below_the_tentorium_is_measured_against_itself():
    anatomy = make_anatomy()
    image = make_image(anatomy)
    below = (np.indices(SHAPE)[2] < 23) & np.isin(anatomy, (Anatomy.WHITE_MATTER, Anatomy.VENTRICLE, Anatomy.CORTEX))
    assert below.sum() > 10_000
    anatomy[below] = Anatomy.INFRATENTORIAL
    image[below] = 5 + np.random.default_rng(1).normal(size=SHAPE)[below]  # bright, but all of it
    assert find(image, anatomy)[below].sum() <= 3  # noise beside bright cortex
    lesion = np.s_[22:26, 22:26, 10:14]
    image[lesion] += 6
    assert find(image, anatomy)[lesion].mean() > 0.95
