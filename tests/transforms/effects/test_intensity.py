# SPDX-License-Identifier: Apache-2.0
"""Noise, bias and contrast."""

import numpy as np
import pytest
import torch

from monai_microchange.transforms.effects import BiasField, ContrastCurve, RicianNoise


def test_noise_in_air_follows_rayleigh():
    # of the magnitude of a complex normal: mean sqrt(pi/2), deviation sqrt(2 - pi/2)
    air = RicianNoise(0.1)(torch.zeros(1, 60, 60, 60))
    assert air.min() >= 0
    assert float(air.mean()) == pytest.approx(0.1 * np.sqrt(np.pi / 2), rel=0.01)
    assert float(air.std()) == pytest.approx(0.1 * np.sqrt(2 - np.pi / 2), rel=0.01)


def test_noise_in_bright_tissue_is_nearly_normal():
    # the mean square of a Rician is A^2 + 2 deviation^2; far above the noise its deviation is that of either part
    tissue = RicianNoise(0.05)(torch.ones(1, 60, 60, 60))
    assert float(tissue.square().mean()) == pytest.approx(1 + 2 * 0.05**2, abs=1e-3)
    assert float(tissue.std()) == pytest.approx(0.05, rel=0.01)


def test_noise_follows_its_seed():
    image = torch.ones(1, 5, 5, 5)
    assert not torch.equal(RicianNoise(0.1, seed=1)(image), RicianNoise(0.1, seed=2)(image))
    with pytest.raises(ValueError, match="deviation must not be negative, got -1"):
        RicianNoise(-1)


def test_bias_is_the_exponential_of_its_cosines():
    weights = (0.3, -0.2, 0.1, 0.05)
    field = BiasField(weights)(torch.ones(1, 5, 6, 7))[0].log().numpy()
    orders = BiasField.orders()
    assert orders[:3] == [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    expected = np.zeros((5, 6, 7))
    for (i, j, k), weight in zip(orders, weights, strict=False):
        for voxel in np.ndindex(5, 6, 7):
            waves = [
                np.cos(np.pi * n * (x + 0.5) / size) for n, x, size in zip((i, j, k), voxel, (5, 6, 7), strict=True)
            ]
            expected[voxel] += weight * np.prod(waves)
    np.testing.assert_allclose(field, expected, atol=1e-5)


def test_bias_multiplies_and_has_no_mean():
    image = torch.rand(1, 8, 9, 7, generator=torch.Generator().manual_seed(0))
    effect = BiasField.draw(np.random.RandomState(0))
    field = effect(torch.ones_like(image))
    torch.testing.assert_close(effect(image), image * field)
    # the constant is left out of the series
    assert float(field.log().mean()) == pytest.approx(0, abs=1e-6)
    assert torch.equal(BiasField()(image), image)
    with pytest.raises(ValueError, match="at most 19 coefficients, got 20"):
        BiasField((0.1,) * 20)


@pytest.mark.parametrize("seed", range(5))
def test_contrast_keeps_air_white_matter_and_order(seed):
    grey = torch.linspace(0, 3, 301).view(1, 301, 1, 1)
    out = ContrastCurve.draw(np.random.RandomState(seed))(grey).flatten()
    assert out[0] == 0
    assert float(out[100]) == pytest.approx(1.0, abs=1e-5)
    assert (out.diff() > 0).all()


def test_contrast_passes_through_its_knots_and_goes_on_straight():
    values = (0.0, 0.2, 0.8, 1.0, 1.3, 1.4, 2.4)
    curve = ContrastCurve(values)
    out = curve(torch.tensor(ContrastCurve.GREYS).view(1, -1, 1, 1)).flatten()
    torch.testing.assert_close(out, torch.tensor(values), atol=1e-5, rtol=0)
    beyond = curve(torch.tensor([2.0, 2.5, 3.0]).view(1, -1, 1, 1)).flatten()
    assert float(beyond[2] - beyond[1]) == pytest.approx(float(beyond[1] - beyond[0]), rel=1e-4)


def test_contrast_of_liquor_and_of_lesions_vary_apart():
    draws = np.array([ContrastCurve.draw(np.random.RandomState(seed)).values for seed in range(400)])
    liquor, lesion = draws[:, 1], draws[:, 5]
    assert abs(np.corrcoef(liquor, lesion)[0, 1]) < 0.15
    assert lesion.std() > 0.05
    assert liquor.std() > 0.02


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0.0, 1.0), "must be 7 rising numbers"),
        ((0.0, 0.3, 0.2, 1.0, 1.1, 1.2, 1.3), "rising"),
        ((0.0, 0.3, 0.8, 0.9, 1.1, 1.2, 1.3), "white matter 1"),
    ],
)
def test_contrast_refuses_a_curve_that_is_none(values, message):
    with pytest.raises(ValueError, match=message):
        ContrastCurve(values)


def test_contrast_takes_negative_values_for_air():
    assert ContrastCurve()(torch.full((1, 1, 1, 1), -0.5)).item() == 0
