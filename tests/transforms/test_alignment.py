# SPDX-License-Identifier: Apache-2.0
"""Both visits in mid-space, and back."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Flipd, ScaleIntensityd

from monai_microchange._frames import apply_affine
from monai_microchange.data import InputError
from monai_microchange.enums import VISITS
from monai_microchange.transforms import AlignMidSpaced, MidSpace

from .conftest import GRIDS, head_at, rigid, scan_head

BLOB_MM = np.array([5.0, -7.0, 4.0])
"""Centre of a ball in the baseline's head."""


@pytest.fixture(scope="module", params=["anisotropic", "oblique", "flipped"])
def pair(request, motion):
    """A baseline on one grid, and a follow-up after a motion, on the same or on another."""
    scans = (scan_head(GRIDS["isotropic"]), scan_head(GRIDS[request.param], motion, noise=1.0, seed=1))
    return dict(zip(VISITS, scans, strict=True))


@pytest.fixture(scope="module")
def transform():
    return AlignMidSpaced(spacing_mm=2.0)


@pytest.fixture(scope="module")
def aligned(transform, pair):
    return transform(pair)


def voxels_mm(affine, shape):
    return apply_affine(affine, np.indices(shape).reshape(3, -1).T)


def test_both_visits_show_the_same_at_the_same_voxel(aligned):
    one, other = (aligned[visit].numpy()[0] for visit in VISITS)
    seen = aligned["field_of_view"].numpy()[0] > 0
    assert one.shape == other.shape == seen.shape
    assert np.corrcoef(one[seen], other[seen])[0, 1] > 0.99


def test_mid_scan_is_the_head_half_way(aligned):
    """Each point of mid-space shows what the head shows at the point of the baseline that it stands for."""
    space = aligned["mid_space"]
    truth = head_at(apply_affine(space.mid_to_baseline, voxels_mm(space.affine, space.shape))).reshape(space.shape)
    seen = aligned["field_of_view"].numpy()[0] > 0
    assert np.corrcoef(truth[seen], aligned["baseline"].numpy()[0][seen])[0, 1] > 0.995


@pytest.mark.parametrize("visit", VISITS)
def test_affine_says_where_the_grid_lies(aligned, visit):
    np.testing.assert_array_equal(aligned[visit].affine.numpy(), aligned["mid_space"].affine)
    assert aligned[visit].dtype == torch.float32


@pytest.mark.parametrize("visit", VISITS)
def test_mask_comes_back_to_its_place_in_the_native_scan(transform, pair, aligned, motion, visit):
    """A ball put into mid-space is found in each scan where the known motion says, within half a voxel."""
    space = aligned["mid_space"]
    centre = apply_affine(np.linalg.inv(space.mid_to_baseline), BLOB_MM)
    ball = np.linalg.norm(voxels_mm(space.affine, space.shape) - centre, axis=1).reshape(space.shape) < 7
    masks = {}
    for key in VISITS:
        masks[key] = aligned[key].clone()
        masks[key][0] = torch.from_numpy(ball.astype(np.float32))
    native = transform.inverse({**aligned, **masks}, mode="nearest")[visit]
    np.testing.assert_allclose(native.affine.numpy(), pair[visit].affine.numpy(), atol=1e-9)
    assert native.shape == pair[visit].shape
    assert set(np.unique(native.numpy())) == {0.0, 1.0}
    truth = apply_affine(motion, BLOB_MM) if visit == "followup" else BLOB_MM
    index = np.argwhere(native.numpy()[0] > 0).mean(axis=0)
    wanted = apply_affine(np.linalg.inv(pair[visit].affine.numpy()), truth)
    assert np.abs(index - wanted).max() < 0.5


@pytest.mark.parametrize("visit", VISITS)
def test_scan_comes_back_to_its_grid(transform, pair, aligned, visit):
    back = transform.inverse(aligned)[visit].numpy()[0]
    inner = (slice(6, -6),) * 3
    assert np.corrcoef(back[inner].ravel(), pair[visit].numpy()[0][inner].ravel())[0, 1] > 0.97


