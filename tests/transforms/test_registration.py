# SPDX-License-Identifier: Apache-2.0
"""Registration finds a known motion from any start, whatever changed, whichever scan comes first."""

import dataclasses

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_microchange._frames import apply_affine
from monai_microchange.data import read_volume
from monai_microchange.transforms import register_pair
from monai_microchange.transforms.registration import torch_engine

from .conftest import GRIDS, Grid, head_at, rigid, scan_head

POINTS_MM = np.random.RandomState(1).uniform(-15, 15, (200, 3))
"""Where in the head errors are measured."""


def distance_mm(one, other):
    return np.linalg.norm(apply_affine(one, POINTS_MM) - apply_affine(other, POINTS_MM), axis=1).max()


@pytest.fixture(scope="module")
def baseline():
    return scan_head(GRIDS["isotropic"])


@pytest.fixture(scope="module", params=["anisotropic", "oblique", "flipped"])
def followup(request, motion):
    return scan_head(GRIDS[request.param], motion, noise=1.0, seed=1)


@pytest.fixture(scope="module")
def found(baseline, followup):
    return register_pair(baseline, followup)


def test_known_motion_is_found(found, motion):
    assert distance_mm(found.baseline_to_followup, motion) < 0.1


def test_swapped_scans_give_the_inverse(baseline, followup, found):
    swapped = register_pair(followup, baseline)
    assert distance_mm(np.linalg.inv(swapped.baseline_to_followup), found.baseline_to_followup) < 1e-6


def test_quality_of_a_good_registration(found):
    assert found.inverse_consistency_mm == 0.0
    assert found.disagreement_mm < 0.5
    assert 1.2 < found.normalized_mutual_information < 2.0
    assert 0.9 < found.overlap <= 1.0
    assert 0.98 < found.correlation <= 1.0


def test_same_scan_twice_is_the_identity(baseline):
    same = register_pair(baseline, baseline)
    assert distance_mm(same.baseline_to_followup, np.eye(4)) < 1e-6
    assert same.overlap == 1.0
    assert same.correlation == pytest.approx(1.0)


def test_mask_on_a_grid_of_its_own_guides_the_registration(motion):
    """A bright slab that stays with the scanner would mislead a registration of everything."""
    scans, masks = [], []
    for pose in (np.eye(4), motion):
        scan = scan_head(GRIDS["isotropic"], pose)
        scan[:, :, :, :6] += 150.0
        coarse = GRIDS["anisotropic"]
        inside = head_at(apply_affine(np.linalg.inv(pose), coarse.points())).reshape(coarse.shape) > 3
        inside[:, :, :10] = False
        scans.append(scan)
        masks.append(
            MetaTensor(torch.from_numpy(inside.astype(np.uint8))[None], affine=torch.from_numpy(coarse.affine))
        )
    guided = register_pair(*scans, baseline_mask=masks[0], followup_mask=masks[1])
    assert distance_mm(guided.baseline_to_followup, motion) < 0.3


def test_scans_far_apart_in_scanner_coordinates_are_brought_together():
    far = rigid((2, 3, -4), (150.0, -80.0, 60.0))
    followup = scan_head(GRIDS["isotropic"])
    followup.affine = torch.from_numpy(far) @ followup.affine
    found = register_pair(scan_head(GRIDS["anisotropic"]), followup)
    assert distance_mm(found.baseline_to_followup, far) < 0.1


@pytest.fixture(scope="module")
def sample_scans(sample):
    return [read_volume(sample / f"{visit}.nii.gz") for visit in ("baseline", "followup")]


@pytest.fixture(scope="module")
def from_true_headers(sample_scans):
    return register_pair(*sample_scans).baseline_to_followup


def head_points(scan):
    """Points (n, 3) over the middle of a scan."""
    steps = np.indices((5, 5, 5)).reshape(3, -1).T / 8 + 0.25
    return apply_affine(scan.affine.numpy(), steps * (np.array(scan.shape[1:]) - 1))


@pytest.mark.parametrize(
    ("degrees", "shift_mm", "part"),
    [
        pytest.param((58, 0, 0), (90, -80, 70), slice(None), id="nodding"),
        pytest.param((-30, 35, 20), (-100, 0, 100), slice(None, 20), id="oblique, lower part", marks=pytest.mark.slow),
        pytest.param((10, -20, -50), (0, 100, 0), slice(12, None), id="shaking, upper part", marks=pytest.mark.slow),
    ],
)
def test_any_pose_within_60_degrees_is_found(sample_scans, from_true_headers, degrees, shift_mm, part):
    """A header that places the follow-up elsewhere, and a follow-up that shows less than the baseline."""
    baseline, followup = sample_scans
    pose = rigid(degrees, shift_mm)
    kept = MetaTensor(followup.as_tensor()[..., part].clone(), affine=followup.affine.clone())
    kept.affine[:3, 3] += followup.affine[:3, 2] * (part.start or 0)
    kept.affine = torch.from_numpy(pose) @ kept.affine
    found = register_pair(baseline, kept).baseline_to_followup
    points = head_points(baseline)
    apart = apply_affine(np.linalg.inv(pose) @ found, points) - apply_affine(from_true_headers, points)
    assert np.linalg.norm(apart, axis=1).mean() < 0.3


