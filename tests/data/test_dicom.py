# SPDX-License-Identifier: Apache-2.0
"""Reading DICOM series: geometry whatever the file names, real vendors against their truth, and each refusal."""

import datetime
import shutil

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from monai_microchange.data import InputError, list_series, read_series

TRUTHS = [
    "ge/001",
    "ge/001_implicit",
    "generic/001",
    "generic/001_implicit",
    "generic/002_non_isotropic",
    "hitachi/001",
    "hitachi/001_implicit",
    "hyperfine/001",
    "philips/001",
    "philips/001_implicit",
    "philips_enhanced/001",
    "philips_enhanced/001_implicit",
    "siemens/001",
    "siemens/001_implicit",
    "siemens_multiframe/001",
]


def assert_same_volume(image, array, affine, atol=1e-4):
    """Same voxels at the same places, whatever the order of the axes."""
    got = nib.as_closest_canonical(nib.Nifti1Image(image[0].numpy(), image.affine.numpy()))
    want = nib.as_closest_canonical(nib.Nifti1Image(np.asarray(array, dtype=np.float32), affine))
    np.testing.assert_allclose(got.affine, want.affine, atol=atol)
    np.testing.assert_allclose(got.get_fdata(), want.get_fdata(), rtol=1e-6)


@pytest.mark.real
@pytest.mark.parametrize("case", TRUTHS)
def test_real_vendors(real_data, case):
    folder = real_data / "dicom_stubs"
    truth = nib.squeeze_image(nib.load(folder / f"{case}_ground_truth.nii.gz"))
    assert_same_volume(read_series(folder / case), truth.get_fdata(), truth.affine)


@pytest.mark.real
def test_real_files_with_shuffled_names(real_data, tmp_path):
    source = real_data / "dicom_stubs" / "hitachi" / "001"
    for name, path in zip("dacb", sorted(source.iterdir()), strict=True):
        shutil.copy(path, tmp_path / name)
    plain, shuffled = read_series(source), read_series(tmp_path)
    np.testing.assert_array_equal(shuffled, plain)
    np.testing.assert_array_equal(shuffled.affine, plain.affine)


@pytest.mark.real
@pytest.mark.parametrize(
    ("case", "match"),
    [
        ("ge/001_single_slice", "single 2D slice"),
        ("philips/002", r"duplicate slices at 4 of them.*SW_M_FFE.*SW_P_FFE"),
    ],
)
def test_real_refusals(real_data, case, match):
    with pytest.raises(InputError, match=match):
        read_series(real_data / "dicom_stubs" / case)


@pytest.mark.real
def test_real_lone_multiframe_file(real_data):
    (file,) = (real_data / "no_change_dicom" / "recon_a").iterdir()
    image = read_series(file)
    assert image.shape == (1, 128, 128, 96)
    np.testing.assert_array_equal(image, read_series(file.parent))
    with pytest.raises(InputError, match=r'found 2.*series 5 "anat-T1w_acq-tfl".*series 6'):
        read_series(file.parent.parent)


def test_shuffled_names(tmp_path, write_dicom_series, scan, affine):
    write_dicom_series(tmp_path / "a", scan, affine, slope=2.0, intercept=-5.0)
    write_dicom_series(tmp_path / "b" / "deeper", scan, affine, slope=2.0, intercept=-5.0, seed=9)
    (tmp_path / "a" / "notes.txt").write_text("not DICOM")
    (tmp_path / "a" / "empty").write_bytes(b"")
    for folder in ("a", "b"):
        image = read_series(tmp_path / folder)
        np.testing.assert_array_equal(image[0], scan * 2.0 - 5)
        np.testing.assert_allclose(image.affine, affine, atol=1e-5)


@pytest.mark.parametrize("flip", [(-1, 1, 1), (1, -1, 1), (1, 1, -1)])
def test_slices_along_and_against_the_normal(tmp_path, write_dicom_series, scan, affine, flip):
    flipped = affine @ np.diag([*flip, 1.0])
    write_dicom_series(tmp_path, scan, flipped)
    assert_same_volume(read_series(tmp_path), scan, flipped)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_compressed(tmp_path, write_dicom_series, affine, syntax):
    if syntax == JPEG2000Lossless:
        pytest.importorskip("openjpeg", reason="the test writes JPEG 2000 with pylibjpeg-openjpeg")
    if syntax == JPEGLSLossless:
        pytest.importorskip("jpeg_ls", reason="the test writes JPEG-LS with pyjpegls")

    def unsigned(k, data):
        data.PixelRepresentation = 0

    scan = np.random.default_rng(0).integers(0, 4000, (64, 48, 3)).astype(np.int16)  # JPEG 2000 needs 32 or more
    write_dicom_series(tmp_path, scan, affine, transfer_syntax=syntax, change=unsigned)
    np.testing.assert_array_equal(read_series(tmp_path)[0], scan)


def test_rescale_of_each_slice(tmp_path, write_dicom_series, scan, affine):
    def own_slope(k, data):
        data.RescaleSlope = 1 + k / 4

    write_dicom_series(tmp_path, scan, affine, change=own_slope)
    np.testing.assert_allclose(read_series(tmp_path)[0], scan * (1 + np.arange(scan.shape[2]) / 4), rtol=1e-6)


