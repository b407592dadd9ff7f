# SPDX-License-Identifier: Apache-2.0
"""Slices: thickness, profile, pose, and how wrongly they are put back."""

import numpy as np
import pytest
import torch
from scipy import ndimage as ndi

from monai_microchange.transforms.effects import SliceProtocol, resample_voxels, through_slices

from ..conftest import rigid


def make_volume(shape=(24, 26, 22), sigma=2.0, seed=0, channels=1):
    noise = np.random.RandomState(seed).standard_normal((channels, *shape))
    smooth = np.stack([ndi.gaussian_filter(c, sigma) for c in noise])
    return torch.from_numpy((smooth / smooth.std()).astype(np.float32))


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
        {"axis": 0, "phase_mm": (0.5, -0.5, 0.25)},
        {"degrees": (5.0, -3.0, 4.0), "phase_mm": (0.3, 0.2, -0.4)},
        {"thickness_mm": 2.0, "in_plane_mm": 0.8},
    ],
    ids=["plain", "shifted", "turned", "thick"],
)
def test_slices_put_back_show_the_volume(changes):
    """What is smooth survives slicing; inside, since the border is repeated."""
    volume = make_volume(sigma=3.5)
    slices, back = through_slices(volume, SliceProtocol(**changes))
    again = resample_voxels(slices, back, tuple(volume.shape[1:]))
    inner = (0, *(slice(4, -4),) * 3)
    assert (again[inner] - volume[inner]).abs().mean() < 0.1
    assert np.corrcoef(again[inner].flatten(), volume[inner].flatten())[0, 1] > 0.99


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_have_their_thickness(axis):
    protocol = SliceProtocol(axis=axis, thickness_mm=4.0, in_plane_mm=2.0, gap_mm=1.0)
    slices, back = through_slices(make_volume(), protocol)
    voxel = np.full(3, 2.0)
    voxel[axis] = 5.0
    # from the first voxel's centre to the last one's
    assert slices.shape[1:] == tuple(np.ceil(np.array([23, 25, 21]) / voxel).astype(int) + 1)
    np.testing.assert_allclose(np.diag(back)[:3], 1 / voxel)


def test_misplacement_shifts_the_result_by_as_much():
    """A ramp along each axis turns a shift into a difference of grey values."""
    ramp = torch.from_numpy(np.indices((24, 24, 24)).astype(np.float32))
    slices, back = through_slices(ramp, SliceProtocol(misplaced_mm=(0.5, -0.3, 0.2)))
    shift = resample_voxels(slices, back, (24, 24, 24)) - ramp
    inner = (slice(None), *(slice(5, -5),) * 3)
    np.testing.assert_allclose(shift[inner].mean(dim=(1, 2, 3)), [0.5, -0.3, 0.2], atol=1e-3)


def test_misturning_turns_about_the_centre():
    ramp = torch.from_numpy(np.indices((25, 25, 25)).astype(np.float32))
    slices, back = through_slices(ramp, SliceProtocol(misturned_degrees=(0.0, 0.0, 2.0)))
    again = resample_voxels(slices, back, (25, 25, 25))
    np.testing.assert_allclose(again[:, 12, 12, 12], [12, 12, 12], atol=1e-3)
    # 8 voxels out along i, 2 degrees about k lead 8 * sin(2 degrees) along j
    np.testing.assert_allclose(
        again[:, 20, 12, 12], [12 + 8 * np.cos(np.pi / 90), 12 + 8 * np.sin(np.pi / 90), 12], atol=1e-3
    )


def test_thick_slices_blur_along_their_axis_alone():
    point = torch.zeros(1, 25, 25, 25)
    point[0, 12, 12, 12] = 1.0
    slices, back = through_slices(point, SliceProtocol(thickness_mm=5.0))
    again = resample_voxels(slices, back, (25, 25, 25))[0]
    assert again[12, 12, 9] > 0.02
    assert again[9, 12, 12] < 1e-3
    assert again[12, 9, 12] < 1e-3


