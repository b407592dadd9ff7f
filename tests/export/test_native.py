# SPDX-License-Identifier: Apache-2.0
"""The change map on a scan's grid."""

import numpy as np
import pytest
from scipy import ndimage as ndi

from monai_microchange.enums import ChangeType
from monai_microchange.export import change_in_native_space
from monai_microchange.transforms.displacement import WarpField


def make_affine(spacing=(1.0, 1.0, 1.0), angle=0.0, origin=(0.0, 0.0, 0.0)):
    c, s = np.cos(angle), np.sin(angle)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag(spacing)
    affine[:3, 3] = origin
    return affine


def make_change(shape=(30, 30, 30), seed=0, sigma=1.5, level=1.8):
    """Blobs of all four types, each its own lesion."""
    noise = ndi.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), sigma)
    ids, n = ndi.label(noise > level * noise.std(), np.ones((3, 3, 3)))
    types = np.concatenate([[0], 1 + np.arange(n) % 4]).astype(np.uint8)
    return types[ids], ids.astype(np.int32)


def resample(change, ids, native_affine, native_shape, *, mid_affine=None, mid_to_native=None, **options):
    return change_in_native_space(
        change,
        ids,
        mid_affine=np.eye(4) if mid_affine is None else mid_affine,
        native_affine=native_affine,
        native_shape=native_shape,
        mid_to_native=np.eye(4) if mid_to_native is None else mid_to_native,
        **options,
    )


def sizes(labels):
    return np.bincount(labels.ravel(), minlength=5)[1:]


def test_same_grid_returns_the_same_labels():
    change, ids = make_change()
    labels, lost = resample(change, ids, np.eye(4), change.shape)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, change)
    assert lost == {}


def test_flipped_and_permuted_grid_returns_the_same_labels():
    change, ids = make_change((12, 14, 16))
    flip = np.array([[0, -1.0, 0, 11], [0, 0, 1, 0], [-1, 0, 0, 15], [0, 0, 0, 1]])  # native (i, j, k) to mid
    labels, _ = resample(change, ids, flip, (16, 12, 14))
    np.testing.assert_array_equal(labels, np.flip(change, (0, 2)).transpose(2, 0, 1))


def test_mid_to_native_moves_points_from_mid_space_to_the_scan():
    change, ids = np.zeros((2, 10, 10, 10), np.uint8)
    change[2, 3, 4] = ids[2, 3, 4] = 1
    shift = make_affine(origin=(1, 2, 3))
    labels, _ = resample(change, ids, np.eye(4), change.shape, mid_to_native=shift)
    assert np.argwhere(labels).tolist() == [[3, 5, 7]]


