# SPDX-License-Identifier: Apache-2.0
"""Coarse anatomy, with a stand-in for the network: one that reads labels off the grey values."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_microchange._frames import apply_affine, spacing_from_affine
from monai_microchange.enums import Anatomy
from monai_microchange.transforms import (
    MergeAnatomyd,
    SegmentAnatomyd,
    anatomy_probabilities,
    clean_brain,
    merge_anatomy,
)

from .conftest import GRIDS, rigid, scan_head


class Threshold(torch.nn.Module):
    """White matter where the scaled scan is bright, background elsewhere."""

    def __init__(self, level=0.3):
        super().__init__()
        self.level = torch.nn.Parameter(torch.tensor(level))
        self.seen = []

    def forward(self, x):
        self.seen.append(tuple(x.shape))
        logits = torch.zeros(x.shape[0], len(Anatomy), *x.shape[2:])
        logits[:, Anatomy.WHITE_MATTER] = 40 * (x[:, 0] - self.level)
        logits[:, 2:] = -40
        return logits


@pytest.mark.parametrize("name", GRIDS)
def test_anatomy_lies_where_the_head_is(name):
    """Whatever the scanner's grid: on a 2 mm grid along RAS, at the right millimetres."""
    network = Threshold()
    probability = anatomy_probabilities(scan_head(GRIDS[name]), network)
    np.testing.assert_allclose(spacing_from_affine(probability.affine.numpy()), 2.0)
    assert (np.diag(probability.affine.numpy())[:3] > 0).all()
    assert all(n % 8 == 0 for n in network.seen[0][2:])  # the network halves the grid three times
    torch.testing.assert_close(probability.as_tensor().sum(dim=0), torch.ones(probability.shape[1:]))
    inside = np.argwhere(probability[Anatomy.WHITE_MATTER].numpy() > 0.5)
    points = apply_affine(probability.affine.numpy(), inside)
    # the ellipsoid about the origin, with radii of 18, 22 and 20 mm
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1.5)
    np.testing.assert_allclose(np.abs(points).max(axis=0), [18, 22, 20], atol=2.5)


def test_probabilities_are_of_no_gradient_and_can_be_changed():
    probability = anatomy_probabilities(scan_head(GRIDS["isotropic"]), Threshold())
    assert not probability.requires_grad
    probability += 1  # would fail on a tensor of inference mode


def octahedron(shape, centre, radius):
    """A solid that opening by one voxel leaves as it is."""
    place = np.indices(shape) - np.reshape(centre, (3, 1, 1, 1))
    return np.abs(place).sum(axis=0) <= radius


def test_clean_brain_keeps_the_largest_piece():
    large, small = octahedron((20, 20, 20), (7, 7, 7), 5), octahedron((20, 20, 20), (15, 15, 15), 3)
    cleaned = clean_brain(np.where(large, Anatomy.CORTEX, np.where(small, Anatomy.WHITE_MATTER, 0)))
    assert cleaned.dtype == np.uint8
    np.testing.assert_array_equal(cleaned, np.where(large, Anatomy.CORTEX, 0))


def test_clean_brain_fills_holes_with_white_matter():
    whole, hole = octahedron((15, 15, 15), (7, 7, 7), 6), octahedron((15, 15, 15), (7, 7, 7), 1)
    cleaned = clean_brain(np.where(whole & ~hole, Anatomy.CORTEX, 0))
    np.testing.assert_array_equal(cleaned, np.where(hole, Anatomy.WHITE_MATTER, np.where(whole, Anatomy.CORTEX, 0)))


def test_clean_brain_cuts_thin_bridges():
    large, small = octahedron((24, 13, 13), (6, 6, 6), 5), octahedron((24, 13, 13), (19, 6, 6), 3)
    labels = np.where(large | small, Anatomy.CORTEX, 0)
    labels[11:17, 6, 6] = Anatomy.CORTEX
    cleaned = clean_brain(labels)
    assert cleaned[large].all()
    assert not cleaned[13:].any()


