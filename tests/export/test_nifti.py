# SPDX-License-Identifier: Apache-2.0
"""NIfTI files."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from monai_microchange._frames import affine_from_image, array_from_image
from monai_microchange.export import write_nifti


def make_affine(spacing=(0.7, 1.1, 4.0), angle=0.4):
    """Oblique, first axis to the left."""
    c, s = np.cos(angle), np.sin(angle)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[-c, s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag(spacing)
    affine[:3, 3] = (30, -50, 12)
    return affine


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32"])
@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii"])
def test_nibabel_and_itk_read_back_the_same(tmp_path, dtype, name):
    array = np.random.default_rng(0).integers(0, 90, (4, 5, 6)).astype(dtype)
    write_nifti(tmp_path / name, array, make_affine())
    image = nib.load(tmp_path / name)
    assert image.get_data_dtype() == dtype
    np.testing.assert_array_equal(np.asarray(image.dataobj), array)
    np.testing.assert_allclose(image.affine, make_affine(), atol=1e-5)
    np.testing.assert_allclose(image.get_qform(), make_affine(), atol=1e-5)
    assert image.header.get_xyzt_units()[0] == "mm"
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (1, 1)

    foreign = sitk.ReadImage(str(tmp_path / name))
    np.testing.assert_array_equal(array_from_image(foreign), array)
    np.testing.assert_allclose(affine_from_image(foreign), make_affine(), atol=1e-4)


def test_bytes_repeat_whatever_the_name_and_the_time(tmp_path):
    array = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    write_nifti(tmp_path / "a.nii.gz", array, make_affine())
    write_nifti(tmp_path / "other.nii.gz", array, make_affine())
    data = (tmp_path / "a.nii.gz").read_bytes()
    assert data == (tmp_path / "other.nii.gz").read_bytes()
    assert data[4:8] == bytes(4)  # time of modification in the gzip header


def test_mid_space_is_called_aligned_and_a_sheared_grid_has_no_qform(tmp_path):
    write_nifti(tmp_path / "a.nii.gz", np.zeros((2, 2, 2), np.uint8), np.eye(4), frame="aligned")
    header = nib.load(tmp_path / "a.nii.gz").header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (2, 2)
    sheared = make_affine()
    sheared[0, 1] += 0.3
    write_nifti(tmp_path / "b.nii.gz", np.zeros((2, 2, 2), np.uint8), sheared)
    image = nib.load(tmp_path / "b.nii.gz")
    assert int(image.header["qform_code"]) == 0
    np.testing.assert_allclose(image.affine, sheared, atol=1e-5)


def test_refuses(tmp_path):
    path, array = tmp_path / "a.nii.gz", np.zeros((2, 2, 2), np.uint8)
    with pytest.raises(TypeError, match="got float64"):
        write_nifti(path, array.astype(float), np.eye(4))
    with pytest.raises(ValueError, match="take one channel"):
        write_nifti(path, array[None], np.eye(4))
    with pytest.raises(ValueError, match="invertible affine"):
        write_nifti(path, array, np.diag([1.0, 1.0, 0.0, 1.0]))
    with pytest.raises(ValueError, match=r"ends in \.nii\.gz or \.nii"):
        write_nifti(tmp_path / "a.img", array, np.eye(4))
    assert not list(tmp_path.iterdir())
