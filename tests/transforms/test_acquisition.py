# SPDX-License-Identifier: Apache-2.0
"""What a scanner does: slices, noise, bias, contrast."""

import numpy as np
import pytest
import torch
from scipy import ndimage as ndi

from monai_microchange.transforms.acquisition import (
    SliceProtocol,
    add_bias,
    add_rician_noise,
    apply_contrast,
    resample_voxels,
    through_slices,
)

from .conftest import rigid


def make_volume(shape=(24, 26, 22), sigma=2.0, seed=0, channels=1):
    noise = np.random.RandomState(seed).standard_normal((channels, *shape))
    smooth = np.stack([ndi.gaussian_filter(c, sigma) for c in noise])
    return torch.from_numpy((smooth / smooth.std()).astype(np.float32))


def make_protocol(**changes):
    plain = {
        "axis": 2,
        "thickness_mm": 1.0,
        "in_plane_mm": 1.0,
        "degrees": np.zeros(3),
        "phase_mm": np.zeros(3),
        "misplaced_mm": np.zeros(3),
        "misturned_degrees": np.zeros(3),
    }
    return SliceProtocol(**(plain | changes))


@pytest.mark.parametrize("degrees", [(0, 0, 0), (10, -20, 5)])
def test_resampling_agrees_with_scipy(degrees):
    volume, shape = make_volume(channels=2), (17, 30, 11)
    out_to_in = rigid(degrees, (1.3, -2.6, 4.1)) @ np.diag([1.2, 0.8, 1.5, 1.0])
    points = np.einsum("ij,jklm->iklm", out_to_in[:3, :3], np.indices(shape)) + out_to_in[:3, 3, None, None, None]
    expected = [ndi.map_coordinates(c.double().numpy(), points, order=1, mode="nearest") for c in volume]
    np.testing.assert_allclose(resample_voxels(volume, out_to_in, shape).numpy(), np.stack(expected), atol=2e-4)


def test_resampling_by_the_identity_changes_nothing():
    volume = make_volume()
    torch.testing.assert_close(resample_voxels(volume, np.eye(4), tuple(volume.shape[1:])), volume, atol=1e-4, rtol=0)


def test_resampling_repeats_the_border():
    out = resample_voxels(
        torch.arange(3.0).view(1, 1, 1, 3).expand(1, 2, 2, 3), rigid((0, 0, 0), (0, 0, -2.0)), (2, 2, 7)
    )
    torch.testing.assert_close(out[0, 0, 0], torch.tensor([0.0, 0, 0, 1, 2, 2, 2]))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"axis": 0, "phase_mm": np.array([0.5, -0.5, 0.25])},
        {"degrees": np.array([5.0, -3.0, 4.0]), "phase_mm": np.array([0.3, 0.2, -0.4])},
        {"thickness_mm": 2.0, "in_plane_mm": 0.8},
    ],
    ids=["plain", "shifted", "turned", "thick"],
)
def test_slices_put_back_show_the_volume(changes):
    """What is smooth survives slicing; inside, since slices need not reach the corners."""
    volume = make_volume(sigma=3.5)
    slices, back = through_slices(volume, make_protocol(**changes))
    again = resample_voxels(slices, back, tuple(volume.shape[1:]))
    inner = (0, *(slice(4, -4),) * 3)
    assert (again[inner] - volume[inner]).abs().mean() < 0.1
    assert np.corrcoef(again[inner].flatten(), volume[inner].flatten())[0, 1] > 0.99


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_have_their_thickness(axis):
    slices, _ = through_slices(make_volume(), make_protocol(axis=axis, thickness_mm=4.0, in_plane_mm=2.0))
    volume, voxel = np.array([24, 26, 22]), np.full(3, 2.0)
    voxel[axis] = 4.0
    assert slices.shape[1:] == tuple(np.ceil(volume / voxel).astype(int) + 1)


def test_misplacement_shifts_the_result_by_as_much():
    """A ramp along each axis turns a shift into a difference of grey values."""
    ramp = torch.from_numpy(np.indices((24, 24, 24)).astype(np.float32))
    slices, back = through_slices(ramp, make_protocol(misplaced_mm=np.array([0.5, -0.3, 0.2])))
    shift = resample_voxels(slices, back, (24, 24, 24)) - ramp
    inner = (slice(None), *(slice(5, -5),) * 3)
    np.testing.assert_allclose(shift[inner].mean(dim=(1, 2, 3)), [0.5, -0.3, 0.2], atol=1e-3)


