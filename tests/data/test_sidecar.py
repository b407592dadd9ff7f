# SPDX-License-Identifier: Apache-2.0
"""The JSON file that BIDS has beside a scan, and that nothing else of it gets in."""

import json

import pytest

from monai_microchange.data import read_visit
from monai_microchange.data.sidecar import read_sidecar

SIDECAR = {
    "EchoTime": 0.395,
    "RepetitionTime": 4.8,
    "InversionTime": 1.65,
    "FlipAngle": 120,
    "MagneticFieldStrength": 3,
    "SliceThickness": 1.1,
    "MRAcquisitionType": "3D",
    "ManufacturersModelName": "Testscanner",
    "ContrastBolusIngredient": "GADOLINIUM",
    "PatientName": "Doe^Jane",
    "PatientID": "SECRET",
    "AcquisitionDateTime": "2024-01-31T10:00:00",
    "SeriesDescription": "FLAIR of Jane Doe",
}


@pytest.mark.parametrize("name", ["sub-1_FLAIR.nii.gz", "sub-1_FLAIR.nii", "sub-1.v2.nrrd"])
def test_numbers_are_in_our_units(tmp_path, name):
    scan = tmp_path / name
    stem = name.removesuffix(".gz").rsplit(".", 1)[0]
    (tmp_path / f"{stem}.json").write_text(json.dumps(SIDECAR))
    facts = read_sidecar(scan)
    assert facts == {
        "echo_time_ms": pytest.approx(395),
        "repetition_time_ms": pytest.approx(4800),
        "inversion_time_ms": pytest.approx(1650),
        "flip_angle_deg": 120,
        "field_strength_t": 3,
        "slice_thickness_mm": 1.1,
        "acquisition_type": "3D",
        "manufacturer_model": "Testscanner",
        "contrast_agent": "given",
    }


def test_a_visit_has_the_numbers_and_nothing_of_the_patient(tmp_path, save_nifti, scan):
    path = save_nifti(tmp_path / "a.nii.gz", scan)
    (tmp_path / "a.json").write_text(json.dumps(SIDECAR))
    visit = read_visit(path)
    assert visit.protocol["echo_time_ms"] == pytest.approx(395)
    assert visit.patient_id is None
    for secret in ("Jane", "SECRET", "2024"):
        assert secret not in str(visit.protocol)


@pytest.mark.parametrize(
    "content",
    [
        "not JSON",
        "[1, 2]",
        json.dumps({"EchoTime": "0.09", "RepetitionTime": None, "InversionTime": True, "FlipAngle": -3}),
        json.dumps({"EchoTime": 10**400, "FlipAngle": 10**400, "SliceThickness": float("inf")}),
        json.dumps({"MRAcquisitionType": "4D", "ManufacturersModelName": 7, "ContrastBolusIngredient": ""}),
        '{"EchoTime": NaN}',
    ],
)
def test_what_is_no_number_is_left_out(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    assert read_sidecar(tmp_path / "a.nii.gz") == {}


@pytest.mark.parametrize("word", ["NONE", "n/a", "none", " No ", "", None, False])
def test_words_for_no_agent(tmp_path, word):
    (tmp_path / "a.json").write_text(json.dumps({"ContrastBolusIngredient": word}))
    assert read_sidecar(tmp_path / "a.nii.gz") == {}


def test_a_byte_order_mark_is_skipped(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"FlipAngle": 90}), encoding="utf-8-sig")
    assert read_sidecar(tmp_path / "a.nii.gz") == {"flip_angle_deg": 90}


def test_no_sidecar(tmp_path):
    assert read_sidecar(tmp_path / "a.nii.gz") == {}
