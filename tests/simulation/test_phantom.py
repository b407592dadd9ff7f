# SPDX-License-Identifier: Apache-2.0
"""The phantom keeps what it promises about itself."""

import sys

import numpy as np
import pytest
from scipy import ndimage

from monai_microchange._frames import apply_affine
from monai_microchange.enums import VISITS, Anatomy, ChangeType
from monai_microchange.simulation import Protocol, head, make_phantom
from monai_microchange.simulation.acquisition import acquire, draw_pose
from monai_microchange.simulation.lesions import draw_lesions

CONNECTED = np.ones((3, 3, 3), bool)


def lesions_in_a_block(seed, size=90, **counts):
    """Lesions in a cube of white matter between a ventricle and a cortex: no need for a head."""
    labels = np.full((size, size, size), Anatomy.WHITE_MATTER, np.uint8)
    labels[:4], labels[-4:] = Anatomy.VENTRICLE, Anatomy.CORTEX
    affine = np.eye(4)
    affine[:3, 3] = (20, 50, 50)
    return draw_lesions(np.random.default_rng(seed), labels, affine, **counts), labels


def test_truth_follows_from_the_masks_by_definition(phantom):
    baseline, followup = (mask.numpy()[0] > 0 for mask in (phantom.baseline_lesion, phantom.followup_lesion))
    expected = np.zeros(baseline.shape, np.uint8)
    for before, after, touching, apart in (
        (baseline, followup, ChangeType.ENLARGING, ChangeType.NEW),
        (followup, baseline, ChangeType.SHRINKING, ChangeType.RESOLVED),
    ):
        components, n = ndimage.label(after & ~before, CONNECTED)
        for i, box in enumerate(ndimage.find_objects(components), start=1):
            wide = tuple(slice(s.start - 1, s.stop + 1) for s in box)
            component = components[wide] == i
            meets = (ndimage.binary_dilation(component, CONNECTED) & before[wide]).sum() >= 2
            expected[wide][component] = touching if meets else apart
        assert n == 4
    np.testing.assert_array_equal(phantom.truth.numpy()[0], expected)


def test_all_types_are_there_with_the_stated_volumes(phantom):
    table = phantom.table()
    truth = phantom.truth.numpy()
    for kind in ChangeType:
        rows = [row for row in table if row["type"] == kind.name]
        assert len(rows) == 2
        assert (truth == kind).sum() == sum(row["change_mm3"] for row in rows)
    for visit in VISITS:
        mask = getattr(phantom, f"{visit}_lesion")
        assert mask.sum() == sum(row[f"{visit}_mm3"] for row in table)
    assert sum(row["type"] == "STABLE" for row in table) == 4


def test_lesions_are_bright_where_the_transforms_say(phantom):
    to_world = np.asarray(phantom.truth.affine)
    for lesion in phantom.lesions:
        for visit in VISITS:
            scan, matrix = phantom.scan(visit), phantom.anatomy_to_scan(visit)
            to_voxel = np.linalg.inv(np.asarray(scan.affine)) @ matrix @ to_world
            voxels = getattr(lesion, f"{visit}_voxels")
            union = max(lesion.baseline_voxels, lesion.followup_voxels, key=len)
            if len(voxels):
                # The heart of what is there; a small lesion loses signal to the thickness of the slices.
                inside = apply_affine(to_voxel, voxels.mean(axis=0, keepdims=True))
                signal = ndimage.map_coordinates(scan.numpy()[0], inside.T, order=1)[0]
                assert signal > (1.25 if len(voxels) > 60 else 1.06) * ring(scan, to_voxel, union), lesion.id
            else:
                signal = ndimage.map_coordinates(scan.numpy()[0], apply_affine(to_voxel, union).T, order=1).mean()
                assert signal < 1.12 * ring(scan, to_voxel, union), lesion.id


def ring(scan, to_voxel, voxels):
    """Median signal 3 mm around a lesion."""
    shape = voxels.max(axis=0) - voxels.min(axis=0) + 9
    mask = np.zeros(shape, bool)
    mask[tuple((voxels - voxels.min(axis=0) + 4).T)] = True
    around = np.argwhere(ndimage.binary_dilation(mask, iterations=3) & ~ndimage.binary_dilation(mask, iterations=2))
    points = apply_affine(to_voxel, around + voxels.min(axis=0) - 4)
    return np.median(ndimage.map_coordinates(scan.numpy()[0], points.T, order=1))


def test_centroids_in_the_table_agree_with_the_transforms(phantom):
    for row in phantom.table():
        for visit in VISITS:
            expected = apply_affine(phantom.anatomy_to_scan(visit), np.array(row["centroid_ras_mm"]))
            np.testing.assert_allclose(row[f"{visit}_centroid_ras_mm"], expected, atol=2e-3)


