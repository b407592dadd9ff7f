# SPDX-License-Identifier: Apache-2.0
"""ITK transform files."""

import numpy as np
import pytest
import SimpleITK as sitk

from monai_microchange._frames import apply_affine, image_from_array, matrix_from_transform
from monai_microchange.export import write_transform


def make_matrix():
    c, s = np.cos(0.3), np.sin(0.3)
    return np.array([[c, -s, 0, 4.0], [s, c, 0, -7.5], [0, 0.05, 1.02, 2.25], [0, 0, 0, 1]])


def test_reads_back_as_the_same_affine(tmp_path):
    write_transform(tmp_path / "a.tfm", make_matrix())
    transform = sitk.ReadTransform(str(tmp_path / "a.tfm"))
    assert transform.GetName() == "AffineTransform"
    np.testing.assert_allclose(matrix_from_transform(transform), make_matrix(), atol=1e-12)


def test_maps_points_of_mid_space_to_the_scan_in_lps(tmp_path):
    write_transform(tmp_path / "a.tfm", make_matrix())
    transform = sitk.ReadTransform(str(tmp_path / "a.tfm"))
    mid_ras = np.array([10.0, 20.0, 30.0])
    scan_lps = transform.TransformPoint((mid_ras * [-1, -1, 1]).tolist())
    np.testing.assert_allclose(np.array(scan_lps) * [-1, -1, 1], apply_affine(make_matrix(), mid_ras), atol=1e-9)


def test_resamples_the_scan_into_mid_space(tmp_path):
    scan = np.zeros((9, 9, 9), np.float32)
    scan[6, 2, 5] = 1
    shift = np.eye(4)
    shift[:3, 3] = (2, -1, 3)  # mid point + shift = scan point
    write_transform(tmp_path / "a.tfm", shift)
    image = image_from_array(scan, np.eye(4))
    moved = sitk.Resample(image, image, sitk.ReadTransform(str(tmp_path / "a.tfm")), sitk.sitkNearestNeighbor)
    assert np.argwhere(sitk.GetArrayFromImage(moved)).tolist() == [[2, 3, 4]]  # (k, j, i)


@pytest.mark.parametrize("matrix", [np.eye(3), np.zeros((4, 4)), np.diag([1.0, 1.0, 0.0, 1.0]), np.ones((4, 4))])
def test_refuses_what_is_no_point_map(tmp_path, matrix):
    with pytest.raises(ValueError, match=r"invertible \(4, 4\)"):
        write_transform(tmp_path / "a.tfm", matrix)


def test_refuses_another_ending(tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.tfm"):
        write_transform(tmp_path / "a.mat", np.eye(4))
