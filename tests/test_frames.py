# SPDX-License-Identifier: Apache-2.0
"""RAS and LPS, voxels and millimetres."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.affines import apply_affine as nibabel_apply_affine
from nibabel.affines import voxel_sizes
from scipy.spatial.transform import Rotation

from monai_microchange._frames import (
    LPS_FROM_RAS,
    affine_from_image,
    apply_affine,
    array_from_image,
    corners_mm,
    image_from_array,
    matrix_from_transform,
    spacing_from_affine,
    transform_from_matrix,
)


def make_affine(spacing=(1.0, 2.0, 3.0), degrees=(10, 20, 30), origin=(-5.0, 7.0, 11.0)):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() * spacing
    affine[:3, 3] = origin
    return affine


AFFINES = {
    "plain": np.eye(4),
    "oblique": make_affine(),
    "flipped": make_affine((-1.0, 2.0, -0.5), (0, 0, 0)),
    "left-handed": make_affine((1.0, 1.0, -1.0)),
    "permuted": make_affine()[:, [2, 0, 1, 3]],
}


@pytest.fixture(params=AFFINES)
def affine(request):
    return AFFINES[request.param]


@pytest.fixture
def voxels():
    return np.random.RandomState(0).random_sample((4, 5, 6)).astype(np.float32)


def test_lps_negates_the_first_two_axes_and_is_its_own_inverse():
    np.testing.assert_array_equal(apply_affine(LPS_FROM_RAS, np.array([1.0, 2.0, 3.0])), [-1, -2, 3])
    np.testing.assert_array_equal(LPS_FROM_RAS @ LPS_FROM_RAS, np.eye(4))


@pytest.mark.parametrize("shape", [(3,), (7, 3), (2, 4, 3), (0, 3)])
def test_points_are_mapped_as_by_nibabel(affine, shape):
    points = np.random.RandomState(0).random_sample(shape)
    np.testing.assert_allclose(apply_affine(affine, points), nibabel_apply_affine(affine, points))


def test_spacing_is_as_by_nibabel(affine):
    np.testing.assert_allclose(spacing_from_affine(affine), voxel_sizes(affine))


def test_corners_are_the_faces_of_the_outer_voxels():
    corners = corners_mm(np.diag([2.0, 3.0, 4.0, 1.0]), (1, 10, 20, 30))
    assert corners.shape == (8, 3)
    assert len(np.unique(corners, axis=0)) == 8
    np.testing.assert_allclose(corners.min(axis=0), [-1, -1.5, -2])
    np.testing.assert_allclose(corners.max(axis=0), [19, 58.5, 118])


def test_image_and_back(affine, voxels):
    image = image_from_array(voxels, affine)
    assert image.GetSize() == voxels.shape
    np.testing.assert_allclose(affine_from_image(image), affine, atol=1e-12)
    np.testing.assert_array_equal(array_from_image(image), voxels)


def test_image_knows_where_each_voxel_lies(affine, voxels):
    image = image_from_array(voxels, affine)
    for index in ((0, 0, 0), (3, 4, 5), (1, 0, 2)):
        ras = apply_affine(affine, np.array(index, dtype=float))
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint(index), ras * [-1, -1, 1])
        assert image.GetPixel(*index) == voxels[index]


def test_files_mean_the_same_to_itk_and_nibabel(tmp_path, affine, voxels):
    """A foreign reference: each reads what the other wrote."""
    nib.save(nib.Nifti1Image(voxels, affine), tmp_path / "nibabel.nii.gz")
    image = sitk.ReadImage(tmp_path / "nibabel.nii.gz")
    np.testing.assert_allclose(affine_from_image(image), affine, atol=1e-5)
    np.testing.assert_array_equal(array_from_image(image), voxels)
    sitk.WriteImage(image_from_array(voxels, affine), tmp_path / "itk.nii.gz")
    np.testing.assert_allclose(nib.load(tmp_path / "itk.nii.gz").affine, affine, atol=1e-5)


def test_matrix_and_back(affine):
    np.testing.assert_allclose(matrix_from_transform(transform_from_matrix(affine)), affine, atol=1e-12)


def test_transform_maps_the_same_points_in_lps():
    matrix = make_affine((1.0, 1.0, 1.0))
    point = np.array([3.0, -4.0, 5.0])
    moved = transform_from_matrix(matrix).TransformPoint((point * [-1, -1, 1]).tolist())
    np.testing.assert_allclose(np.array(moved) * [-1, -1, 1], apply_affine(matrix, point))


def test_transforms_with_a_centre_and_chains_are_read_too():
    euler = sitk.Euler3DTransform((10.0, -20.0, 5.0), 0.1, -0.2, 0.3, (1.0, 2.0, 3.0))
    shift = sitk.TranslationTransform(3, (1.0, 0.0, -2.0))
    chain = sitk.CompositeTransform([euler, shift])
    again = transform_from_matrix(matrix_from_transform(chain))
    for point in ((0.0, 0.0, 0.0), (10.0, -7.0, 3.0)):
        np.testing.assert_allclose(again.TransformPoint(point), chain.TransformPoint(point))
