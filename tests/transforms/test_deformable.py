# SPDX-License-Identifier: Apache-2.0
"""Smooth shifts of tissue are found and taken out; lesions are not."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.ndimage import gaussian_filter, map_coordinates

from monai_microchange._frames import apply_affine
from monai_microchange.transforms.displacement import WarpField
from monai_microchange.transforms.registration.deformable import register_deformable
from monai_microchange.transforms.registration.velocity import displacement_of_velocity

SPACING_MM, SHAPE = 1.5, (62, 70, 60)
AFFINE = np.diag([-SPACING_MM, -SPACING_MM, SPACING_MM, 1.0])
AFFINE[:3, 3] = -AFFINE[:3, :3] @ (np.asarray(SHAPE) - 1) / 2
POINTS = apply_affine(AFFINE, np.moveaxis(np.indices(SHAPE), 0, -1))
RADII_MM = np.array([42.0, 48.0, 40.0])
TEXTURE = gaussian_filter(np.random.RandomState(3).standard_normal(SHAPE), 3.0 / SPACING_MM)
TEXTURE *= 0.25 / TEXTURE.std()


def brain_at(points):
    """Brightness at points (..., 3): an ellipsoid full of smooth texture, which splines read nearly exactly."""
    inside = 1 / (1 + np.exp((np.linalg.norm(points / RADII_MM, axis=-1) - 1) * 30))
    at = np.moveaxis(apply_affine(np.linalg.inv(AFFINE), points), -1, 0)
    return inside * (1 + map_coordinates(TEXTURE, at, order=3, mode="nearest")).clip(0.1)


def scan_of(values, noise=0.0, seed=0):
    values = values + noise * np.random.RandomState(seed).standard_normal(values.shape)
    return MetaTensor(torch.from_numpy(values.astype(np.float32))[None], affine=torch.from_numpy(AFFINE))


PLAIN = brain_at(POINTS)
REGION = scan_of((np.linalg.norm(POINTS / RADII_MM, axis=-1) < 1.02).astype(float))
INSIDE = REGION.numpy()[0] > 0


@pytest.fixture(scope="module")
def truth():
    """What leads from mid-space to either visit: up to 1.5 mm each, so that 3 mm lie between them."""
    draw = np.random.RandomState(5)
    velocity = np.stack([gaussian_filter(draw.standard_normal(SHAPE), 15 / SPACING_MM) for _ in range(3)])
    velocity *= gaussian_filter(INSIDE.astype(float), 4.0)
    velocity *= 3.0 / np.linalg.norm(velocity, axis=0)[INSIDE].max()
    halves = torch.from_numpy(np.stack([velocity / 2, -velocity / 2]))
    shifts = displacement_of_velocity(halves, SPACING_MM).numpy()
    return [WarpField(np.diag(AFFINE)[:3, None, None, None] / SPACING_MM * shift, AFFINE) for shift in shifts]


@pytest.fixture(scope="module")
def visits(truth):
    """Tissue at a point of mid-space lies where the one field leads at baseline, and the other at follow-up."""
    return [scan_of(brain_at(truth[1 - k].moved(POINTS)), noise=0.02, seed=k) for k in range(2)]


@pytest.fixture(scope="module")
def found(visits):
    return register_deformable(*visits, REGION)


def test_known_deformation_is_found(found, truth):
    tissue = POINTS[INSIDE][::37]
    wanted = truth[1].moved(truth[1].moved(tissue))
    ours = found.followup_warp.moved(found.followup_warp.moved(tissue))
    before = np.linalg.norm(wanted - tissue, axis=1)
    after = np.linalg.norm(wanted - ours, axis=1)
    assert before.max() > 2.5
    assert before.mean() > 1.0
    assert after.mean() < 0.5
    assert found.correlation_after > found.correlation_before


def test_exchanging_the_visits_exchanges_the_warps_to_the_last_bit(found, visits):
    swapped = register_deformable(*visits[::-1], REGION)
    np.testing.assert_array_equal(swapped.baseline_warp.vectors, found.followup_warp.vectors)
    np.testing.assert_array_equal(swapped.followup_warp.vectors, found.baseline_warp.vectors)
    np.testing.assert_array_equal(swapped.baseline_warp.affine, found.baseline_warp.affine)


def test_no_place_is_folded_and_each_warp_is_the_others_inverse(found):
    for warp in (found.baseline_warp, found.followup_warp):
        assert warp.determinant().min() > 0.5
    back = found.baseline_warp.moved(found.followup_warp.moved(POINTS[::5, ::5, ::5]))
    # what linear interpolation between nodes 3 mm apart leaves
    np.testing.assert_allclose(back, POINTS[::5, ::5, ::5], atol=0.05)


def test_beyond_the_brain_the_warp_fades_to_nothing(found):
    warp = found.baseline_warp
    size = np.linalg.norm(warp.vectors, axis=0)
    assert size.max() > 0.5
    for axis in range(3):
        assert np.take(size, [0, -1], axis).max() == 0.0
    nodes = apply_affine(warp.affine, np.moveaxis(np.indices(size.shape), 0, -1))
    assert size[np.linalg.norm(nodes / (RADII_MM + 24), axis=-1) > 1].max() < 0.25 * size.max()


def test_same_scan_twice_stays_where_it_is(visits):
    same = register_deformable(visits[0], visits[0].clone(), REGION)
    assert np.abs(same.baseline_warp.vectors).max() == 0.0


def test_noise_alone_moves_next_to_nothing():
    pair = [scan_of(PLAIN, noise=0.03, seed=seed) for seed in (1, 2)]
    warp = register_deformable(*pair, REGION).baseline_warp
    assert np.linalg.norm(warp.moved(POINTS[INSIDE]) - POINTS[INSIDE], axis=1).mean() < 0.05


LESIONS = [
    ((5.0, 10.0, 12.0), 3.0, 0.5),
    ((-18.0, 12.0, 5.0), 5.0, 0.5),
    ((16.0, -14.0, -8.0), 7.0, 0.4),
    ((-12.0, -20.0, 6.0), 10.0, 0.6),
    ((20.0, 16.0, -10.0), 10.0, -0.4),
    ((-4.0, 28.0, -12.0), 6.0, 0.3),
]
"""Centre, diameter and contrast, mm."""


def blob(centre, diameter_mm, contrast):
    distance = np.linalg.norm(POINTS - centre, axis=-1)
    return contrast / (1 + np.exp((distance - diameter_mm / 2) / 0.4))


def test_lesions_are_not_swallowed():
    """Every other one is new, the rest resolved: the difference around each keeps at least 95 % of its integral."""
    values = [PLAIN + sum(blob(*lesion) for lesion in LESIONS[number::2]) for number in range(2)]
    pair = [scan_of(image, noise=0.01, seed=k) for k, image in enumerate(values)]
    found = register_deformable(*pair, REGION)
    warps = (found.baseline_warp, found.followup_warp)
    still = [scan_of(image).numpy()[0] for image in values]
    moved = [_sampled(image, warp) for image, warp in zip(still, warps, strict=True)]
    for lesion in LESIONS:
        near = np.linalg.norm(POINTS - lesion[0], axis=-1) < lesion[1] / 2 + 3
        kept = (moved[1] - moved[0])[near].sum() / (still[1] - still[0])[near].sum()
        assert 0.95 < kept < 1.05


def _sampled(image, warp):
    """An image through a warp, by linear interpolation."""
    parts = WarpField(np.stack([image] * 3), AFFINE)
    places = warp.moved(POINTS)
    return (parts.moved(places) - places)[..., 0]


def test_other_contrast_and_bias_do_not_matter(visits, found):
    """The follow-up inverted, and brighter to one side: local correlation is squared, and local."""
    bias = 1 + 0.3 * POINTS[..., 0] / 50
    inverted = scan_of((1.6 * INSIDE - visits[1].numpy()[0]) * bias)
    other = register_deformable(visits[0], inverted, REGION)
    tissue = POINTS[INSIDE][::37]
    apart = np.linalg.norm(other.followup_warp.moved(tissue) - found.followup_warp.moved(tissue), axis=1)
    assert apart.mean() < 0.3


def test_scan_of_one_value_is_refused():
    flat = scan_of(np.ones(SHAPE))
    with pytest.raises(ValueError, match="one value throughout the region"):
        register_deformable(flat, flat, REGION)


def test_empty_region_is_refused(visits):
    with pytest.raises(ValueError, match="expected a region to deform, got an empty one"):
        register_deformable(*visits, scan_of(np.zeros(SHAPE)))


def test_other_shapes_are_refused(visits):
    with pytest.raises(ValueError, match="of one shape"):
        register_deformable(visits[0], MetaTensor(visits[1][:, 1:], affine=visits[1].affine), REGION)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_gives_the_same(visits, found):
    other = register_deformable(*visits, REGION, device="cuda")
    np.testing.assert_allclose(other.baseline_warp.vectors, found.baseline_warp.vectors, atol=0.05)