def test_part_of_a_head_is_found_in_the_whole(baseline):
    pose = rigid((15, -20, 10), (30.0, 40.0, -50.0))
    grid = GRIDS["isotropic"]
    far = rigid((0, 0, 0), pose[:3, 3])
    whole = scan_head(dataclasses.replace(grid, shape=(40, 40, 40)), np.linalg.inv(far) @ pose)
    half = MetaTensor(whole.as_tensor()[..., 20:].clone(), affine=torch.from_numpy(far) @ whole.affine)
    half.affine[:3, 3] += half.affine[:3, 2] * 20
    assert distance_mm(register_pair(baseline, half).baseline_to_followup, pose) < 0.3


def test_contrasts_may_differ(baseline, motion):
    """A scan whose brightness falls where the other's rises, still dark outside the head."""
    other = scan_head(GRIDS["anisotropic"], motion)
    inverted = MetaTensor(torch.where(other.as_tensor() > 25, 260 - other.as_tensor(), 0.0), affine=other.affine)
    assert distance_mm(register_pair(baseline, inverted).baseline_to_followup, motion) < 0.4


def paint(scan, pose, centre_mm, radius_mm, value):
    """The scan with a ball about a point of the head."""
    grid = GRIDS["isotropic"]
    points = apply_affine(np.linalg.inv(pose), grid.points())
    ball = (np.linalg.norm(points - centre_mm, axis=1) < radius_mm).reshape(grid.shape)
    return MetaTensor(torch.where(torch.from_numpy(ball), float(value), scan.as_tensor()), affine=scan.affine)


@pytest.mark.parametrize(("radius_mm", "value"), [(8, 220), (9, 2)], ids=["lesion", "cavity"])
def test_a_large_change_does_not_pull(baseline, motion, radius_mm, value):
    """The ball fills 6 to 9 percent of the head."""
    changed = paint(scan_head(GRIDS["isotropic"], motion), motion, (6.0, -4.0, 3.0), radius_mm, value)
    assert distance_mm(register_pair(baseline, changed).baseline_to_followup, motion) < 0.05


def test_a_part_that_moved_by_itself_does_not_pull(baseline, motion, monkeypatch):
    """A bright ball, 4 mm further back at follow-up; what changed is left out, or it is not."""
    here, there = np.array([8.0, -6.0, 3.0]), np.array([8.0, -2.0, 3.0])
    pair = (
        paint(baseline, np.eye(4), here, 7, 180),
        paint(scan_head(GRIDS["isotropic"], motion, noise=1.0, seed=1), motion, there, 7, 180),
    )
    robust = distance_mm(register_pair(*pair).baseline_to_followup, motion)
    plain_levels = tuple(dataclasses.replace(level, robust=False) for level in torch_engine.LEVELS)
    monkeypatch.setattr(torch_engine, "LEVELS", plain_levels)
    plain = distance_mm(register_pair(*pair).baseline_to_followup, motion)
    assert robust < 0.025 < plain


def test_a_scan_without_its_face_is_aligned(baseline, motion):
    scan = scan_head(GRIDS["isotropic"], motion)
    face = apply_affine(np.linalg.inv(motion), GRIDS["isotropic"].points())[:, 1] > 9
    scan[0][torch.from_numpy(face.reshape(scan.shape[1:]))] = 0.0
    assert distance_mm(register_pair(baseline, scan).baseline_to_followup, motion) < 0.06


STRETCH = {6: (1.0, 1.0, 1.0), 7: (1.04, 1.04, 1.04), 9: (1.04, 0.97, 1.0), 12: (1.04, 0.97, 1.0)}


@pytest.mark.parametrize("engine", ["torch", "itk"])
@pytest.mark.parametrize("degrees_of_freedom", [7, 9, 12])
def test_degrees_of_freedom_are_found(baseline, engine, degrees_of_freedom):
    truth = rigid((3, -2, 4), (2, -1, 1)) if degrees_of_freedom != 9 else np.eye(4)
    truth[:3, :3] *= STRETCH[degrees_of_freedom]
    if degrees_of_freedom == 12:
        truth[0, 1] += 0.04
    followup = scan_head(GRIDS["anisotropic"], truth)
    found = register_pair(baseline, followup, degrees_of_freedom=degrees_of_freedom, engine=engine)
    assert distance_mm(found.baseline_to_followup, truth) < 0.15


