# SPDX-License-Identifier: Apache-2.0
"""A written phantom reads back with other people's readers."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from monai_microchange._frames import affine_from_image, array_from_image
from monai_microchange.data.errors import InputError
from monai_microchange.enums import VISITS
from monai_microchange.simulation import write_phantom


@pytest.fixture(scope="module")
def small_phantom(plain_phantom):
    """A corner of both scans, which is written quickly; the first voxel, and so the affine, is the same."""
    corners = {visit: plain_phantom.scan(visit)[:, :90, :80, :30] for visit in VISITS}
    return replace(plain_phantom, **corners)


@pytest.fixture(scope="module")
def nifti_folder(small_phantom, tmp_path_factory):
    return write_phantom(tmp_path_factory.mktemp("nifti") / "deep" / "pair", small_phantom)


@pytest.fixture(scope="module")
def dicom_folder(small_phantom, tmp_path_factory):
    return write_phantom(tmp_path_factory.mktemp("dicom") / "pair", small_phantom, dicom=True)


def test_nifti_holds_the_voxels_and_the_affine(small_phantom, nifti_folder):
    names = {path.name for path in nifti_folder.iterdir()}
    assert names == {
        *("baseline.nii.gz", "followup.nii.gz", "truth.nii.gz", "truth.json"),
        *("truth_baseline_lesion.nii.gz", "truth_followup_lesion.nii.gz"),
    }
    assert list(nifti_folder.parent.iterdir()) == [nifti_folder]  # no working folder is left
    for name, image in (("followup", small_phantom.followup), ("truth_baseline_lesion", small_phantom.baseline_lesion)):
        read = nib.load(nifti_folder / f"{name}.nii.gz")
        np.testing.assert_array_equal(np.asarray(read.dataobj), image.numpy()[0])
        np.testing.assert_allclose(read.affine, image.affine, atol=1e-4)
        assert read.header.get_xyzt_units()[0] == "mm"
        np.testing.assert_allclose(read.get_qform(), read.get_sform(), atol=1e-4)


@pytest.mark.parametrize("visit", VISITS)
def test_dicom_reads_back_with_gdcm_as_the_nifti_does(nifti_folder, dicom_folder, visit):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(dicom_folder / visit)))
    image = reader.Execute()
    nifti = nib.load(nifti_folder / f"{visit}.nii.gz")
    np.testing.assert_array_equal(array_from_image(image), np.asarray(nifti.dataobj))
    np.testing.assert_allclose(affine_from_image(image), nifti.affine, atol=1e-3)


def test_dicom_attributes_make_sense(dicom_folder):
    series = {
        visit: [pydicom.dcmread(p, stop_before_pixels=True) for p in (dicom_folder / visit).iterdir()]
        for visit in VISITS
    }
    for slices in series.values():
        assert len({s.SOPInstanceUID for s in slices}) == len(slices)
        assert {s.file_meta.MediaStorageSOPClassUID.name for s in slices} == {"MR Image Storage"}
        for keyword in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "StudyDate"):
            assert len({s[keyword].value for s in slices}) == 1
        assert str(slices[0].PatientName) == "Phantom^Seed3"
    first, second = (series[visit][0] for visit in VISITS)
    assert first.PatientID == second.PatientID
    assert first.StudyInstanceUID != second.StudyInstanceUID
    days = np.datetime64(_iso(second.StudyDate)) - np.datetime64(_iso(first.StudyDate))
    assert days == np.timedelta64(180, "D")


def _iso(date):
    return f"{date[:4]}-{date[4:6]}-{date[6:]}"


def test_equal_phantoms_give_equal_bytes(small_phantom, nifti_folder, dicom_folder, tmp_path):
    again = write_phantom(tmp_path / "a", small_phantom)
    assert (again / "baseline.nii.gz").read_bytes() == (nifti_folder / "baseline.nii.gz").read_bytes()
    again = write_phantom(tmp_path / "b", small_phantom, dicom=True)
    name = "followup/IM0005.dcm"
    assert (again / name).read_bytes() == (dicom_folder / name).read_bytes()


def test_truth_table_is_complete(small_phantom, nifti_folder):
    truth = json.loads((nifti_folder / "truth.json").read_text())
    assert truth["seed"] == 3
    assert truth["labels"] == {"1": "NEW", "2": "ENLARGING", "3": "SHRINKING", "4": "RESOLVED"}
    assert truth["lesions"] == small_phantom.table()
    to_baseline, to_followup, between = (
        np.array(truth["transforms"][name])
        for name in ("anatomy_to_baseline", "anatomy_to_followup", "baseline_to_followup")
    )
    np.testing.assert_allclose(between @ to_baseline, to_followup, atol=1e-9)


def test_an_existing_folder_is_kept_unless_told_otherwise(small_phantom, tmp_path):
    folder = tmp_path / "pair"
    folder.mkdir()
    with pytest.raises(InputError, match="exists already"):
        write_phantom(folder, small_phantom)
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="holds no phantom"):
        write_phantom(folder, small_phantom, overwrite=True)
    assert (folder / "thesis.txt").exists()
    (folder / "thesis.txt").rename(folder / "truth.json")
    write_phantom(folder, small_phantom, overwrite=True)
    assert json.loads((folder / "truth.json").read_text())["seed"] == 3
    assert list(tmp_path.iterdir()) == [folder]


def test_a_failure_leaves_nothing_behind(small_phantom, tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("monai_microchange.simulation.phantom_files._truth_table", fail)
    with pytest.raises(OSError, match="disk full"):
        write_phantom(tmp_path / "pair", small_phantom)
    assert list(tmp_path.iterdir()) == []
