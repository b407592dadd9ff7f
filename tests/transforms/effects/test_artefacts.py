# SPDX-License-Identifier: Apache-2.0
"""Ghosts, flow and liquor that was not suppressed."""

import numpy as np
import pytest
import torch

from monai_microchange.enums import Anatomy
from monai_microchange.transforms.effects import FlowArtefact, IncompleteSuppression, MotionGhosts


def bar(shape=(8, 64, 8), at=20, width=4):
    image = torch.zeros(1, *shape)
    image[:, :, at : at + width] = 1.0
    return image


@pytest.mark.parametrize(("period", "apart"), [(4.0, 16), (8.0, 8), (16.0, 4)])
def test_ghosts_lie_the_length_over_the_period_apart(period, apart):
    ghosts = MotionGhosts(0.0, period, pulsation=0.2)(bar(width=1))
    profile = ghosts[0, 3, :, 3].clone()
    # modulating the lines by a sine of that period makes one copy on either side, and no other
    copies = {(20 + apart) % 64, (20 - apart) % 64}
    assert {int(place) for place in (profile > 0.02).nonzero()} == copies | {20}
    # half of the pulsation goes to each side
    assert [float(profile[place]) for place in copies] == pytest.approx([0.1, 0.1], abs=2e-3)


def test_a_moving_edge_makes_ghosts_of_edges():
    moved = MotionGhosts(0.5, 4.0)(bar(width=12))[0, 3, :, 3]
    still = bar(width=12)[0, 3, :, 3]
    ghost = (moved - still)[34:50]
    # the copy 16 voxels on shows the edges at 36 and 48, not the flat inside
    assert ghost[[2, 14]].mean() > 4 * ghost[6:10].mean()


@pytest.mark.parametrize(("phase_axis", "slice_axis"), [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)])
def test_ghosts_stay_on_the_phase_axis(phase_axis, slice_axis):
    image = torch.zeros(1, 9, 12, 15)
    image[0, 4, 5, 6] = 1.0
    out = MotionGhosts(0.6, 3.0, pulsation=0.1, phase_axis=phase_axis, slice_axis=slice_axis)(image)
    line = [slice(None) if axis == phase_axis else at for axis, at in enumerate((4, 5, 6))]
    assert float(out.square().sum()) == pytest.approx(float(out[0][tuple(line)].square().sum()), rel=1e-5)
    assert out[0][tuple(line)].min() > 1e-5


def test_each_slice_meets_the_motion_at_another_moment():
    out = MotionGhosts(0.4, 5.0, seed=1)(bar())
    assert torch.allclose(out[:, 0], out[:, 5])
    assert not torch.allclose(out[..., 0], out[..., 5])


def test_ghosts_keep_the_mean_of_a_line():
    """The middle of k-space, which is the sum, is what the other lines are measured against."""
    image = torch.ones(1, 4, 33, 4)
    torch.testing.assert_close(MotionGhosts(0.5, 6.0, irregularity=0.3, pulsation=0.1)(image), image)


@pytest.mark.parametrize(
    ("changes", "message"), [({"period_lines": 1.0}, "at least 2"), ({"phase_axis": 2}, "must differ, got 2 for both")]
)
def test_ghosts_refuse_what_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        MotionGhosts(0.5, **changes)


def test_flow_brightens_liquor_and_leaves_tissue(head):
    image, anatomy = head
    added = FlowArtefact(1.2, coverage=0.5)(image, anatomy=anatomy) - image
    liquor = (anatomy == Anatomy.VENTRICLE) | (anatomy == Anatomy.OUTER_CSF)
    assert added.min() >= 0
    assert added[liquor].max() > 0.5
    assert added[~liquor].max() < 1e-6
    # far from any tissue nothing flows
    assert added[anatomy == Anatomy.BACKGROUND].max() == 0


def test_flow_is_where_it_is_fast(head):
    """Over many seeds, in the ventricle and by the brain stem far more than over the hemispheres."""
    image, anatomy = head
    added = sum(FlowArtefact(1.0, coverage=0.05, seed=seed)(image, anatomy=anatomy) - image for seed in range(30))
    outer = anatomy == Anatomy.OUTER_CSF
    above = outer.clone()
    above[..., :24] = False
    before_the_stem = torch.zeros_like(outer)
    before_the_stem[:, 17:23, 26:29, 3:9] = outer[:, 17:23, 26:29, 3:9]
    assert added[anatomy == Anatomy.VENTRICLE].mean() > 2 * added[above].mean()
    assert added[before_the_stem].mean() > 2 * added[above].mean()


@pytest.mark.parametrize("phase_axis", [0, 1])
def test_flow_leaves_faint_copies_along_the_phase_axis(head, phase_axis):
    image, anatomy = head
    plain = FlowArtefact(1.2, coverage=0.5, phase_axis=phase_axis)(image, anatomy=anatomy) - image
    ghosted = FlowArtefact(1.2, coverage=0.5, ghost=0.1, ghost_mm=9, phase_axis=phase_axis)(image, anatomy=anatomy)
    expected = plain.clone()
    for step, share in ((9, 0.1), (-9, 0.1), (18, 0.05), (-18, 0.05)):
        moved = torch.roll(plain, step, 1 + phase_axis)
        # what went over the edge is lost
        edge = slice(None, step) if step > 0 else slice(step, None)
        moved[(slice(None), *(edge if axis == phase_axis else slice(None) for axis in range(3)))] = 0
        expected += share * moved
    torch.testing.assert_close(ghosted - image, expected)


def test_ghost_farther_than_the_volume_is_lost(head):
    image, anatomy = head
    near, far = (FlowArtefact(1.2, coverage=0.5, ghost=g, ghost_mm=99)(image, anatomy=anatomy) for g in (0.0, 0.1))
    assert torch.equal(near, far)


def test_unsuppressed_liquor_gets_its_brightness(head):
    image, anatomy = head
    out = IncompleteSuppression(0.8, coverage=1 - 1e-7)(image, anatomy=anatomy)
    # everywhere missed: liquor of 0.25 becomes 0.8
    assert float(out[anatomy == Anatomy.VENTRICLE].median()) == pytest.approx(0.8, abs=0.01)
    assert torch.equal(out[anatomy == Anatomy.WHITE_MATTER], image[anatomy == Anatomy.WHITE_MATTER])


def test_suppression_fails_in_part_of_the_head(head):
    image, anatomy = head
    outs = [
        IncompleteSuppression(0.8, 0.3, 10.0, seed)(image, anatomy=anatomy)[anatomy == Anatomy.VENTRICLE]
        for seed in range(30)
    ]
    share = np.mean([float((out > 0.5).float().mean()) for out in outs])
    assert 0.15 < share < 0.45


@pytest.mark.parametrize("effect", [FlowArtefact(0.1), IncompleteSuppression(0.1)])
def test_liquor_darker_than_suppressed_stays(head, effect):
    image, anatomy = head
    assert torch.equal(effect(image, anatomy=anatomy), image)