def test_misturning_turns_about_the_centre():
    ramp = torch.from_numpy(np.indices((25, 25, 25)).astype(np.float32))
    slices, back = through_slices(ramp, make_protocol(misturned_degrees=np.array([0.0, 0.0, 2.0])))
    again = resample_voxels(slices, back, (25, 25, 25))
    np.testing.assert_allclose(again[:, 12, 12, 12], [12, 12, 12], atol=1e-3)
    # 8 voxels out along i, 2 degrees about k lead 8 * sin(2 degrees) along j
    np.testing.assert_allclose(
        again[:, 20, 12, 12], [12 + 8 * np.cos(np.pi / 90), 12 + 8 * np.sin(np.pi / 90), 12], atol=1e-3
    )


def test_thick_slices_blur_along_their_axis_alone():
    point = torch.zeros(1, 25, 25, 25)
    point[0, 12, 12, 12] = 1.0
    slices, back = through_slices(point, make_protocol(thickness_mm=5.0))
    again = resample_voxels(slices, back, (25, 25, 25))[0]
    assert again[12, 12, 9] > 0.02
    assert again[9, 12, 12] < 1e-3
    assert again[12, 9, 12] < 1e-3


def test_noise_of_no_deviation_is_none():
    image = make_volume().abs()
    torch.testing.assert_close(add_rician_noise(image, 0.0, torch.randn(2, *image.shape[1:])), image)


def test_noise_in_air_follows_rayleigh():
    # of the magnitude of a complex normal: mean sqrt(pi/2), deviation sqrt(2 - pi/2)
    noise = torch.randn(2, 60, 60, 60, generator=torch.Generator().manual_seed(0))
    air = add_rician_noise(torch.zeros(1, 60, 60, 60), 0.1, noise)
    assert air.min() >= 0
    assert float(air.mean()) == pytest.approx(0.1 * np.sqrt(np.pi / 2), rel=0.01)
    assert float(air.std()) == pytest.approx(0.1 * np.sqrt(2 - np.pi / 2), rel=0.01)


def test_noise_in_bright_tissue_is_nearly_normal():
    # far above the noise: mean sqrt(A^2 + deviation^2), deviation that of either part
    noise = torch.randn(2, 60, 60, 60, generator=torch.Generator().manual_seed(0))
    tissue = add_rician_noise(torch.ones(1, 60, 60, 60), 0.05, noise)
    assert float(tissue.mean()) == pytest.approx(np.sqrt(1 + 0.05**2), abs=5e-4)
    assert float(tissue.std()) == pytest.approx(0.05, rel=0.01)


def test_bias_is_the_exponential_of_its_field():
    image = make_volume((8, 9, 7)).abs()
    torch.testing.assert_close(add_bias(image, torch.full((1, 3, 4, 3), np.log(2.0))), 2 * image)
    corners = torch.zeros(1, 2, 2, 2)
    corners[0, 1] = np.log(3.0)
    biased = add_bias(torch.ones(1, 5, 3, 3), corners)
    # linear in the logarithm: in the middle the square root of 3
    torch.testing.assert_close(biased[0, :, 0, 0], torch.tensor([1.0, 3**0.25, 3**0.5, 3**0.75, 3.0]))


@pytest.mark.parametrize("gamma", [0.8, 1.0, 1.25])
def test_contrast_keeps_air_white_matter_and_order(gamma):
    grey = torch.linspace(0, 2, 21).view(1, 21, 1, 1)
    out = apply_contrast(grey, gamma).flatten()
    assert out[0] == 0
    assert out[10] == pytest.approx(1.0)
    assert (out.diff() > 0).all()


def test_contrast_takes_negative_values_for_air():
    assert apply_contrast(torch.tensor([[[[-0.5]]]]), 0.8).item() == 0


@pytest.mark.filterwarnings("ignore:Since version 1.3.0, affine_grid")
def test_resampling_onto_one_voxel_takes_the_first():
    volume = torch.arange(4.0).view(1, 1, 1, 4).expand(1, 2, 2, 4)
    assert resample_voxels(volume, np.eye(4), (2, 2, 1))[0, 0, 0, 0] == 0