@pytest.mark.parametrize("profile", ["gaussian", "rectangular"])
def test_profile_has_its_width(profile):
    point = torch.zeros(1, 41, 1, 1)
    point[0, 20] = 1.0
    weight = {}
    # the slices are 5 mm apart: put them elsewhere in turn to see the whole profile
    for shift in np.arange(-5, 5, 0.5):
        protocol = SliceProtocol(axis=0, thickness_mm=5.0, phase_mm=(shift, 0.0, 0.0), profile=profile)
        slices, back = through_slices(point.expand(1, 41, 3, 3), protocol)
        for slice_index, value in enumerate(slices[0, :, slices.shape[2] // 2, slices.shape[3] // 2].tolist()):
            centre = (slice_index - back[0, 3]) / back[0, 0]
            if abs(centre - 20) < 8.5 and np.isclose(centre, round(centre)):
                weight[round(centre) - 20] = value
    if profile == "rectangular":
        expected = {d: 0.2 if abs(d) <= 2 else 0.0 for d in weight}
    else:
        # variance of a full width at half maximum of 5, less that of the voxels themselves
        sigma = np.sqrt(24) / 2.355
        expected = {d: np.exp(-0.5 * (d / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi)) for d in weight}
    assert weight == pytest.approx(expected, abs=2e-3)
    assert len(weight) == 17


def test_coarse_voxels_lose_fine_waves_and_keep_slow_ones():
    place = np.arange(60)
    for frequency, kept in ((0.05, True), (0.4, False)):
        wave = torch.from_numpy(np.cos(2 * np.pi * frequency * (place + 0.5)).astype(np.float32))
        volume = wave.view(1, 60, 1, 1).expand(1, 60, 9, 9)
        # 1.5 mm voxels resolve up to a third of a wave per mm, and a filter fades the last 30 % of that
        slices, back = through_slices(volume, SliceProtocol(in_plane_mm=1.5))
        again = resample_voxels(slices, back, (60, 9, 9))
        assert float(again[0, 10:50, 4, 4].abs().max()) == pytest.approx(1.0 if kept else 0.0, abs=0.06)


def test_an_edge_rings_mildly():
    edge = torch.ones(1, 64, 3, 3)
    edge[:, :32] = 0
    slices, _ = through_slices(edge, SliceProtocol(in_plane_mm=1.3))
    # an abrupt truncation overshoots by 9 %
    assert 0.005 < float(slices.max()) - 1 < 0.09


def test_of_1_mm_slices_are_the_volume_itself():
    volume = make_volume()
    slices, back = through_slices(volume, SliceProtocol())
    torch.testing.assert_close(slices, volume, atol=1e-4, rtol=0)
    np.testing.assert_allclose(back, np.eye(4), atol=1e-12)


def test_slices_reach_every_corner():
    volume = make_volume()
    protocol = SliceProtocol(degrees=(8.0, -6.0, 10.0), phase_mm=(1.0, -2.0, 1.5), thickness_mm=3.0)
    slices, back = through_slices(volume, protocol)
    corners = np.array([[i, j, k, 1] for i in (0, 23) for j in (0, 25) for k in (0, 21)])
    inside = corners @ back.T
    assert (inside[:, :3] >= -1e-6).all()
    assert (inside[:, :3] <= np.array(slices.shape[1:]) - 1 + 1e-6).all()


@pytest.mark.parametrize("already_mm", [1.0, 3.0, 6.0])
def test_only_missing_blur_is_drawn(already_mm):
    for seed in range(30):
        protocol = SliceProtocol.draw(np.random.RandomState(seed), already_mm=already_mm)
        assert 1.0 <= protocol.thickness_mm <= np.sqrt(max(5.0**2 - already_mm**2, 0) + 1)
        assert protocol.axis == 2 or already_mm <= 2


def test_misalignment_left_over_is_a_fraction_of_a_millimetre():
    draws = [SliceProtocol.draw(np.random.RandomState(seed)) for seed in range(300)]
    assert 0.05 < np.median([np.linalg.norm(d.misplaced_mm) for d in draws]) < 0.2
    assert 0.05 < np.median([np.linalg.norm(d.misturned_degrees) for d in draws]) < 0.2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"axis": 3}, "axis must be 0, 1 or 2, got 3"),
        ({"thickness_mm": 0.0}, "must be positive"),
        ({"gap_mm": -1.0}, "gap_mm not negative"),
        ({"profile": "round"}, "gaussian, rectangular, got 'round'"),
    ],
)
def test_protocol_refuses_what_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        SliceProtocol(**changes)


@pytest.mark.filterwarnings("ignore:Since version 1.3.0, affine_grid")
def test_resampling_onto_one_voxel_takes_the_first():
    volume = torch.arange(4.0).view(1, 1, 1, 4).expand(1, 2, 2, 4)
    assert resample_voxels(volume, np.eye(4), (2, 2, 1))[0, 0, 0, 0] == 0


def test_interpolation_costs_no_sharpness_in_plane():
    """Variance of a blurred point, which two linear interpolations at a random phase widen by a third of a mm2."""
    sigma = 1.5
    place = torch.arange(31) - 15.0
    line = torch.exp(-0.5 * (place / sigma) ** 2)
    volume = (line[:, None, None] * line[None, :, None] * line[None, None, :])[None]
    widths = []
    for phase in np.linspace(0, 1, 5, endpoint=False):
        seen = SliceProtocol(phase_mm=(phase, phase, 0.0))(volume)[0]
        profile = seen.sum(dim=(1, 2)) / seen.sum()
        widths.append(float((profile * place**2).sum() - (profile * place).sum() ** 2))
    assert np.mean(widths) == pytest.approx(sigma**2, abs=0.12)


def test_warp_bends_by_its_spread_and_smoothly():
    """A ramp shows the displacement along its axis."""
    ramp = torch.arange(80.0).view(1, 80, 1, 1).expand(1, 80, 80, 80)
    moved = [(SliceProtocol(warp_mm=0.4, warp_seed=seed)(ramp) - ramp)[0, 8:-8, 8:-8, 8:-8] for seed in range(6)]
    assert float(torch.stack(moved).std()) == pytest.approx(0.4, rel=0.25)
    assert max(float(shift.diff(dim=axis).abs().max()) for shift in moved for axis in range(3)) < 0.15
    torch.testing.assert_close(SliceProtocol(warp_seed=3)(ramp), ramp)
