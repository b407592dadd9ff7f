# SPDX-License-Identifier: Apache-2.0
"""Writes one scan of a phantom as a DICOM series of single-frame MR images."""

import hashlib
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage, generate_uid
from pydicom.valuerep import DSfloat

from monai_microchange._frames import LPS_FROM_RAS, spacing_from_affine
from monai_microchange.simulation.acquisition import Protocol

__all__ = ["write_series"]

_BASELINE_DATE = date(2024, 1, 15)
_INTERVAL_DAYS = 180


def write_series(folder: Path, scan: MetaTensor, *, visit: str, seed: int, protocol: Protocol) -> None:
    """Write the slices of a scan along its third axis, one file each, into a new folder.

    Rows of the image are the second array axis and columns the first; the affine becomes LPS. Everything, UIDs too, is
    derived from seed, visit and voxels, so that the same phantom gives the same files.

    Args:
        folder: To be made.
        scan: (1, I, J, K), whole numbers from 0 to 32767, with an affine (4, 4) to RAS mm without shear, whose third
            axis is the normal of the first two, as `Protocol` makes it.
        visit: "baseline" or "followup".
        seed: Of the phantom; names the patient.
        protocol: How the visit was scanned.
    """
    folder.mkdir(parents=True)
    voxels = scan.numpy()[0].astype(np.int16)
    affine = LPS_FROM_RAS @ np.asarray(scan.affine, dtype=float)
    entropy = [str(seed), visit, hashlib.sha256(np.ascontiguousarray(voxels).tobytes()).hexdigest()]
    for k in range(voxels.shape[2]):
        dataset = _common(visit, seed, protocol, entropy)
        dataset.SOPInstanceUID = generate_uid(entropy_srcs=[*entropy, "slice", str(k)])
        dataset.InstanceNumber = k + 1
        _put_geometry(dataset, affine, k)
        _put_pixels(dataset, voxels[:, :, k].T)
        dataset.file_meta = _file_meta(dataset.SOPInstanceUID)
        dataset.save_as(folder / f"IM{k + 1:04d}.dcm", enforce_file_format=True)


def _common(visit: str, seed: int, protocol: Protocol, entropy: list[str]) -> Dataset:
    """What all slices share: patient, study, series, equipment and sequence."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "IR"]
    dataset.SOPClassUID = MRImageStorage
    day = _BASELINE_DATE + timedelta(days=_INTERVAL_DAYS if visit == "followup" else 0)
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = day.strftime("%Y%m%d")
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = "120000"
    dataset.AccessionNumber = ""
    dataset.Modality = "MR"
    dataset.Manufacturer = "monai_microchange"
    dataset.ManufacturerModelName = "make_phantom"
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = f"Phantom {visit}"
    dataset.SeriesDescription = f"FLAIR {protocol.plane}"
    dataset.PatientName = f"Phantom^Seed{seed}"
    dataset.PatientID = f"PHANTOM-{seed}"
    dataset.PatientBirthDate = ""
    dataset.PatientSex = ""
    dataset.ScanningSequence = ["SE", "IR"]
    dataset.SequenceVariant = "SK"
    dataset.ScanOptions = ""
    dataset.MRAcquisitionType = "2D"
    dataset.RepetitionTime, dataset.EchoTime, dataset.InversionTime, dataset.EchoTrainLength = 9000, 120, 2500, 16
    dataset.MagneticFieldStrength = 3
    dataset.ProtocolName = f"FLAIR {protocol.plane}"
    dataset.PatientPosition = "HFS"
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=[*entropy, "study"])
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[*entropy, "series"])
    dataset.FrameOfReferenceUID = generate_uid(entropy_srcs=[*entropy, "frame"])
    dataset.PositionReferenceIndicator = ""
    dataset.StudyID = "1"
    dataset.SeriesNumber = 1
    return dataset


def _put_geometry(dataset: Dataset, affine_lps: NDArray[np.float64], k: int) -> None:
    """Place slice k. DICOM names the direction of growing column index first, and the distance of rows first."""
    spacing = spacing_from_affine(affine_lps)
    directions = affine_lps[:3, :3] / spacing
    position = affine_lps[:3, 3] + affine_lps[:3, 2] * k
    dataset.ImagePositionPatient = _decimals(position)
    dataset.ImageOrientationPatient = _decimals(directions[:, :2].T.ravel())
    dataset.PixelSpacing = _decimals(spacing[[1, 0]])
    dataset.SliceThickness = dataset.SpacingBetweenSlices = _decimals(spacing[2:])[0]
    dataset.SliceLocation = _decimals(directions[:, 2:].T @ position)[0]


def _decimals(values: NDArray[np.float64]) -> list[DSfloat]:
    """Values as decimal strings of at most 16 characters; what is below a nanometre is zero."""
    return [DSfloat(value, auto_format=True) for value in np.round(values, 9) + 0.0]


def _put_pixels(dataset: Dataset, pixels: NDArray[np.int16]) -> None:
    """Store (rows, columns)."""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 1
    dataset.WindowCenter, dataset.WindowWidth = 150, 300
    dataset.PixelData = np.ascontiguousarray(pixels, dtype="<i2").tobytes()


def _file_meta(instance_uid: UID) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = instance_uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return meta
