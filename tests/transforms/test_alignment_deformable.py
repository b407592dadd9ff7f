# SPDX-License-Identifier: Apache-2.0
"""The alignment with its deformable stage: one interpolation, and a way back."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from monai_microchange._frames import apply_affine
from monai_microchange.data import ScanPair, Visit
from monai_microchange.enums import VISITS
from monai_microchange.quality import JudgePaird
from monai_microchange.transforms import AlignMidSpaced, mid_space
from monai_microchange.transforms.displacement import WarpField
from monai_microchange.transforms.registration import LinearRegistration
from monai_microchange.transforms.registration.deformable import DeformableRegistration
from monai_microchange.transforms.resampling import into_mid_space

from .conftest import GRIDS, Grid, head_at, scan_head


def squeezed(points):
    """Where a point of the head lies after its middle has moved by 2 mm to the right and up."""
    size = np.exp(-(np.linalg.norm(points, axis=-1, keepdims=True) ** 2) / (2 * 12.0**2))
    return points - size * np.array([1.6, 0.0, -1.2])


@pytest.fixture(scope="module")
def pair(motion):
    """A follow-up whose head moved, and whose tissue shifted."""
    grid = GRIDS["isotropic"]
    points = squeezed(apply_affine(np.linalg.inv(motion), grid.points()))
    values = head_at(points).reshape(grid.shape).astype(np.float32)
    data = {"baseline": scan_head(grid), "followup": MetaTensor(torch.from_numpy(values)[None], affine=grid.affine)}
    for visit in VISITS:
        inside = (data[visit].as_tensor() > 20).to(torch.uint8)
        data[f"{visit}_brain"] = MetaTensor(inside, affine=data[visit].affine)
        data[f"{visit}_anatomy"] = MetaTensor(torch.cat([1.0 - inside, inside.float()]), affine=data[visit].affine)
    return data


@pytest.fixture(scope="module")
def transform():
    return AlignMidSpaced(spacing_mm=1.5, deformable=True)


@pytest.fixture(scope="module")
def aligned(transform, pair):
    return transform(pair)


def unlike(data):
    one, other = (data[visit].numpy()[0] for visit in VISITS)
    return np.abs(one - other)[8:-8, 8:-8, 8:-8].mean()


def test_tissue_comes_closer(aligned, pair):
    linear = AlignMidSpaced(spacing_mm=1.5)(pair)
    assert linear["mid_space"].baseline_warp is None
    assert "deformation" not in linear
    assert isinstance(aligned["deformation"], DeformableRegistration)
    assert unlike(aligned) < 0.8 * unlike(linear)
    np.testing.assert_array_equal(aligned["mid_space"].mid_to_followup, linear["mid_space"].mid_to_followup)


def test_each_scan_is_interpolated_once_from_its_own_grid(aligned, pair):
    for visit in VISITS:
        once = into_mid_space(pair[visit], aligned["mid_space"], visit)
        assert torch.equal(once.as_tensor(), aligned[visit].as_tensor())


def test_exchanging_the_visits_exchanges_everything(transform, aligned, pair):
    swapped = transform(
        {key.replace(*ends): pair[key] for ends in (VISITS, VISITS[::-1]) for key in pair if key.startswith(ends[0])}
    )
    one, other = swapped["mid_space"].baseline_warp, aligned["mid_space"].followup_warp
    # the linear halves agree to rounding, and so do the grey values from which the warps come
    np.testing.assert_allclose(one.vectors, other.vectors, atol=0.02)
    torch.testing.assert_close(swapped["baseline"].as_tensor(), aligned["followup"].as_tensor(), atol=0.5, rtol=0)


def test_scan_and_mask_come_back_through_the_warp(transform, aligned, pair):
    back = transform.inverse(aligned)
    for visit in VISITS:
        np.testing.assert_allclose(back[visit].affine.numpy(), pair[visit].affine.numpy())
        inner = (slice(7, -7),) * 3
        one, other = back[visit].numpy()[0][inner], pair[visit].numpy()[0][inner]
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.97


def test_ball_of_mid_space_is_found_in_the_scan_where_the_warp_leads(transform, aligned, pair):
    space, centre = aligned["mid_space"], np.array([2.0, -1.0, 3.0])
    points = apply_affine(space.affine, np.moveaxis(np.indices(space.shape), 0, -1))
    mask = aligned["followup"].clone()
    mask[0] = torch.from_numpy((np.linalg.norm(points - centre, axis=-1) < 6).astype(np.float32))
    native = transform.inverse({**aligned, "followup": mask}, mode="nearest")["followup"]
    assert set(np.unique(native.numpy())) == {0.0, 1.0}
    found = apply_affine(native.affine.numpy(), np.argwhere(native.numpy()[0] > 0).mean(axis=0))
    np.testing.assert_allclose(found, space.to_visit("followup", centre), atol=0.4)


def test_way_back_needs_the_mid_space(transform, aligned):
    with pytest.raises(ValueError, match="expected mid_space in the data"):
        transform.inverse({visit: aligned[visit] for visit in VISITS})


def test_inside_a_compose_and_back_through_it(transform, aligned, pair):
    pipeline = Compose([transform])
    back = pipeline.inverse(aligned)
    assert not back["followup"].applied_operations
    assert back["followup"].shape == pair["followup"].shape


def test_anatomy_is_warped_on_a_grid_of_2_mm(aligned, pair):
    space = aligned["mid_space"]
    for visit in VISITS:
        anatomy = aligned[f"{visit}_anatomy"]
        points = apply_affine(anatomy.affine.numpy(), np.moveaxis(np.indices(anatomy.shape[1:]), 0, -1))
        there = apply_affine(np.linalg.inv(pair[visit].affine.numpy()), space.to_visit(visit, points))
        near = np.rint(there).astype(int).clip(0, np.asarray(pair[visit].shape[1:]) - 1)
        wanted = pair[f"{visit}_anatomy"].numpy()[1][tuple(np.moveaxis(near, -1, 0))]
        inner = (slice(4, -4),) * 3
        assert ((anatomy.numpy()[1] > 0.5) != wanted)[inner].mean() < 0.02
        assert np.corrcoef(anatomy.numpy()[1][inner].ravel(), wanted[inner].ravel())[0, 1] > 0.95


def test_coverage_is_judged_beyond_mid_space_whatever_the_warp():
    """A whole head against a slab of it: mid-space is no larger than the slab, and must not hide what that lacks."""
    grids = {"baseline": GRIDS["isotropic"], "followup": Grid((2.0, 2.0, 2.0), (32, 36, 10))}
    data = {visit: scan_head(grid) for visit, grid in grids.items()}
    scans = [Visit({"FLAIR": data[visit]}, Path("scan.nii.gz"), "0" * 64) for visit in VISITS]
    for visit in VISITS:
        inside = (data[visit].as_tensor() > 20).to(torch.uint8)
        data[f"{visit}_brain"] = MetaTensor(inside, affine=data[visit].affine)
    data["pair"] = ScanPair(*scans, interval_days=None)
    data["registration"] = LinearRegistration(np.eye(4), 0.0, 0.1, 1.0, False, 1.0, 0.9, 1.3)
    linear = mid_space(np.eye(4), *[(grid.affine, grid.shape) for grid in grids.values()], spacing_mm=2.0)
    nothing = WarpField(np.zeros((3, 4, 4, 4)), np.eye(4))
    found = []
    for space in (linear, replace(linear, baseline_warp=nothing, followup_warp=nothing)):
        out = JudgePaird(force=True)(AlignMidSpaced()({**data, "mid_space": space}))
        found.append(out["comparability"].measures["coverage"])
    slab = float((data["followup_brain"] > 0).sum() / (data["baseline_brain"] > 0).sum())
    np.testing.assert_allclose(found, slab, atol=1e-4)
    assert slab < 0.7


def test_without_a_brain_what_is_not_air_is_deformed(transform, pair):
    out = transform({visit: pair[visit] for visit in VISITS})
    assert isinstance(out["mid_space"].followup_warp, WarpField)
    assert np.linalg.norm(out["mid_space"].followup_warp.vectors, axis=0).max() > 0.3
