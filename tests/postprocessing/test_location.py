# SPDX-License-Identifier: Apache-2.0
"""Where a lesion lies."""

import numpy as np
import pytest
from scipy import ndimage as ndi

from monai_microchange.enums import Anatomy, Location
from monai_microchange.postprocessing import locate_lesions

SPACING = (1.0, 1.0, 1.0)


def make_anatomy():
    """Along the first axis: infratentorial 0..9, white matter to 59 with a ventricle at 20..22, cortex 56..59, CSF."""
    anatomy = np.full((64, 8, 8), Anatomy.WHITE_MATTER, np.uint8)
    anatomy[:10] = Anatomy.INFRATENTORIAL
    anatomy[20:23] = Anatomy.VENTRICLE
    anatomy[56:60] = Anatomy.CORTEX
    anatomy[60:62], anatomy[62:] = Anatomy.OUTER_CSF, Anatomy.BACKGROUND
    return anatomy


def locate(first, last, **options):
    ids = np.zeros((64, 8, 8), np.int32)
    ids[first : last + 1, 3:5, 3:5] = 1
    (location,) = locate_lesions(ids, make_anatomy(), **{"spacing_mm": SPACING, **options})
    return location


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (4, 6, Location.INFRATENTORIAL),
        (8, 11, Location.INFRATENTORIAL),  # half of it
        (8, 12, Location.DEEP),  # less than half of it
        (25, 26, Location.PERIVENTRICULAR),  # 25 - 22 = 3 mm
        (26, 27, Location.DEEP),
        (55, 55, Location.JUXTACORTICAL),  # 1 mm
        (54, 54, Location.DEEP),  # 2 mm
        (57, 58, Location.JUXTACORTICAL),  # within the cortex
        (21, 21, Location.PERIVENTRICULAR),  # within the ventricle
        (24, 55, Location.PERIVENTRICULAR),  # near both: the ventricle comes first
        (61, 62, Location.DEEP),  # without a tissue label, 2 mm off
    ],
)
def test_rule(first, last, expected):
    assert locate(first, last) is expected


def test_distances_are_in_mm():
    assert locate(26, 27, spacing_mm=(0.75, 1, 1)) is Location.PERIVENTRICULAR
    assert locate(25, 26, spacing_mm=(1.1, 1, 1)) is Location.DEEP
    assert locate(26, 27, periventricular_mm=4) is Location.PERIVENTRICULAR


def test_voxels_without_tissue_label_count_as_their_nearest_tissue():
    anatomy = make_anatomy()
    anatomy[3:6, 2:6, 2:6] = Anatomy.BACKGROUND
    ids = np.zeros(anatomy.shape, np.int32)
    ids[3:6, 2:6, 2:6] = 1
    assert locate_lesions(ids, anatomy, spacing_mm=SPACING) == [Location.INFRATENTORIAL]


def test_agrees_with_distance_transforms():
    rng = np.random.default_rng(3)
    shape, spacing = (24, 26, 22), (1.0, 1.3, 0.8)
    noise = ndi.gaussian_filter(rng.standard_normal((7, *shape)), (0, 2, 2, 2))
    anatomy = noise.argmax(axis=0).astype(np.uint8)
    blobs = ndi.gaussian_filter(rng.standard_normal(shape), 1)
    ids, n = ndi.label(blobs > 1.5 * blobs.std())
    to_ventricle = ndi.distance_transform_edt(anatomy != Anatomy.VENTRICLE, sampling=spacing)
    to_cortex = ndi.distance_transform_edt(anatomy != Anatomy.CORTEX, sampling=spacing)
    tissue = ~np.isin(anatomy, (Anatomy.BACKGROUND, Anatomy.OUTER_CSF))
    to_infratentorial = ndi.distance_transform_edt(anatomy != Anatomy.INFRATENTORIAL, sampling=spacing)
    below = to_infratentorial <= ndi.distance_transform_edt(~tissue, sampling=spacing) + 1e-9
    found = locate_lesions(ids, anatomy, spacing_mm=spacing)
    assert len(found) == n > 10
    for i, location in enumerate(found, start=1):
        inside = ids == i
        if location is Location.INFRATENTORIAL:
            assert below[inside].mean() >= 0.5
        elif location is Location.PERIVENTRICULAR:
            assert to_ventricle[inside].min() <= 3
        elif location is Location.JUXTACORTICAL:
            assert to_ventricle[inside].min() > 3
            assert to_cortex[inside].min() <= 1.5
        else:
            assert to_ventricle[inside].min() > 3
            assert to_cortex[inside].min() > 1.5


def test_unknown_without_a_map_and_empty_without_lesions():
    ids = np.zeros((64, 8, 8), np.int32)
    assert locate_lesions(ids, make_anatomy(), spacing_mm=SPACING) == []
    ids[3, 3, 3] = 1
    assert locate_lesions(ids, None, spacing_mm=SPACING) == [Location.UNKNOWN]
    assert locate_lesions(ids, np.zeros_like(ids), spacing_mm=SPACING) == [Location.UNKNOWN]


def test_refuses_a_map_on_another_grid():
    with pytest.raises(ValueError, match="resample it to mid-space"):
        locate_lesions(np.ones((4, 4, 4), int), np.ones((4, 4, 5), int), spacing_mm=SPACING)