@pytest.mark.parametrize("slope", [0.0, 0.25])
def test_multiframe(tmp_path, write_dicom_multiframe, scan, affine, slope):
    slopes = 1 + slope * np.arange(scan.shape[2])
    order = np.random.default_rng(1).permutation(scan.shape[2]).tolist()
    path = write_dicom_multiframe(tmp_path / "a.dcm", scan, affine, slopes=slopes, order=order)
    image = read_series(path)
    np.testing.assert_allclose(image[0], scan * slopes, rtol=1e-6)
    np.testing.assert_allclose(image.affine, affine, atol=1e-5)


@pytest.fixture
def study(tmp_path, write_dicom_series, scan, affine):
    """Two series of one study; the second has twice the values."""
    write_dicom_series(tmp_path / "x", scan, affine, number=3, description="T2 FLAIR sag", uid="1.2.3")
    write_dicom_series(tmp_path / "y", scan * 2, affine, number=12, description="FLAIR tra", uid="1.2.12")
    return tmp_path


def test_list_series(study):
    first, second = list_series(study)
    assert (first.series_uid, first.number, first.description, first.modality) == ("1.2.3", 3, "T2 FLAIR sag", "MR")
    assert (first.n_files, first.n_images, first.date) == (8, 8, datetime.date(2024, 1, 31))
    assert second.number == 12


@pytest.mark.parametrize(("name", "factor"), [("1.2.12", 2), (12, 2), ("3", 1), ("flair TRA", 2), ("t2", 1)])
def test_named_series(study, scan, name, factor):
    np.testing.assert_array_equal(read_series(study, series=name)[0], scan * factor)


@pytest.mark.parametrize("name", [None, "flair", "T1"])
def test_several_series(study, name):
    with pytest.raises(InputError, match=r"--baseline-series.*series 3 .*8 images, 1\.2\.3\); series 12") as caught:
        read_series(study, series=name)
    assert "P1" not in str(caught.value)


def _tilt(k, data):
    x, y, z = data.ImagePositionPatient
    data.ImagePositionPatient = [x, y + 0.5 * k, z]


def _drop_one(k, data):
    return k != 4


def _drop_last_but_one(k, data):
    return k != 6


def _double(k, data, seen={}):  # noqa: B006  (the memory of the slice before is the point)
    seen[k] = data.ImagePositionPatient
    data.ImagePositionPatient = seen[4 if k == 5 else k]


def _smaller(k, data):
    if k == 2:
        data.Rows //= 2
        data.PixelData = data.PixelData[: len(data.PixelData) // 2]


def _turned(k, data):
    if k == 2:
        data.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]


def _finer(k, data):
    if k == 2:
        data.PixelSpacing = [1.0, 1.0]


def _no_spacing(k, data):
    data.PixelSpacing = [0.0, 4.0]


def _bent(k, data):
    data.ImageOrientationPatient = [1, 0, 0, 0.5, 1, 0]


def _cut(k, data):
    if k == 2:
        data.PixelData = data.PixelData[:20]


def _constant(k, data):
    data.PixelData = bytes(len(data.PixelData))


def _no_place(k, data):
    del data.ImagePositionPatient


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (_tilt, "gantry tilt of"),
        (_drop_one, r"got 12\.00 mm between slice positions .* missing"),
        (_drop_last_but_one, r"got 12\.00 mm between slice positions .* missing"),
        (_double, "duplicate slices at 1 of them"),
        (_smaller, r"mixed sizes \[\(5, 12\), \(10, 12\)\]"),
        (_turned, "mixed orientations"),
        (_finer, "mixed pixel spacings"),
        (_no_spacing, "expected positive voxel spacing"),
        (_bent, "right angles"),
        (_cut, "truncated DICOM file"),
        (_constant, "one constant value"),
        (_no_place, "found no DICOM image"),
    ],
)
def test_refuses(tmp_path, write_dicom_series, scan, affine, change, match):
    write_dicom_series(tmp_path, scan, affine, change=change)
    with pytest.raises(InputError, match=match) as caught:
        read_series(tmp_path)
    message = str(caught.value)
    assert change in (_cut, _no_place) or 'series 3 "FLAIR"' in message
    assert "\n" not in message


@pytest.mark.parametrize("length", [140, 200, 500, 900, -1, -200])
def test_refuses_truncated(tmp_path, write_dicom_series, scan, affine, length):
    paths = write_dicom_series(tmp_path, scan, affine)
    paths[0].write_bytes(paths[0].read_bytes()[:length])
    with pytest.raises(InputError, match=r"IM\d+\.dcm: (damaged|truncated) DICOM file"):
        read_series(tmp_path)


def test_refuses_damaged_compressed_pixels(tmp_path, write_dicom_series, scan, affine):
    paths = write_dicom_series(tmp_path, scan, affine, transfer_syntax=RLELossless)
    paths[0].write_bytes(paths[0].read_bytes()[:-150])
    with pytest.raises(InputError, match="damaged DICOM file, its pixels cannot be read"):
        read_series(tmp_path)


def test_reports_and_colour_are_no_series(tmp_path, write_dicom_series, scan, affine):
    path = write_dicom_series(tmp_path, scan, affine)[0]
    for name, key, value in (("sr", "Modality", "SR"), ("rgb", "SamplesPerPixel", 3)):
        data = pydicom.dcmread(path)
        data.SeriesInstanceUID = "1.2.99"
        setattr(data, key, value)
        data.save_as(tmp_path / name)
    assert len(list_series(tmp_path)) == 1


def test_missing_folder(tmp_path):
    with pytest.raises(InputError, match="but there is none"):
        list_series(tmp_path / "nowhere")
