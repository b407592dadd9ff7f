# SPDX-License-Identifier: Apache-2.0
"""Grey values of each visit, brought to one scale from its own statistics."""

import numpy as np
import pytest
import torch
from scipy import ndimage as ndi

from monai_microchange.transforms import HarmonizeVisitsd, local_standardize, robust_standardize
from monai_microchange.transforms.harmonize import CLIP, StandardizeLocallyd


def make_brain(shape=(32, 36, 28), seed=0):
    """Texture on a tissue value of 100, and an ellipsoidal mask, each (1, *spatial)."""
    noise = np.random.RandomState(seed).standard_normal(shape)
    texture = ndi.gaussian_filter(noise, 1.5)
    place = np.indices(shape) - (np.array(shape)[:, None, None, None] - 1) / 2
    mask = sum((place[i] / (shape[i] / 2 - 2)) ** 2 for i in range(3)) < 1
    image = torch.from_numpy((100 + 10 * texture / texture.std()).astype(np.float32))[None]
    return image, torch.from_numpy(mask.astype(np.uint8))[None]


def smooth_field(shape):
    """A bias field from 0.7 to 1.4 that varies slowly along all axes."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    return torch.from_numpy(np.exp(0.15 * axes[0] - 0.1 * axes[1] + 0.08 * axes[2] ** 2).astype(np.float32))[None]


def test_robust_scale_on_paper():
    # median 4; absolute deviations 3 2 1 0 1 2 96, of which the median is 2; 2 * 1.4826 = 2.9652
    image = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 100.0, 7.0]).view(1, 2, 2, 2)
    mask = torch.tensor([1, 1, 1, 1, 1, 1, 1, 0]).view(1, 2, 2, 2)
    expected = [(v - 4) / 2.9652 for v in (1, 2, 3, 4, 5, 6)] + [10.0, 0.0]
    torch.testing.assert_close(robust_standardize(image, mask).flatten(), torch.tensor(expected), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("gain", "offset"), [(3.0, 0.0), (0.01, 0.0), (1.0, 500.0), (7.0, -200.0)])
def test_units_of_the_scanner_do_not_matter(gain, offset):
    image, mask = make_brain()
    for standardize in (robust_standardize, local_standardize):
        torch.testing.assert_close(
            standardize(gain * image + offset, mask), standardize(image, mask), atol=5e-3, rtol=1e-3
        )


@pytest.mark.parametrize("standardize", [robust_standardize, local_standardize])
def test_what_lies_outside_the_mask_neither_counts_nor_shows(standardize):
    image, mask = make_brain()
    other = torch.where(mask > 0, image, torch.full_like(image, 1e4))
    assert torch.equal(standardize(other, mask), standardize(image, mask))
    assert (standardize(image, mask)[mask == 0] == 0).all()


@pytest.mark.parametrize("standardize", [robust_standardize, local_standardize])
def test_values_are_cut(standardize):
    image, mask = make_brain()
    image[0, 16, 18, 14] = 1e6
    out = standardize(image, mask)
    assert out.max() == CLIP
    assert out.min() >= -CLIP


def test_robust_scale_of_an_empty_mask_is_refused():
    image, mask = make_brain()
    with pytest.raises(ValueError, match="the mask is empty"):
        robust_standardize(image, torch.zeros_like(mask))


def test_robust_scale_of_a_constant_is_refused():
    image, mask = make_brain()
    with pytest.raises(ValueError, match="one value"):
        robust_standardize(torch.full_like(image, 3.0), mask)


def test_local_scale_of_an_empty_mask_or_a_constant_is_zero():
    image, mask = make_brain()
    assert (local_standardize(image, torch.zeros_like(mask)) == 0).all()
    assert local_standardize(torch.full_like(image, 3.0), mask).abs().max() < 1e-3


def naive_local(image, mask, sigma):
    """Masked local mean and deviation on the full grid, in double precision."""
    inside = mask[0].numpy() > 0
    values = np.where(inside, image[0].double().numpy(), 0)
    centred = np.where(inside, values - values[inside].mean(), 0)
    weight, mean, square = (
        ndi.gaussian_filter(part, sigma, mode="constant", truncate=3) for part in (inside * 1.0, centred, centred**2)
    )
    mean, square = mean / np.maximum(weight, 1e-6), square / np.maximum(weight, 1e-6)
    deviation = np.sqrt(np.maximum(square - mean**2, 0)) + 0.05 * centred[inside].std()
    return np.where(inside, (centred - mean) / deviation, 0)


@pytest.mark.parametrize(("shape", "tolerance"), [((32, 36, 28), 0.1), ((33, 38, 31), 0.15)])
def test_local_scale_agrees_with_a_gaussian_on_the_full_grid(shape, tolerance):
    """The coarse grid costs little: values lie between about -4 and 4."""
    image, mask = make_brain(shape)
    image = image * smooth_field(shape)
    error = np.abs(local_standardize(image, mask, sigma_mm=12.0)[0].numpy() - naive_local(image, mask, 12.0))
    assert error.max() < tolerance


def test_local_scale_takes_out_a_bias_field():
    """Almost: near the border the mean is one-sided. The Gaussian is narrow against the field, as in a whole head."""
    image, mask = make_brain((48, 52, 44))
    biased = image * smooth_field(image.shape[1:])
    inside = mask > 0
    before = (robust_standardize(biased, mask) - robust_standardize(image, mask))[inside].std()
    after = (local_standardize(biased, mask, sigma_mm=6.0) - local_standardize(image, mask, sigma_mm=6.0))[inside].std()
    assert after < before / 3


def test_local_scale_is_in_millimetres():
    image, mask = make_brain()
    one = local_standardize(image, mask, spacing_mm=1.0, sigma_mm=8.0)
    torch.testing.assert_close(local_standardize(image, mask, spacing_mm=2.0, sigma_mm=16.0), one)
    assert not torch.allclose(local_standardize(image, mask, spacing_mm=2.0, sigma_mm=8.0), one, atol=1e-2)


def test_each_visit_is_treated_alone_and_alike():
    mask = make_brain()[1]
    one, other = make_brain(seed=1)[0], 2.5 * make_brain(seed=2)[0]
    transform = HarmonizeVisitsd(["baseline", "followup"])
    forth = transform({"baseline": one, "followup": other, "brain": mask})
    back = transform({"baseline": other, "followup": one, "brain": mask})
    assert torch.equal(forth["baseline"], back["followup"])
    assert torch.equal(forth["followup"], back["baseline"])
    alone = HarmonizeVisitsd("baseline")({"baseline": one, "brain": mask})
    assert torch.equal(alone["baseline"], forth["baseline"])


def test_channels_are_the_two_scales():
    image, mask = make_brain()
    out = HarmonizeVisitsd("scan", mask_key="mask", spacing_mm=2.0, sigma_mm=9.0)({"scan": image, "mask": mask})["scan"]
    assert out.shape == (2, *image.shape[1:])
    assert torch.equal(out[:1], robust_standardize(image, mask))
    assert torch.equal(out[1:], local_standardize(image, mask, spacing_mm=2.0, sigma_mm=9.0))


def test_suffix_keeps_the_scan():
    image, mask = make_brain()
    out = HarmonizeVisitsd("scan", mask_key="mask", suffix="_input")({"scan": image, "mask": mask})
    assert torch.equal(out["scan"], image)
    assert out["scan_input"].shape == (2, *image.shape[1:])


def test_local_scale_as_a_transform():
    image, mask = make_brain()
    standardize = StandardizeLocallyd("scan", mask_key="mask", spacing_mm=2.0, sigma_mm=9.0, suffix="_local")
    out = standardize({"scan": image, "mask": mask})
    assert torch.equal(out["scan_local"], local_standardize(image, mask, spacing_mm=2.0, sigma_mm=9.0))
    assert out["scan"] is image


@pytest.mark.parametrize("options", [{"spacing_mm": 0.0}, {"sigma_mm": -12.0}])
def test_options_of_the_local_scale_are_above_zero(options):
    with pytest.raises(ValueError, match="must be above 0"):
        StandardizeLocallyd("scan", **options)