@pytest.mark.parametrize(
    "native_affine",
    [
        make_affine((1, 1, 3), origin=(0, 0, 1)),
        make_affine((0.9, 0.9, 4), angle=0.5, origin=(9, -9, 0.3)),
        make_affine((0.7, 0.7, 0.7), angle=0.3, origin=(6, -6, 0)),
        make_affine((2, 2, 2), angle=0.2, origin=(4, -4, 0.5)),
    ],
)
def test_volume_of_large_lesions_is_kept(native_affine):
    change, ids = np.zeros((36, 36, 24), np.uint8), np.zeros((36, 36, 24), np.int32)
    for kind in ChangeType:
        centre = (10 + 14 * (kind % 2), 10 + 14 * (kind // 3), 12)
        ball = np.linalg.norm(np.indices(change.shape).T - centre, axis=-1).T < 6.5
        change[ball] = ids[ball] = kind
    shape = np.ceil(50 / np.linalg.norm(native_affine[:3, :3], axis=0)).astype(int).tolist()
    labels, lost = resample(change, ids, native_affine, shape)
    assert lost == {}
    volume = sizes(labels) * np.linalg.det(native_affine[:3, :3])
    np.testing.assert_allclose(volume, sizes(change), rtol=0.05)


def test_agrees_with_labels_at_voxel_centres_on_a_finer_oblique_grid():
    change, ids = make_change((24, 24, 24), sigma=2)
    native_affine = make_affine((0.5, 0.5, 0.5), angle=0.4, origin=(6, 1, 3.25))
    labels, _ = resample(change, ids, native_affine, (36, 36, 36))
    index = np.indices(labels.shape).reshape(3, -1)
    points = native_affine[:3, :3] @ index + native_affine[:3, 3:]
    expected = ndi.map_coordinates(change, points, order=0, mode="constant").reshape(labels.shape)
    assert (expected > 0).sum() > 500
    assert (labels != expected).sum() < 0.15 * (expected > 0).sum()  # all of it at the borders
    interior = ndi.minimum_filter(expected, 5)
    np.testing.assert_array_equal(labels[interior > 0], interior[interior > 0])


@pytest.mark.parametrize("kind", ChangeType)
@pytest.mark.parametrize("k", [0, 4, 11])
def test_one_voxel_survives_slices_of_5_mm(kind, k):
    change, ids = np.zeros((12, 12, 12), np.uint8), np.zeros((12, 12, 12), np.int32)
    change[5, 6, k], ids[5, 6, k] = kind, 9
    labels, lost = resample(change, ids, make_affine((1, 1, 5), origin=(0, 0, 1)), (12, 12, 3))
    assert lost == {}
    assert sizes(labels)[kind - 1] == 1
    assert labels[5, 6, round((k - 1) / 5)] == kind


def test_each_kind_of_change_of_a_lesion_keeps_a_voxel():
    change, ids = np.zeros((6, 6, 10), np.uint8), np.zeros((6, 6, 10), np.int32)
    change[2, 2, :2], change[2, 3, :1] = ChangeType.ENLARGING, ChangeType.SHRINKING
    ids[change > 0] = 1
    labels, lost = resample(change, ids, make_affine((1, 1, 5), origin=(0, 0, 2)), (6, 6, 2))
    assert lost == {}
    assert (labels[2, 2, 0], labels[2, 3, 0]) == (ChangeType.ENLARGING, ChangeType.SHRINKING)


def test_of_two_lesions_in_one_voxel_the_larger_keeps_it_and_the_other_says_so():
    change, ids = np.zeros((4, 4, 5), np.uint8), np.zeros((4, 4, 5), np.int32)
    change[1, 1, 1:3], ids[1, 1, 1:3] = ChangeType.NEW, 1
    change[1, 1, 4], ids[1, 1, 4] = ChangeType.RESOLVED, 2
    coarse = make_affine((1, 1, 5), origin=(0, 0, 2))
    labels, lost = resample(change, ids, coarse, (4, 4, 1), scan="baseline")
    assert labels[1, 1, 0] == ChangeType.NEW
    assert lost == {2: "its resolved part shares every voxel of the baseline scan with larger ones"}
    change[1, 1, 4] = ChangeType.NEW  # the same label: both are seen
    assert resample(change, ids, coarse, (4, 4, 1))[1] == {}


def test_outside_the_field_of_view_is_said():
    change, ids = make_change((12, 12, 12), level=1.2)
    change[:], ids[:] = 0, 0
    change[1, 1, 1], ids[1, 1, 1] = ChangeType.NEW, 1
    change[10, 1, 1], ids[10, 1, 1] = ChangeType.SHRINKING, 2
    change[4:8, 8, 8], ids[4:8, 8, 8] = ChangeType.NEW, 3  # half of it inside
    labels, lost = resample(change, ids, np.eye(4), (6, 12, 12), scan="followup")
    assert lost == {2: "its shrinking part lies outside the field of view of the followup scan"}
    assert np.argwhere(labels).tolist() == [[1, 1, 1], [4, 8, 8], [5, 8, 8]]


@pytest.mark.parametrize("seed", range(3))
def test_exchanging_gain_and_loss_exchanges_the_labels_exactly(seed):
    change, ids = make_change((30, 30, 30), seed=seed, sigma=0.8)
    halves = np.where(np.indices(change.shape)[0] % 2, 5 - change, change) * (change > 0)  # ties within lesions
    affine = make_affine((1.5, 1.5, 4), angle=0.3, origin=(3, -4, 1))
    for this in (change, halves.astype(np.uint8)):
        labels, lost = resample(this, ids, affine, (24, 24, 8))
        swapped, swapped_lost = resample(np.where(this > 0, 5 - this, 0).astype(np.uint8), ids, affine, (24, 24, 8))
        np.testing.assert_array_equal(swapped, np.where(labels > 0, 5 - labels, 0))
        assert lost.keys() == swapped_lost.keys()


def test_no_change_gives_zeros():
    nothing = np.zeros((4, 4, 4), np.uint8)
    labels, lost = resample(nothing, nothing, np.eye(4), (5, 6, 7))
    assert labels.shape == (5, 6, 7)
    assert not labels.any()
    assert lost == {}


def test_refuses():
    change, ids = make_change((8, 8, 8))
    change[0, 0, 0] = 1
    with pytest.raises(ValueError, match="of one shape"):
        resample(change, ids[1:], np.eye(4), (8, 8, 8))
    with pytest.raises(ValueError, match="number lesions and change together"):
        resample(change, np.zeros_like(ids), np.eye(4), (8, 8, 8))


def shift_field(shift_mm, shape=(12, 12, 12)):
    """A field that shifts everything, on nodes 3 mm apart."""
    return WarpField(np.broadcast_to(np.reshape(shift_mm, (3, 1, 1, 1)), (3, *shape)), make_affine((3, 3, 3)))


def test_warp_comes_before_the_linear_way():
    """A shift by (1, 2, 0), and then a turn of the axes."""
    change, ids = np.zeros((2, 10, 10, 10), np.uint8)
    change[2, 3, 4] = ids[2, 3, 4] = 1
    turn = np.eye(4)[[1, 2, 0, 3]]
    labels, lost = resample(change, ids, np.eye(4), change.shape, mid_to_native=turn, warp=shift_field((1, 2, 0)))
    assert np.argwhere(labels).tolist() == [[5, 4, 3]]
    assert lost == {}


def test_warp_of_nothing_changes_nothing():
    change, ids = make_change()
    grid = make_affine((0.9, 0.9, 4), angle=0.5, origin=(9, -9, 0.3)), (40, 40, 8)
    plain = resample(change, ids, *grid)
    warped = resample(change, ids, *grid, warp=shift_field((0, 0, 0)))
    np.testing.assert_array_equal(warped[0], plain[0])
    assert warped[1] == plain[1]


def test_stretched_lesion_covers_more_voxels():
    """Stretched by 1.5 along the first axis, about 0: 8 x 4 x 4 voxels become 12 x 4 x 4."""
    change, ids = np.zeros((24, 12, 12), np.uint8), np.zeros((24, 12, 12), np.int32)
    change[4:12, 4:8, 4:8] = ids[4:12, 4:8, 4:8] = 1
    nodes = 3.0 * np.indices((12, 12, 12))[0]
    stretch = WarpField(np.stack([0.5 * nodes + 0.25, 0 * nodes, 0 * nodes]), make_affine((3, 3, 3)))
    labels, _ = resample(change, ids, np.eye(4), change.shape, warp=stretch)
    assert (labels > 0).sum() == 12 * 4 * 4
    assert np.argwhere(labels).min(axis=0).tolist() == [6, 4, 4]