def test_swap_exchanges_the_mid_scans(transform, pair, aligned):
    swapped = transform({"baseline": pair["followup"], "followup": pair["baseline"]})
    assert swapped["mid_space"].shape == aligned["mid_space"].shape
    for one, other in (VISITS, VISITS[::-1]):
        # grey values reach 200, and the transforms agree to rounding
        torch.testing.assert_close(swapped[one].as_tensor(), aligned[other].as_tensor(), atol=0.01, rtol=0)
    assert (swapped["field_of_view"] != aligned["field_of_view"]).float().mean() < 1e-3


def test_inverse_leaves_its_input_as_it_was(transform, aligned):
    one, other = transform.inverse(aligned), transform.inverse(aligned)
    assert len(aligned["baseline"].applied_operations) == 1
    assert torch.equal(one["baseline"].as_tensor(), other["baseline"].as_tensor())


def test_identical_scans_stay_identical():
    scan = scan_head(GRIDS["anisotropic"])
    out = AlignMidSpaced(spacing_mm=2.0)({"baseline": scan, "followup": scan.clone()})
    np.testing.assert_allclose(out["registration"].baseline_to_followup, np.eye(4), atol=1e-9)
    torch.testing.assert_close(out["baseline"].as_tensor(), out["followup"].as_tensor(), atol=1e-3, rtol=0)


def test_inside_a_compose_and_back_through_it():
    pipeline = Compose([Flipd(VISITS, spatial_axis=0), AlignMidSpaced(spacing_mm=2.0), ScaleIntensityd(VISITS)])
    scan = scan_head(GRIDS["anisotropic"])
    back = pipeline.inverse(pipeline({"baseline": scan, "followup": scan.clone()}))
    for visit in VISITS:
        np.testing.assert_allclose(back[visit].affine.numpy(), scan.affine.numpy(), atol=1e-9)
        assert np.corrcoef(back[visit].numpy().ravel(), scan.numpy().ravel())[0, 1] > 0.97
        assert not back[visit].applied_operations


def test_field_of_view_is_where_both_scans_were_acquired():
    """A follow-up that covers less: what it does not cover was not seen."""
    baseline, whole = scan_head(GRIDS["isotropic"]), scan_head(GRIDS["isotropic"], rigid((20, 0, 0), (0, 0, 0)))
    out = AlignMidSpaced(spacing_mm=2.0)({"baseline": baseline, "followup": whole})
    space, seen = out["mid_space"], out["field_of_view"].numpy()[0] > 0
    assert set(np.unique(seen)) == {False, True}
    points = voxels_mm(space.affine, space.shape)
    for visit, scan in (("baseline", baseline), ("followup", whole)):
        index = apply_affine(np.linalg.inv(scan.affine.numpy()) @ space.mid_to(visit), points[seen.ravel()])
        assert index.min() > -0.51
        assert (index < np.asarray(scan.shape[1:]) - 0.49).all()


def test_further_modalities_and_anatomy_come_along(transform, motion):
    grid = GRIDS["isotropic"]
    data = {}
    for visit, pose in zip(VISITS, (np.eye(4), motion), strict=True):
        data[visit] = scan_head(grid, pose)
        data[f"{visit}+T1"] = MetaTensor(200 - data[visit].as_tensor(), affine=data[visit].affine)
        data[f"{visit}_brain"] = MetaTensor((data[visit].as_tensor() > 20).to(torch.uint8), affine=data[visit].affine)
    out = transform(data)
    for visit in VISITS:
        torch.testing.assert_close(out[f"{visit}+T1"].as_tensor(), 200 - out[visit].as_tensor(), atol=1e-3, rtol=0)
        brain = out[f"{visit}_brain"]
        assert torch.equal(brain.as_tensor(), data[f"{visit}_brain"].as_tensor())
        np.testing.assert_allclose(
            out["mid_space"].mid_to(visit) @ brain.affine.numpy(), data[visit].affine.numpy(), atol=1e-9
        )
    assert transform.inverse(out)["followup+T1"].shape == data["followup+T1"].shape