@pytest.mark.parametrize("engine", ["torch", "itk"])
def test_fewer_degrees_of_freedom_are_kept_to(baseline, engine):
    """A head stretched along two axes: a rigid transform stays rigid, a similarity has one scale."""
    followup = scan_head(GRIDS["anisotropic"], np.diag([1.08, 1.08, 1.0, 1.0]))
    part = {
        n: register_pair(baseline, followup, degrees_of_freedom=n, engine=engine).baseline_to_followup[:3, :3]
        for n in (6, 7)
    }
    np.testing.assert_allclose(part[6] @ part[6].T, np.eye(3), atol=1e-9)
    product = part[7] @ part[7].T
    assert product[0, 0] > 1.02
    np.testing.assert_allclose(product, product[0, 0] * np.eye(3), atol=2e-3 if engine == "itk" else 1e-9)


@pytest.mark.parametrize("degrees_of_freedom", [7, 9, 12])
def test_swapped_gives_the_inverse_with_any_freedom(baseline, motion, degrees_of_freedom):
    """Composed with itself the other way round, nothing moves by 0.01 mm, nor by rounding."""
    followup = scan_head(GRIDS["oblique"], motion @ np.diag([1.05, 0.97, 1.0, 1.0]), noise=1.0, seed=1)
    forth, back = (
        register_pair(*pair, degrees_of_freedom=degrees_of_freedom).baseline_to_followup
        for pair in ((baseline, followup), (followup, baseline))
    )
    assert distance_mm(back @ forth, np.eye(4)) < 1e-6


def test_thick_slices_across_thin_ones(baseline, motion):
    """1 x 1 x 6 mm, the slices standing upright and askew."""
    thick = Grid((1.0, 1.0, 6.0), (50, 56, 9), degrees=(70.0, -15.0, 11.0))
    assert distance_mm(register_pair(baseline, scan_head(thick, motion, noise=1.0)).baseline_to_followup, motion) < 0.1


def test_engines_agree(baseline, motion):
    followup = scan_head(GRIDS["anisotropic"], motion, noise=1.0, seed=1)
    found = register_pair(baseline, followup)
    itk = register_pair(baseline, followup, engine="itk")
    assert distance_mm(itk.baseline_to_followup, found.baseline_to_followup) < 0.15
    assert itk.inverse_consistency_mm < 0.2
    assert itk.correlation == pytest.approx(found.correlation, abs=0.01)


@pytest.mark.slow
def test_engines_agree_on_the_sample(sample_scans):
    one, other = (register_pair(*sample_scans, engine=engine).baseline_to_followup for engine in ("torch", "itk"))
    points = head_points(sample_scans[0])
    assert np.linalg.norm(apply_affine(one, points) - apply_affine(other, points), axis=1).mean() < 0.3


def test_a_seed_repeats_and_another_gives_nearly_the_same(baseline, motion):
    followup = scan_head(GRIDS["flipped"], motion)
    one, again, other = (register_pair(baseline, followup, seed=seed).baseline_to_followup for seed in (1, 1, 2))
    np.testing.assert_array_equal(again, one)
    assert distance_mm(other, one) < 0.05


def test_empty_mask_is_refused(baseline):
    nothing = MetaTensor(torch.zeros_like(baseline.as_tensor()), affine=baseline.affine)
    with pytest.raises(ValueError, match="no foreground to align"):
        register_pair(baseline, baseline, baseline_mask=nothing)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"degrees_of_freedom": 8}, "degrees_of_freedom must be one of"),
        ({"engine": "ants"}, "engine must be one of"),
    ],
)
def test_unknown_options_are_refused(baseline, options, message):
    with pytest.raises(ValueError, match=message):
        register_pair(baseline, baseline, **options)


def test_wrong_shape_is_refused(baseline):
    two = MetaTensor(baseline.as_tensor().expand(2, -1, -1, -1), affine=baseline.affine)
    with pytest.raises(ValueError, match="expected a scan or mask of shape"):
        register_pair(baseline, two)


def test_mask_outside_the_scan_is_refused(baseline):
    elsewhere = MetaTensor(torch.ones_like(baseline.as_tensor()), affine=baseline.affine.clone())
    elsewhere.affine[0, 3] += 500.0
    with pytest.raises(ValueError, match=r"outside|overlap"):
        register_pair(baseline, baseline, baseline_mask=elsewhere)
