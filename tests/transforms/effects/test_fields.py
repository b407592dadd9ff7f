# SPDX-License-Identifier: Apache-2.0
"""Smooth fields by a matrix along each axis."""

import numpy as np
import pytest
import torch
from scipy import ndimage as ndi

from monai_microchange.transforms.effects._fields import along_axes, banded, blur, smooth_noise


def test_blur_agrees_with_scipy():
    volume = torch.rand(2, 17, 20, 13, generator=torch.Generator().manual_seed(0))
    expected = [ndi.gaussian_filter(c.double().numpy(), 1.5, mode="nearest", truncate=4.0) for c in volume]
    np.testing.assert_allclose(blur(volume, 1.5).numpy(), np.stack(expected), atol=1e-5)


def test_matrices_act_on_their_own_axis():
    volume = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    matrix = np.random.RandomState(0).normal(size=(6, 4))
    expected = np.einsum("oj,cijk->ciok", matrix, volume.numpy())
    np.testing.assert_allclose(along_axes(volume, [None, matrix, None]).numpy(), expected, rtol=1e-5)


def test_bands_repeat_the_ends():
    np.testing.assert_allclose(
        banded(3, np.array([1.0, 2.0, 1.0])), [[0.75, 0.25, 0], [0.25, 0.5, 0.25], [0, 0.25, 0.75]]
    )


def test_noise_has_unit_deviation_everywhere():
    fields = torch.cat([smooth_noise((9, 11, 8), (3.0, 4.0, 2.5), seed) for seed in range(2000)])
    # of 2000 draws: mean 0 within 1 / sqrt(2000) = 0.022, deviation 1 within 0.016; five times that over all voxels
    assert fields.mean(dim=0).abs().max() < 0.11
    assert (fields.std(dim=0) - 1).abs().max() < 0.08


def test_noise_is_smooth_over_its_knots():
    field = smooth_noise((60, 60, 1), (20.0, 5.0, 5.0), 1)[0, :, :, 0]
    assert field.diff(dim=0).abs().mean() < 0.4 * field.diff(dim=1).abs().mean()
    assert torch.equal(field, smooth_noise((60, 60, 1), (20.0, 5.0, 5.0), 1)[0, :, :, 0])


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 7, 1)])
def test_noise_fits_any_shape(shape):
    assert smooth_noise(shape, (5.0,) * 3, 0).shape == (1, *shape)