def test_spacing_of_zero_is_refused():
    with pytest.raises(ValueError, match="spacing_mm must be above 0"):
        AlignMidSpaced(spacing_mm=0.0)


def test_masks_of_the_user_come_along(transform, motion):
    """Each from the space of its own visit, still of zeros and ones, and to within half a voxel."""
    grid, data = GRIDS["isotropic"], {}
    for visit, pose in zip(VISITS, (np.eye(4), motion), strict=True):
        data[visit] = scan_head(grid, pose)
        inside = np.linalg.norm(grid.points() - apply_affine(pose, BLOB_MM), axis=1).reshape(grid.shape) < 7
        data[f"{visit}_lesion"] = MetaTensor(torch.from_numpy(inside.astype(np.uint8))[None], affine=data[visit].affine)
    out = transform(data)
    space = out["mid_space"]
    truth = apply_affine(np.linalg.inv(space.mid_to_baseline @ space.affine), BLOB_MM)
    for visit in VISITS:
        mask = out[f"{visit}_lesion"].numpy()[0]
        assert mask.shape == space.shape
        assert set(np.unique(mask)) == {0, 1}
        assert np.abs(np.argwhere(mask > 0).mean(axis=0) - truth).max() < 0.5


def test_too_small_an_overlap_is_refused():
    scan = scan_head(GRIDS["isotropic"])
    with pytest.raises(InputError, match=r"expected an overlap of at least 101% of the smaller head .* got 100%"):
        AlignMidSpaced(min_overlap=1.01)({"baseline": scan, "followup": scan})


def test_force_goes_on_in_doubt():
    scan = scan_head(GRIDS["isotropic"])
    out = AlignMidSpaced(min_overlap=1.01, force=True, spacing_mm=3.0)({"baseline": scan, "followup": scan})
    assert out["registration"].overlap == 1.0


def test_parts_that_do_not_settle_are_doubted_in_heads_only(transform, aligned):
    doubtful = replace(aligned["registration"], settled_share=0.2)
    assert transform.doubt(aligned["registration"]) is None
    assert "20%" in transform.doubt(doubtful)
    assert "--force" in transform.doubt(doubtful)
    assert transform.doubt(doubtful, is_head=False) is None
    mirrored = replace(aligned["registration"], mirrored=True)
    assert "left and right" in transform.doubt(mirrored, is_head=False)


def test_scans_of_nothing_are_refused():
    empty = MetaTensor(torch.zeros(1, 20, 20, 20), affine=torch.eye(4))
    with pytest.raises(InputError, match="cannot be aligned: a scan has no foreground to align"):
        AlignMidSpaced()({"baseline": empty, "followup": empty})


def test_a_given_space_is_used_and_nothing_is_estimated(transform, pair, aligned):
    """A space 6 mm beside the one that would be found, and smaller: both visits are sampled as it says."""
    found, shift = aligned["mid_space"], rigid((0, 0, 0), (6.0, 0, 0))
    shape, halves = (20, 24, 20), (found.mid_to_baseline @ shift, found.mid_to_followup @ shift)
    space = MidSpace(np.linalg.inv(shift) @ found.affine, shape, *halves)
    out = transform({**pair, "mid_space": space, "registration": aligned["registration"]})
    assert out["mid_space"] is space
    assert out["registration"] is aligned["registration"]
    for visit in VISITS:
        # the shift of the grid and that of the transforms undo each other
        torch.testing.assert_close(out[visit][0], aligned[visit][0, :20, :24, :20], atol=0.01, rtol=0)
        np.testing.assert_array_equal(out[visit].affine.numpy(), space.affine)


def test_space_without_its_registration_is_estimated_anew(transform, pair, aligned):
    out = transform({**pair, "mid_space": MidSpace(np.eye(4), (4, 4, 4), np.eye(4), np.eye(4))})
    assert out["mid_space"].shape == aligned["mid_space"].shape
