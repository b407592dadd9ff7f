# SPDX-License-Identifier: Apache-2.0
"""Registrations of a series that are certain, not certain, or lead nowhere."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_microchange._frames import apply_affine
from monai_microchange.data import InputError
from monai_microchange.series import align_visits
from monai_microchange.transforms import AlignMidSpaced, LinearRegistration

from .ball import AFFINE, pose, scan


class Wary(AlignMidSpaced):
    """Doubts the registration of two visits, whichever comes first."""

    def __init__(self, doubted: np.ndarray):
        super().__init__(spacing_mm=2.0)
        self.doubted = doubted

    def doubt(self, registration: LinearRegistration, *, is_head: bool = True) -> str | None:
        return "not certain." if np.allclose(registration.baseline_to_followup, self.doubted, atol=0.5) else None


@pytest.fixture(scope="module")
def scans() -> list[MetaTensor]:
    return [MetaTensor(torch.from_numpy(scan(number))[None], affine=torch.from_numpy(AFFINE)) for number in range(3)]


def test_uncertain_registration_is_led_around(scans):
    found = align_visits(scans, [None] * 3, Wary(pose(2) @ np.linalg.inv(pose(0))))
    assert [edge["used"] for edge in found.edges.values()] == [True, False, True]
    assert list(found.edges) == [(0, 1), (0, 2), (1, 2)]
    assert found.loop_closure_mm is None
    (warning,) = found.warnings
    assert "visits 1 and 3 failed or is not certain" in warning
    points = np.eye(3) * 20
    error = apply_affine(found.registrations[0, 2].baseline_to_followup, apply_affine(pose(0), points)) - apply_affine(
        pose(2), points
    )
    assert np.linalg.norm(error, axis=1).max() < 0.5
    assert found.registrations[0, 2].correlation > 0.9


def test_visit_that_cannot_be_registered_is_named(scans):
    empty = MetaTensor(torch.zeros(1, 40, 40, 40), affine=torch.from_numpy(AFFINE))
    with pytest.raises(InputError, match="visit 3 cannot be aligned with any other: a scan has no foreground"):
        align_visits([*scans[:2], empty], [None] * 3, AlignMidSpaced(spacing_mm=2.0))


def test_visit_that_crops_all_others_is_named(scans):
    """The second visit shows the lower half of the ball only, but much air: its scan is not the smallest by volume."""
    wide = np.pad(scan(1)[:, :, :21], ((20, 20), (20, 20), (0, 0)))
    moved = AFFINE.copy()
    moved[:2, 3] -= 40
    partial = MetaTensor(torch.from_numpy(wide)[None], affine=torch.from_numpy(moved))
    found = align_visits([scans[0], partial, scans[2]], [None] * 3, AlignMidSpaced(spacing_mm=2.0))
    assert found.brain_shares[1] > 0.9
    assert max(found.brain_shares[0], found.brain_shares[2]) < 0.8
    (warning,) = found.warnings
    assert f"{found.brain_shares[0]:.0%} of visit 1, {found.brain_shares[2]:.0%} of visit 3" in warning
    assert "Visit 2 has the smallest field of view" in warning


@pytest.mark.slow
def test_visits_in_reversed_order_lie_in_the_same_space(scans):
    """Same grid, and each visit's pose the same but for rounding of the registration."""
    forth = align_visits(scans, [None] * 3, AlignMidSpaced(spacing_mm=2.0))
    back = align_visits(scans[::-1], [None] * 3, AlignMidSpaced(spacing_mm=2.0))
    assert forth.shape == back.shape
    np.testing.assert_allclose(forth.affine, back.affine, atol=1e-2)
    for one, other in zip(forth.mid_to_visits, reversed(back.mid_to_visits), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-2)
