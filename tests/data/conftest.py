# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the input tests: small scans and DICOM series with known geometry."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def oblique_affine(spacing=(4.0, 5.0, 6.0), degrees=20.0) -> np.ndarray:
    """Right-handed affine to RAS mm, turned about two axes."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    affine[:3, 3] = (-31.0, 12.0, 7.5)
    return affine


def random_scan(shape=(12, 10, 8), seed=0) -> np.ndarray:
    """Whole numbers below 4000 in (I, J, K), all voxels different from their neighbours with high probability."""
    return np.random.default_rng(seed).integers(0, 4000, shape).astype(np.int16)


def _common_header(patient_id, date, number, description, series_uid) -> Dataset:
    data = Dataset()
    data.PatientID, data.PatientName = patient_id, "Doe^Jane"
    data.Modality, data.SeriesNumber, data.SeriesDescription = "MR", number, description
    data.SeriesInstanceUID, data.StudyDate = series_uid, date
    data.EchoTime, data.RepetitionTime, data.MagneticFieldStrength = 95.0, 9000.0, 3.0
    data.ManufacturerModelName = "Testscanner"
    return data


def _pixels(data, stored) -> None:
    data.Rows, data.Columns = stored.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.PixelData = np.ascontiguousarray(stored, dtype="<i2").tobytes()


def _save(data, path, sop_class, transfer_syntax) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    file = FileDataset(str(path), data, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    if transfer_syntax != ExplicitVRLittleEndian:
        file.compress(transfer_syntax)
    file.save_as(path, enforce_file_format=True)


def write_series(
    folder,
    array,
    affine,
    *,
    patient_id="P1",
    date="20240131",
    number=3,
    description="FLAIR",
    uid=None,
    slope=1.0,
    intercept=0.0,
    change=None,
    transfer_syntax=ExplicitVRLittleEndian,
    seed=0,
):
    """Write stored values (I, J, K) with their affine to RAS mm as single-frame files with shuffled names.

    `change(k, dataset) -> bool | None` may alter each slice, or drop it by returning False. Returns the paths by slice.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    uid = uid or generate_uid()
    lps = LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    names = np.random.default_rng(seed).permutation(array.shape[2])
    paths = []
    for k in range(array.shape[2]):
        data = _common_header(patient_id, date, number, description, uid)
        data.ImagePositionPatient = [f"{v:.8g}" for v in lps[:3, 2] * k + lps[:3, 3]]
        data.ImageOrientationPatient = [f"{v:.9g}" for v in (lps[:3, :2] / spacing[:2]).T.ravel()]
        data.PixelSpacing = [f"{v:.8g}" for v in (spacing[1], spacing[0])]
        data.SliceThickness, data.RescaleSlope, data.RescaleIntercept = spacing[2], slope, intercept
        _pixels(data, array[:, :, k].T)
        if change is not None and change(k, data) is False:
            continue
        paths.append(folder / f"IM{names[k]:04d}.dcm")
        _save(data, paths[-1], MRImageStorage, transfer_syntax)
    return paths


def write_multiframe(path, array, affine, *, slopes, patient_id="P1", date="20240131", order=None):
    """Write stored values (I, J, K) as one enhanced MR file; `slopes` (K,) per frame; `order`: frames as stored."""
    lps = LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    order = list(range(array.shape[2])) if order is None else order
    data = _common_header(patient_id, date, 7, "FLAIR multiframe", generate_uid())
    shared = Dataset()
    shared.PlaneOrientationSequence = [Dataset()]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = (lps[:3, :2] / spacing[:2]).T.ravel().round(9).tolist()
    shared.PixelMeasuresSequence = [Dataset()]
    shared.PixelMeasuresSequence[0].PixelSpacing = [spacing[1], spacing[0]]
    shared.PixelMeasuresSequence[0].SliceThickness = spacing[2]
    data.SharedFunctionalGroupsSequence, data.PerFrameFunctionalGroupsSequence = [shared], []
    for k in order:
        group = Dataset()
        group.PlanePositionSequence = [Dataset()]
        group.PlanePositionSequence[0].ImagePositionPatient = (lps[:3, 2] * k + lps[:3, 3]).round(8).tolist()
        group.PixelValueTransformationSequence = [Dataset()]
        group.PixelValueTransformationSequence[0].RescaleSlope = slopes[k]
        group.PixelValueTransformationSequence[0].RescaleIntercept = 0.0
        data.PerFrameFunctionalGroupsSequence.append(group)
    data.NumberOfFrames = array.shape[2]
    _pixels(data, array.transpose(2, 1, 0)[order])
    with pydicom.config.disable_value_validation():
        _save(data, path, EnhancedMRImageStorage, ExplicitVRLittleEndian)
    return path


def write_nifti(path, array, affine=None, header=None):
    """Write an array as NIfTI; `header` sets raw header fields after nibabel has filled them. Returns the path."""
    image = nib.Nifti1Image(array, np.diag([4.0, 4.0, 4.0, 1.0]) if affine is None else affine)
    nib.save(image, path)
    if header:
        raw = bytearray(Path(path).read_bytes())
        fields = nib.Nifti1Header(bytes(raw[:348]), check=False)
        for key, value in header.items():
            fields[key] = value
        Path(path).write_bytes(fields.binaryblock + bytes(raw[348:]))
    return Path(path)


@pytest.fixture
def scan() -> np.ndarray:
    return random_scan()


@pytest.fixture
def affine() -> np.ndarray:
    return oblique_affine()


@pytest.fixture
def write_dicom_series():
    return write_series


@pytest.fixture
def write_dicom_multiframe():
    return write_multiframe


@pytest.fixture
def save_nifti():
    return write_nifti
