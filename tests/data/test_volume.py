# SPDX-License-Identifier: Apache-2.0
"""Reading single files: geometry against ITK, and each refusal."""

import gzip
import re

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch

from monai_microchange._frames import affine_from_image, array_from_image, image_from_array
from monai_microchange.data import InputError, read_volume


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"])
def test_agrees_with_itk(tmp_path, scan, affine, suffix):
    path = tmp_path / f"scan{suffix}"
    sitk.WriteImage(image_from_array(scan, affine), str(path))
    image = read_volume(path)
    foreign = sitk.ReadImage(str(path))
    assert image.shape == (1, *scan.shape)
    assert image.dtype == torch.float32
    assert image.affine.dtype == torch.float64
    np.testing.assert_array_equal(image[0].numpy(), array_from_image(foreign))
    np.testing.assert_allclose(image.affine, affine_from_image(foreign), atol=1e-4)
    np.testing.assert_allclose(image.affine, affine, atol=1e-4)


def test_scaled_and_flipped_nifti(tmp_path, scan, save_nifti):
    affine = np.diag([-2.0, 3.0, 4.0, 1.0])
    path = save_nifti(tmp_path / "a.nii", scan, affine, {"scl_slope": 0.5, "scl_inter": 10.0})
    image = read_volume(path)
    np.testing.assert_allclose(image[0], scan * 0.5 + 10)
    np.testing.assert_allclose(image.affine, affine)


def test_trailing_axes_of_length_one_are_dropped(tmp_path, scan, save_nifti):
    path = save_nifti(tmp_path / "a.nii.gz", scan[..., None])
    assert read_volume(path).shape == (1, *scan.shape)
    sitk.WriteImage(sitk.JoinSeries([image_from_array(scan, np.eye(4))]), str(tmp_path / "a.nrrd"))
    assert read_volume(tmp_path / "a.nrrd").shape == (1, *scan.shape)


def test_sform_goes_before_qform(tmp_path, scan):
    image = nib.Nifti1Image(scan, np.diag([2.0, 2.0, 2.0, 1.0]))
    image.set_qform(np.diag([-2.0, 2.0, 2.0, 1.0]), code=1)
    image.set_sform(np.diag([2.0, 2.0, 2.0, 1.0]), code=2)
    nib.save(image, tmp_path / "a.nii")
    assert read_volume(tmp_path / "a.nii").affine[0, 0] == 2


def test_unstated_orientation_is_told(tmp_path, scan, save_nifti):
    path = save_nifti(tmp_path / "a.nii", scan, header={"sform_code": 0, "qform_code": 0})
    assert not read_volume(path).meta["orientation_stated"]
    assert read_volume(save_nifti(tmp_path / "b.nii", scan)).meta["orientation_stated"]


def _with_value(value):
    array = np.random.default_rng(0).normal(size=(4, 4, 4)).astype(np.float32)
    array[1, 2, 3] = value
    return array


PLAIN = np.arange(64, dtype=np.float32).reshape(4, 4, 4)