def test_poses_are_rigid_and_the_grids_differ(phantom):
    for visit in VISITS:
        rotation = phantom.anatomy_to_scan(visit)[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert phantom.baseline.shape != phantom.followup.shape
    assert np.argmax(np.abs(np.asarray(phantom.baseline.affine)[2, :3])) == 2  # axial: slices stack upwards
    assert np.argmax(np.abs(np.asarray(phantom.followup.affine)[0, :3])) == 2  # sagittal: from left to right


def test_scan_looks_like_flair(phantom):
    """White matter between dark fluid and bright lesions, near the stated scale; air holds only noise."""
    for visit in VISITS:
        scan = phantom.scan(visit).numpy()[0]
        white = phantom.protocols[visit].white_matter
        assert np.array_equal(scan, np.rint(scan))
        assert 0.8 * white < np.median(scan[scan > 0.6 * white]) < 1.25 * white
        assert np.median(scan[:4, :4, :4]) < 0.1 * white
        assert scan.max() < 2.6 * white


def test_equal_seeds_give_equal_voxels_and_others_differ(phantom, plain_phantom):
    again = make_phantom(3, n_per_type=0, n_stable=1)
    for name in ("baseline", "followup", "truth", "baseline_lesion"):
        np.testing.assert_array_equal(getattr(again, name).numpy(), getattr(plain_phantom, name).numpy())
    assert again.table() == plain_phantom.table()
    assert not np.allclose(phantom.anatomy_to_baseline, plain_phantom.anatomy_to_baseline)
    assert phantom.lesions[0].centroid_ras_mm != plain_phantom.lesions[0].centroid_ras_mm


def test_without_changes_the_truth_is_empty(plain_phantom):
    assert plain_phantom.truth.sum() == 0
    assert plain_phantom.baseline_lesion.sum() == plain_phantom.followup_lesion.sum() > 0
    assert [row["type"] for row in plain_phantom.table()] == ["STABLE"]


def test_missing_nilearn_is_named_with_its_extra(monkeypatch):
    head._template.cache_clear()
    monkeypatch.setitem(sys.modules, "nilearn", None)
    with pytest.raises(ImportError, match=r'pip install "monai-microchange\[phantom\]"'):
        make_phantom(0)


def test_negative_counts_are_refused():
    with pytest.raises(ValueError, match="n_per_type=-1"):
        make_phantom(0, n_per_type=-1)


@pytest.mark.parametrize("seed", range(3))
def test_lesions_have_the_promised_sizes_and_gaps(seed):
    lesions, labels = lesions_in_a_block(seed, n_per_type=2, n_stable=2)
    ids = np.zeros(labels.shape, int)
    for lesion in lesions:
        union = max(lesion.baseline_voxels, lesion.followup_voxels, key=len)
        assert (labels[tuple(union.T)] == Anatomy.WHITE_MATTER).all()
        smaller, larger = sorted((lesion.baseline_mm3, lesion.followup_mm3))
        if lesion.type in (ChangeType.ENLARGING, ChangeType.SHRINKING):
            assert larger >= 1.6 * smaller
            assert lesion.change_mm3 > 30
            assert lesion.type.is_gain == (lesion.followup_mm3 > lesion.baseline_mm3)
        else:
            assert 15 <= larger <= 600
        ids[tuple(union.T)] = lesion.id
    for lesion in lesions:
        to_lesion = ndimage.distance_transform_edt(ids != lesion.id)
        assert to_lesion[(ids > 0) & (ids != lesion.id)].min() >= 4


def test_too_many_lesions_are_refused():
    with pytest.raises(ValueError, match="ask for fewer lesions"):
        lesions_in_a_block(0, size=50, n_per_type=30, n_stable=0)


def test_slices_integrate_over_their_thickness():
    """A plate 2 mm thick that lies in the middle of a 4 mm slice gives half its signal, by hand."""
    flair = np.zeros((40, 40, 60), np.float32)
    flair[5:35, 5:35, 18:58] = 1e-3 + 0.3  # a body, so that the field of view is known
    flair[15:25, 15:25, 30:32] = 1.3
    protocol = Protocol("axial", 1.0, 4.0, white_matter=1000, noise=0, bias=0)
    voxels, affine = acquire(np.random.default_rng(0), flair, np.eye(4), np.eye(4), protocol)
    column = np.rint(apply_affine(np.linalg.inv(affine), np.array([20.0, 20.0, 30.5]))).astype(int)
    k = column[2]
    excess = voxels[column[0], column[1], k - 1 : k + 2].sum() - 3 * 301
    assert excess == pytest.approx((1300 - 301) * 2 / 4, rel=0.03)


@pytest.mark.parametrize("plane", ["axial", "sagittal", "coronal"])
def test_acquisition_puts_points_where_the_affine_says(plane):
    """A ball off centre is found again at its place, moved by the pose, within half a millimetre."""
    grid = np.stack(np.meshgrid(*[np.arange(64.0)] * 3, indexing="ij"), axis=-1)
    centre = np.array([40.0, 25.0, 36.0])
    flair = np.where(np.linalg.norm(grid - centre, axis=-1) < 6, 5.0, 0.0).astype(np.float32)
    flair += (np.linalg.norm(grid - 32, axis=-1) < 28) * np.float32(0.3)
    rng = np.random.default_rng(1)
    pose = draw_pose(rng)
    protocol = Protocol(plane, 1.2, 2.5, tilt_degrees=(5, -3, 2), noise=0, bias=0)
    voxels, affine = acquire(rng, flair, np.eye(4), pose, protocol)
    weight = np.clip(voxels - 0.4 * protocol.white_matter, 0, None)
    found = apply_affine(affine, np.array(ndimage.center_of_mass(weight)))
    np.testing.assert_allclose(found, apply_affine(pose, centre), atol=0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"plane": "oblique"}, "plane must be one of axial, sagittal, coronal"),
        ({"slice_mm": 0.0}, "slice_mm must be positive"),
        ({"noise": -0.1}, "noise is relative"),
    ],
)
def test_protocol_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        Protocol(**arguments)