@pytest.mark.parametrize("labels", [np.zeros((6, 6, 6), np.uint8), np.eye(6, dtype=np.uint8)[None].repeat(1, 0)])
def test_clean_brain_of_no_brain_is_background(labels):
    """Nothing at all, or specks that are too thin to be a brain."""
    cleaned = clean_brain(labels)
    assert cleaned.shape == labels.shape
    assert not cleaned.any()


def make_probability(value, shape=(11, 11, 11), affine=None):
    """A solid of one label, surely."""
    solid = torch.from_numpy(octahedron(shape, (5, 5, 5), 4))
    probability = torch.zeros(len(Anatomy), *shape)
    probability[0] = ~solid
    probability[value] = solid
    return MetaTensor(probability, affine=torch.eye(4, dtype=torch.float64) if affine is None else affine)


def make_grid(shape=(11, 11, 11), affine=None):
    return MetaTensor(torch.zeros(1, *shape), affine=torch.eye(4, dtype=torch.float64) if affine is None else affine)


def test_merge_averages_and_takes_the_likeliest():
    sure, unsure = make_probability(Anatomy.CORTEX), make_probability(Anatomy.WHITE_MATTER)
    solid = sure[Anatomy.CORTEX].numpy() > 0
    unsure[:, solid] = 1 / len(Anatomy)
    for order in ([sure, unsure], [unsure, sure]):
        merged = merge_anatomy(order, make_grid())
        assert merged.shape == (1, 11, 11, 11)
        assert merged.dtype == torch.uint8
        np.testing.assert_array_equal(merged[0].numpy(), np.where(solid, Anatomy.CORTEX, 0))


def test_merge_puts_anatomy_at_the_same_millimetres():
    """From 2 mm voxels, flipped, to 1 mm voxels."""
    affine = torch.diag(torch.tensor([-2.0, 2.0, 2.0, 1.0], dtype=torch.float64))
    affine[0, 3] = 20.0
    merged = merge_anatomy([make_probability(Anatomy.CORTEX, affine=affine)], make_grid((22, 22, 22)))
    centre = np.argwhere(merged[0].numpy() > 0).mean(axis=0)
    np.testing.assert_allclose(centre, 10.0, atol=0.3)  # the middle, voxel 5, at 2 mm


def test_merge_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one scan; got none"):
        merge_anatomy([], make_grid())


def test_segment_then_merge_leaves_anatomy_and_brain():
    scans = {"baseline": scan_head(GRIDS["isotropic"]), "followup": scan_head(GRIDS["isotropic"])}
    segmented = SegmentAnatomyd(["baseline", "followup"], Threshold())(scans)
    assert set(scans) == {"baseline", "followup"}
    brain = segmented["baseline_brain"]
    assert brain.dtype == torch.uint8
    assert segmented["baseline_anatomy"].shape == (len(Anatomy), *brain.shape[1:])
    merged = MergeAnatomyd(["baseline", "followup"])(segmented)
    assert set(merged) == {"baseline", "followup", "anatomy", "brain", "baseline_brain", "followup_brain"}
    assert merged["anatomy"].shape == merged["baseline"].shape
    assert torch.equal(merged["brain"].as_tensor(), (merged["anatomy"].as_tensor() > 0).to(torch.uint8))
    volume_mm3 = 8 * int(merged["brain"].sum())
    assert volume_mm3 == pytest.approx(4 / 3 * np.pi * 18 * 22 * 20, rel=0.12)


def test_scan_without_a_brain_is_refused():
    with pytest.raises(ValueError, match="no brain was found in the scan scan"):
        SegmentAnatomyd("scan", Threshold(level=2.0))({"scan": scan_head(GRIDS["isotropic"])})


def test_network_is_put_into_evaluation_mode():
    assert not SegmentAnatomyd("scan", Threshold().train()).network.training


def test_anatomy_follows_a_turned_head():
    turned = scan_head(GRIDS["anisotropic"], rigid((0, 0, 90), (3.0, 0.0, 0.0)))
    probability = anatomy_probabilities(turned, Threshold())
    points = apply_affine(probability.affine.numpy(), np.argwhere(probability[1].numpy() > 0.5))
    np.testing.assert_allclose(points.mean(axis=0), [3, 0, 0], atol=1.5)
    assert np.ptp(points[:, 0]) > np.ptp(points[:, 1])  # its long axis now lies along x