@pytest.mark.parametrize(
    ("array", "header", "match"),
    [
        (PLAIN[..., 0], {}, "expected a 3D image, got a 2D"),
        (PLAIN[..., :1], {}, "expected a 3D image, got a 2D"),
        (np.stack([PLAIN, PLAIN], axis=-1), {}, "expected a 3D image, got 4D"),
        (_with_value(np.nan), {}, "1 that are NaN or infinite"),
        (_with_value(np.inf), {}, "1 that are NaN or infinite"),
        (np.full((4, 4, 4), 7.0, dtype=np.float32), {}, r"one constant value \(7\)"),
        (PLAIN.astype(np.complex64), {}, "expected one number a voxel"),
        (PLAIN, {"pixdim": [1, 0, 1, 1, 0, 0, 0, 0]}, "expected positive voxel spacing"),
        (PLAIN, {"pixdim": [1, 1, -2, 1, 0, 0, 0, 0]}, "expected positive voxel spacing"),
        (PLAIN, {"pixdim": [1, 1, np.nan, 1, 0, 0, 0, 0]}, "expected positive voxel spacing"),
        (PLAIN, {"srow_x": [0, 0, 0, 5]}, "invertible affine"),
        (PLAIN, {"srow_x": [4, 4, 0, 0], "srow_y": [4, 4, 0, 0]}, "invertible affine"),
        (PLAIN, {"srow_x": [4, np.nan, 0, 0]}, "invertible affine"),
        (PLAIN, {"srow_x": [4, 0.4, 0, 0]}, "sheared affine"),
    ],
)
def test_refuses_nifti(tmp_path, save_nifti, capfd, array, header, match):
    path = save_nifti(tmp_path / "a.nii", array, header=header)
    with pytest.raises(InputError, match=match) as caught:
        read_volume(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def _nrrd_bytes(tmp_path, array=PLAIN):
    sitk.WriteImage(image_from_array(array, np.diag([-1.0, -2.0, 3.0, 1.0])), str(tmp_path / "good.nrrd"))
    return (tmp_path / "good.nrrd").read_bytes()


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (b"(1,0,0)", b"(0,0,0)", "expected positive voxel spacing"),
        (b"(0,2,0)", b"(1,0,0)", "invertible affine"),
        (b"(0,2,0)", b"(1,2,0)", "sheared affine"),
        (b"NRRD", b"JUNK", "cannot be read"),
    ],
)
def test_refuses_nrrd(tmp_path, capfd, old, new, match):
    content = _nrrd_bytes(tmp_path)
    assert old in content
    (tmp_path / "bad.nrrd").write_bytes(content.replace(old, new))
    with pytest.raises(InputError, match=match):
        read_volume(tmp_path / "bad.nrrd")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("spacing", ["0 2 3", "-1 2 3"])
def test_refuses_metaimage_spacing(tmp_path, spacing):
    sitk.WriteImage(image_from_array(PLAIN, np.diag([-1.0, -2.0, 3.0, 1.0])), str(tmp_path / "a.mha"))
    content = (tmp_path / "a.mha").read_bytes()
    (tmp_path / "a.mha").write_bytes(re.sub(rb"ElementSpacing = .*", f"ElementSpacing = {spacing}".encode(), content))
    with pytest.raises(InputError, match="expected positive voxel spacing"):
        read_volume(tmp_path / "a.mha")


def test_refuses_vector_and_4d_in_itk_formats(tmp_path):
    vector = sitk.GetImageFromArray(np.zeros((4, 4, 4, 3), dtype=np.float32), isVector=True)
    sitk.WriteImage(vector, str(tmp_path / "vector.nrrd"))
    series = sitk.JoinSeries([image_from_array(PLAIN, np.eye(4))] * 2)
    sitk.WriteImage(series, str(tmp_path / "series.nrrd"))
    with pytest.raises(InputError, match="got 3 components"):
        read_volume(tmp_path / "vector.nrrd")
    with pytest.raises(InputError, match="got 4D"):
        read_volume(tmp_path / "series.nrrd")


def test_refuses_truncated(tmp_path, save_nifti, scan):
    plain = save_nifti(tmp_path / "a.nii", scan)
    packed = gzip.compress(plain.read_bytes())
    (tmp_path / "b.nii.gz").write_bytes(packed[: len(packed) // 2])
    plain.write_bytes(plain.read_bytes()[:-50])
    (tmp_path / "c.nrrd").write_bytes(_nrrd_bytes(tmp_path)[:-50])
    for name in ("a.nii", "b.nii.gz", "c.nrrd"):
        with pytest.raises(InputError, match=f"{name}: damaged or truncated"):
            read_volume(tmp_path / name)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.mhd", "a.nhdr"])
def test_refuses_junk(tmp_path, name):
    (tmp_path / name).write_bytes(b"this is not an image" * 40)
    with pytest.raises(InputError, match="cannot be read"):
        read_volume(tmp_path / name)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match="cannot be read"):
        read_volume(tmp_path / name)


def test_refuses_missing_and_unknown(tmp_path):
    with pytest.raises(InputError, match="but there is none"):
        read_volume(tmp_path / "a.nii.gz")
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(InputError, match="expected a file that ends in"):
        read_volume(tmp_path / "a.png")


def test_allow_constant(tmp_path, save_nifti):
    path = save_nifti(tmp_path / "a.nii", np.ones((4, 4, 4), dtype=np.uint8))
    assert read_volume(path, allow_constant=True).sum() == 64


def test_itk_warnings_are_restored(tmp_path):
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    _nrrd_bytes(tmp_path)
    read_volume(tmp_path / "good.nrrd")
    assert sitk.ProcessObject.GetGlobalWarningDisplay() == before
