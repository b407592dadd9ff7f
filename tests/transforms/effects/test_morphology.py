# SPDX-License-Identifier: Apache-2.0
"""Atrophy, skull stripping and defacing."""

import numpy as np
import pytest
import torch

from monai_microchange.enums import Anatomy
from monai_microchange.transforms.effects import Atrophy, Defacing, SkullStrip


def wall(shape=(64, 9, 9), at=32):
    """Labels of which one half is ventricle, the other white matter."""
    labels = torch.full((1, *shape), int(Anatomy.WHITE_MATTER))
    labels[:, :at] = Anatomy.VENTRICLE
    return labels


@pytest.mark.parametrize("growth_mm", [0.5, 1.5])
def test_a_flat_wall_moves_by_the_growth(growth_mm):
    ramp = torch.arange(64.0).view(1, 64, 1, 1).expand(1, 64, 9, 9)
    moved = Atrophy(growth_mm)(ramp, anatomy=wall())
    # the wall lies between voxels 31 and 32: what was there is now seen `growth_mm` farther out
    at_the_wall = (moved - ramp)[0, 31:33, 4, 4].mean()
    assert float(at_the_wall) == pytest.approx(-growth_mm, rel=0.02)
    assert (moved - ramp)[0, [5, 58], 4, 4].abs().max() < 0.01


def test_the_ventricle_grows_and_the_brain_shrinks(head):
    _, anatomy = head
    ventricle = (anatomy == Anatomy.VENTRICLE).float()
    tissue = ((anatomy > 0) & (anatomy < Anatomy.OUTER_CSF) & (anatomy != Anatomy.VENTRICLE)).float()
    effect = Atrophy(1.5, 0.5)
    assert effect(ventricle, anatomy=anatomy).sum() > 1.15 * ventricle.sum()
    assert effect(tissue, anatomy=anatomy).sum() < tissue.sum()


@pytest.mark.parametrize(("ventricle_mm", "sulcus_mm"), [(1.5, 0.0), (0.0, 1.0), (1.5, 0.5)])
def test_the_field_can_be_inverted(head, ventricle_mm, sulcus_mm):
    effect = Atrophy(ventricle_mm, sulcus_mm)
    field = effect.displacement(head[1]).double().numpy()
    jacobian = np.stack([np.stack(np.gradient(part), axis=-1) for part in field], axis=-2)
    assert np.linalg.norm(jacobian, ord=2, axis=(-2, -1)).max() <= effect.bend < 1
    assert np.linalg.det(np.eye(3) + jacobian).min() > 0
    assert np.linalg.norm(field, axis=0).max() > 0.2


def test_the_bound_holds_for_any_labels():
    effect = Atrophy(1.5, 0.5)
    for seed in range(3):
        labels = torch.from_numpy(np.random.RandomState(seed).randint(0, 7, (1, 6, 6, 6)).repeat(4, 1).repeat(4, 2))
        jacobian = torch.stack([torch.stack(torch.gradient(part)) for part in effect.displacement(labels)])
        assert torch.linalg.matrix_norm(jacobian.movedim((0, 1), (-2, -1)), ord=2).max() <= effect.bend


def test_no_ventricle_no_growth():
    image = torch.rand(1, 9, 9, 9, generator=torch.Generator().manual_seed(0))
    white = torch.full((1, 9, 9, 9), int(Anatomy.WHITE_MATTER))
    torch.testing.assert_close(Atrophy(1.5, 0.5)(image, anatomy=white), image, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("growth", "message"), [((4.5, 0.0), "might fold"), ((0.0, 2.5), "might fold"), ((-1.0, 0.0), "not be negative")]
)
def test_growth_that_would_fold_is_refused(growth, message):
    with pytest.raises(ValueError, match=message):
        Atrophy(*growth)


@pytest.mark.parametrize("margin_mm", [-2.0, 0.0, 3.0])
def test_stripping_cuts_at_its_margin(margin_mm):
    labels = torch.zeros(1, 50, 9, 9, dtype=torch.uint8)
    labels[:, :25] = Anatomy.WHITE_MATTER
    kept = SkullStrip(margin_mm)(torch.ones(1, 50, 9, 9), anatomy=labels)
    # the surface lies between voxels 24 and 25
    assert int(kept[0, :, 4, 4].sum()) == 25 + margin_mm


def test_rough_stripping_cuts_here_more_there_less():
    labels = torch.zeros(1, 40, 80, 80, dtype=torch.uint8)
    labels[:, :20] = Anatomy.CORTEX
    depth = SkullStrip(1.0, 1.0, seed=3)(torch.ones(1, 40, 80, 80), anatomy=labels)[0].sum(dim=0)
    assert 0.5 < float(depth.std()) < 1.6
    assert float(depth.mean()) == pytest.approx(21, abs=1)


@pytest.mark.parametrize("degrees", [0.0, 45.0])
def test_defacing_cuts_a_plane_in_front_of_the_brain(degrees):
    labels = torch.zeros(1, 5, 40, 40, dtype=torch.uint8)
    labels[0, :, 10:21, 15:30] = Anatomy.WHITE_MATTER
    kept = Defacing(3.0, degrees)(torch.ones(1, 5, 40, 40), anatomy=labels)[0]
    front, height = np.meshgrid(np.arange(40), np.arange(40), indexing="ij")
    if degrees:
        # the lowest corner of the brain's front is (20, 15): front - height is 5 there
        expected = front - height <= 5 + 3 * np.sqrt(2)
    else:
        expected = front <= 23
    np.testing.assert_array_equal(kept[2].numpy(), expected)


@pytest.mark.parametrize("effect", [SkullStrip(0.0), Defacing(0.0)])
def test_without_a_brain_nothing_is_cut(effect):
    image = torch.ones(1, 6, 6, 6)
    assert torch.equal(effect(image, anatomy=torch.zeros(1, 6, 6, 6)), image)


@pytest.mark.parametrize("effect", [SkullStrip(-1.0), Defacing(2.0, 30.0)])
def test_what_is_cut_is_zero_and_the_rest_stays(head, effect):
    image, anatomy = head
    out = effect(image + 0.1, anatomy=anatomy)
    assert (out == 0).any()
    assert torch.equal(out[out != 0], (image + 0.1)[out != 0])
