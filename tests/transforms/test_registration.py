# SPDX-License-Identifier: Apache-2.0
"""Rigid registration finds a known motion and does not care which scan comes first."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_microchange._frames import apply_affine
from monai_microchange.transforms import register_pair

from .conftest import GRIDS, head_at, rigid, scan_head

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
    # the scans have voxels of 2 mm and are registered at 1.5 mm
    assert distance_mm(found.baseline_to_followup, motion) < 0.15


def test_swapped_scans_give_the_inverse(baseline, followup, found):
    swapped = register_pair(followup, baseline)
    assert distance_mm(np.linalg.inv(swapped.baseline_to_followup), found.baseline_to_followup) < 1e-6


def test_quality_of_a_good_registration(found):
    assert found.inverse_consistency_mm < 0.2
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
    assert distance_mm(found.baseline_to_followup, far) < 0.15


def test_empty_mask_is_refused(baseline):
    nothing = MetaTensor(torch.zeros_like(baseline.as_tensor()), affine=baseline.affine)
    with pytest.raises(ValueError, match="no foreground to align"):
        register_pair(baseline, baseline, baseline_mask=nothing)
