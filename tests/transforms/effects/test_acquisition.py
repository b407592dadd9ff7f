# SPDX-License-Identifier: Apache-2.0
"""One visit, from the head to the processed scan."""

import pickle

import numpy as np
import pytest
import torch

from monai_microchange.enums import Anatomy
from monai_microchange.transforms.effects import (
    Acquisition,
    Atrophy,
    BiasField,
    ContrastCurve,
    RicianNoise,
    SkullStrip,
    SliceProtocol,
)


def two_extents(anatomy):
    return torch.cat([anatomy == Anatomy.VENTRICLE, anatomy == Anatomy.CORTEX]).float()


def test_does_nothing_when_there_is_nothing_to_do(head):
    image, anatomy = head
    extent = two_extents(anatomy)
    scan, shown = Acquisition()(image, extent, anatomy)
    torch.testing.assert_close(scan, image, atol=1e-3, rtol=0)
    torch.testing.assert_close(shown, extent, atol=1e-3, rtol=0)


def test_extent_is_moved_but_not_coloured(head):
    image, anatomy = head
    extent = two_extents(anatomy)
    colours = (ContrastCurve.draw(np.random.RandomState(0)), BiasField((0.3,)))
    _, shown = Acquisition(head=colours, scanner=(RicianNoise(0.1),))(image, extent, anatomy)
    torch.testing.assert_close(shown, extent, atol=1e-3, rtol=0)
    shift = SliceProtocol(misplaced_mm=(2.0, 0.0, 0.0))
    scan, shown = Acquisition(slices=shift)(image, extent, anatomy)
    torch.testing.assert_close(shown[:, :-2], extent[:, 2:], atol=1e-3, rtol=0)
    torch.testing.assert_close(scan[:, :-2], image[:, 2:], atol=1e-3, rtol=0)


def test_extent_goes_through_the_very_steps_of_the_image(head):
    """An image that is its own extent stays so, wherever only the geometry changes."""
    _, anatomy = head
    extent = two_extents(anatomy)
    visit = Acquisition(
        head=(Atrophy(1.0, 0.3),),
        slices=SliceProtocol(thickness_mm=3.0, degrees=(3.0, 2.0, -4.0), misplaced_mm=(0.2, -0.3, 0.1)),
        processing=(SkullStrip(0.0),),
    )
    scan, shown = visit(extent[:1], extent, anatomy)
    torch.testing.assert_close(scan.clamp(0, 1), shown[:1], atol=1e-5, rtol=0)


def test_happens_in_physical_order(head):
    """The skull is cut off last: what was cut off is free of noise."""
    image, anatomy = head
    visit = Acquisition(scanner=(RicianNoise(0.1),), processing=(SkullStrip(0.0),))
    scan, _ = visit(image, two_extents(anatomy), anatomy)
    assert visit.effects == (SliceProtocol(), RicianNoise(0.1), SkullStrip(0.0))
    assert (scan[0, :2] == 0).all()
    assert scan[anatomy == Anatomy.CORTEX].min() > 0


@pytest.mark.parametrize("seed", range(8))
def test_a_drawn_visit_is_sound(head, seed):
    image, anatomy = head
    extent = two_extents(anatomy)
    before = image.clone(), extent.clone(), anatomy.clone()
    visit = Acquisition.draw(np.random.RandomState(seed), already_mm=3.0)
    scan, shown = visit(image, extent, anatomy)
    assert scan.shape == image.shape
    assert shown.shape == extent.shape
    assert torch.isfinite(scan).all()
    assert scan.min() >= 0
    assert 0 <= shown.min() <= shown.max() <= 1
    assert all(torch.equal(a, b) for a, b in zip(before, (image, extent, anatomy), strict=True))
    again, _ = pickle.loads(pickle.dumps(visit))(image, extent, anatomy)
    assert torch.equal(scan, again)
    assert visit == Acquisition.draw(np.random.RandomState(seed), already_mm=3.0)


@pytest.mark.parametrize("seed", range(4))
def test_a_visit_of_severity_0_is_the_scan_itself(head, seed):
    image, anatomy = head
    extent = two_extents(anatomy)
    scan, shown = Acquisition.draw(np.random.RandomState(seed), severity=0.0)(image, extent, anatomy)
    torch.testing.assert_close(scan, image, atol=2e-3, rtol=0)
    torch.testing.assert_close(shown, extent, atol=2e-3, rtol=0)


def test_every_effect_is_drawn_sometimes():
    names = [
        {type(effect).__name__ for effect in Acquisition.draw(np.random.RandomState(seed)).effects}
        for seed in range(100)
    ]
    always = set.intersection(*names)
    assert always == {"SliceProtocol", "ContrastCurve", "BiasField", "RicianNoise"}
    sometimes = {"Atrophy", "FlowArtefact", "IncompleteSuppression", "MotionGhosts", "SkullStrip", "Defacing"}
    assert set.union(*names) == always | sometimes


def test_a_scan_without_extent_passes_too(head):
    image, anatomy = head
    _, shown = Acquisition.draw(np.random.RandomState(0))(image, image[:0], anatomy)
    assert shown.shape == (0, *image.shape[1:])
