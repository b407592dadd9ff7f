# SPDX-License-Identifier: Apache-2.0
"""One visit: hashes, dates, protocol, several modalities."""

import datetime
import hashlib
import pickle

import numpy as np
import pytest
import SimpleITK as sitk

from monai_microchange._frames import image_from_array
from monai_microchange.data import InputError, read_visit


def test_nifti_visit(tmp_path, save_nifti, scan):
    path = save_nifti(tmp_path / "a.nii.gz", scan)
    visit = read_visit(str(path))
    assert list(visit.images) == ["FLAIR"]
    assert visit.source == path
    assert visit.sha256 == hashlib.sha256(path.read_bytes()).hexdigest() == visit.modality_sha256["FLAIR"]
    assert (visit.patient_id, visit.date, visit.protocol, visit.warnings) == (None, None, {}, ())
    assert visit.shape == scan.shape
    np.testing.assert_array_equal(visit.affine, np.diag([4.0, 4.0, 4.0, 1.0]))


def test_modality_name_of_a_bare_path(tmp_path, save_nifti, scan):
    assert list(read_visit(save_nifti(tmp_path / "a.nii", scan), modality="T2").images) == ["T2"]


def test_modalities_keep_their_grids(tmp_path, save_nifti, scan):
    paths = {"FLAIR": save_nifti(tmp_path / "f.nii", scan), "T1": save_nifti(tmp_path / "t.nii", scan[:9], np.eye(4))}
    visit = read_visit(paths)
    assert list(visit.images) == ["FLAIR", "T1"]
    assert visit.shape == scan.shape
    assert visit.images["T1"].shape == (1, 9, *scan.shape[1:])
    assert len(set(visit.modality_sha256.values())) == 2


def test_dicom_visit(tmp_path, write_dicom_series, scan, affine):
    write_dicom_series(tmp_path, scan, affine, patient_id="SECRET")
    visit = read_visit(tmp_path)
    assert visit.patient_id == "SECRET"
    assert "SECRET" not in repr(visit)
    assert visit.date == datetime.date(2024, 1, 31)
    assert visit.protocol == {
        "modality": "MR",
        "echo_time_ms": 95.0,
        "repetition_time_ms": 9000.0,
        "field_strength_t": 3.0,
        "slice_thickness_mm": 6.0,
        "manufacturer_model": "Testscanner",
    }


@pytest.mark.parametrize(("agent", "given"), [("Gadovist", True), ("NO", False), ("", False), (None, False)])
def test_kind_of_acquisition_and_contrast_agent(tmp_path, write_dicom_series, scan, affine, agent, given):
    def change(k, data):
        data.MRAcquisitionType, data.FlipAngle = "2D", 150
        if agent is not None:
            data.ContrastBolusAgent = agent

    write_dicom_series(tmp_path, scan, affine, change=change)
    protocol = read_visit(tmp_path).protocol
    assert (protocol["acquisition_type"], protocol["flip_angle_deg"]) == ("2D", 150.0)
    # that one was given, never its name: it is free text
    assert protocol.get("contrast_agent") == ("given" if given else None)


def test_dicom_hash_ignores_file_names(tmp_path, write_dicom_series, scan, affine):
    paths = write_dicom_series(tmp_path / "a", scan, affine)
    (tmp_path / "b").mkdir()
    for index, path in enumerate(paths):
        (tmp_path / "b" / f"{index}").write_bytes(path.read_bytes())
    write_dicom_series(tmp_path / "c", scan + 1, affine)
    a, b, c = (read_visit(tmp_path / name).sha256 for name in "abc")
    assert a == b != c


@pytest.mark.parametrize(
    ("key", "text", "day"),
    [
        ("AcquisitionDate", "20231201", datetime.date(2023, 12, 1)),
        ("AcquisitionDateTime", "20231202101500.00", datetime.date(2023, 12, 2)),
        ("SeriesDate", "2023.12.03", datetime.date(2023, 12, 3)),
        ("SeriesDate", "00000000", datetime.date(2024, 1, 31)),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value:UserWarning")
def test_dates(tmp_path, write_dicom_series, scan, affine, key, text, day):
    write_dicom_series(tmp_path, scan, affine, change=lambda k, data: setattr(data, key, text))
    assert read_visit(tmp_path).date == day


def test_no_patient_and_no_date(tmp_path, write_dicom_series, scan, affine):
    write_dicom_series(tmp_path, scan, affine, patient_id="", date="")
    visit = read_visit(tmp_path)
    assert (visit.patient_id, visit.date) == (None, None)


def test_series_for_each_modality(tmp_path, write_dicom_series, scan, affine):
    write_dicom_series(tmp_path, scan, affine, number=3, description="FLAIR")
    for path in sorted(tmp_path.iterdir()):
        path.rename(path.with_suffix(".first"))
    write_dicom_series(tmp_path, scan * 2, affine, number=4, description="T1")
    visit = read_visit({"FLAIR": tmp_path, "T1": tmp_path}, series={"FLAIR": 3, "T1": "T1"})
    np.testing.assert_array_equal(visit.images["T1"], visit.images["FLAIR"] * 2)
    assert read_visit(tmp_path, series="flair").sha256 == visit.sha256


def test_pickles(tmp_path, save_nifti, scan):
    visit = read_visit(save_nifti(tmp_path / "a.nii", scan))
    again = pickle.loads(pickle.dumps(visit))
    np.testing.assert_array_equal(again.reference, visit.reference)
    np.testing.assert_array_equal(again.affine, visit.affine)


def test_detached_header_hash_includes_the_voxels(tmp_path, scan):
    for name, array in (("a", scan), ("b", scan + 1)):
        (tmp_path / name).mkdir()
        sitk.WriteImage(image_from_array(array, np.eye(4)), str(tmp_path / name / "scan.mhd"))
    assert read_visit(tmp_path / "a" / "scan.mhd").sha256 != read_visit(tmp_path / "b" / "scan.mhd").sha256


def test_unstated_orientation_warns(tmp_path, save_nifti, scan):
    path = save_nifti(tmp_path / "a.nii", scan, header={"sform_code": 0, "qform_code": 0})
    (warning,) = read_visit(path, name="followup").warnings
    assert warning.startswith("followup FLAIR: the file does not state its orientation")


def test_patients_of_one_visit(tmp_path, write_dicom_series, scan, affine):
    for name, patient_id in (("f", "ANNA"), ("t", "BERTA")):
        write_dicom_series(tmp_path / name, scan, affine, patient_id=patient_id)
    paths = {"FLAIR": tmp_path / "f", "T1": tmp_path / "t"}
    with pytest.raises(InputError, match=r"different patients.*--force") as caught:
        read_visit(paths)
    (warning,) = read_visit(paths, force=True).warnings
    for text in (str(caught.value), warning):
        assert "ANNA" not in text
        assert "BERTA" not in text


def test_refuses(tmp_path, write_dicom_series, scan, affine):
    single = write_dicom_series(tmp_path / "d", scan, affine)[0]
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "empty").mkdir()
    for source, match in (
        (tmp_path / "none", "followup: .*there is none"),
        (tmp_path / "a.txt", "followup: .*got something else"),
        (tmp_path / "empty", "followup: .*found no DICOM image"),
        (single, "followup: .*single 2D slice"),
        ({}, "followup: expected at least one image"),
    ):
        with pytest.raises(InputError, match=match):
            read_visit(source, name="followup")
    with pytest.raises(TypeError, match="got int"):
        read_visit(3)
