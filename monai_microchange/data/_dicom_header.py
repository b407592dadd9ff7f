# SPDX-License-Identifier: Apache-2.0
"""What the reader needs to know of one DICOM file, single- or multi-frame, without its pixels."""

import datetime
import struct
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, EnhancedMRImageStorage, MRImageStorage

from monai_microchange.data.errors import InputError

__all__ = ["FileHeader", "Frame", "read_header"]

_NOT_SCANS = {"SEG", "SR", "PR", "KO", "REG", "RTSTRUCT", "RTDOSE", "RTPLAN"}
_SCAN_CLASSES = {MRImageStorage, EnhancedMRImageStorage, CTImageStorage, EnhancedCTImageStorage}
_DATE_KEYS = ("AcquisitionDate", "AcquisitionDateTime", "SeriesDate", "StudyDate")
_NO_AGENT = {"", "no", "none", "n", "nil", "without"}
_SHARED, _PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
# Where each acquisition number lies: at the top of a classic file, in a functional group of an enhanced one.
_PROTOCOL = {
    "echo_time_ms": ("EchoTime", "MREchoSequence", "EffectiveEchoTime"),
    "repetition_time_ms": ("RepetitionTime", "MRTimingAndRelatedParametersSequence", "RepetitionTime"),
    "inversion_time_ms": ("InversionTime", "MRModifierSequence", "InversionTimes"),
    "slice_thickness_mm": ("SliceThickness", "PixelMeasuresSequence", "SliceThickness"),
    "field_strength_t": ("MagneticFieldStrength", "", ""),
    "flip_angle_deg": ("FlipAngle", "MRTimingAndRelatedParametersSequence", "FlipAngle"),
}
_TAGS = [
    *_DATE_KEYS,
    *(top for top, _, _ in _PROTOCOL.values()),
    *("SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality", "PatientID", "ManufacturerModelName"),
    *("MRAcquisitionType", "ContrastBolusAgent", "ContrastBolusAgentSequence"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "ImageType"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"),
    *(_SHARED, _PER_FRAME),
]


@dataclass(frozen=True)
class Frame:
    """One slice: where its pixels are and where it lies in the patient (LPS mm, as DICOM gives it).

    Args:
        path: the file.
        index: number of the frame in the file, from 0.
        position: centre of the first pixel, LPS mm (3,).
        orientation: direction of growing column index, then of growing row index, LPS (6,).
        spacing: distance in mm between rows, then between columns (2,).
        size: rows, columns.
        rescale: slope and intercept that turn stored values into the image.
        kind: the ImageType values in one string.
    """

    path: Path
    index: int
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    size: tuple[int, int]
    rescale: tuple[float, float]
    kind: str


@dataclass(frozen=True)
class FileHeader:
    """One DICOM image file: its series, its visit and its frames. The patient's id stays out of the `repr`."""

    path: Path
    series_uid: str
    number: int | None
    description: str
    modality: str
    patient_id: str | None = field(repr=False)
    date: datetime.date | None
    protocol: dict[str, float | str]
    frames: tuple[Frame, ...] = field(repr=False)


def read_header(path: Path) -> FileHeader | None:
    """Read the header of one file.

    Returns:
        The header, or None where the file is no DICOM or no scan: reports, segmentations, colour pictures, and images
        without a place in the patient.

    Raises:
        InputError: a DICOM file that is cut off or damaged.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of values that bend the standard, as scanners write them
        try:
            with path.open("rb") as file:
                data = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS)
                n_bytes_left = path.stat().st_size - file.tell()
        except InvalidDicomError:
            return None
        except (OSError, EOFError, ValueError, KeyError, AttributeError, NotImplementedError, struct.error) as error:
            raise InputError(f"{path}: damaged DICOM file, its header cannot be read ({error}).") from error
        try:
            return _parse(path, data, n_bytes_left)
        except InputError:
            raise
        except (ValueError, TypeError, AttributeError, IndexError, OverflowError) as error:
            raise InputError(f"{path}: damaged DICOM file, a header value makes no sense ({error}).") from error


def _parse(path: Path, data: pydicom.Dataset, n_bytes_left: int) -> FileHeader | None:
    sop_class = data.file_meta.get("MediaStorageSOPClassUID")
    if not sop_class or (sop_class in _SCAN_CLASSES and not (data.get("Rows") and data.get("SeriesInstanceUID"))):
        raise InputError(f"{path}: truncated DICOM file, its header is not complete; copy it again.")
    is_scan = str(data.get("Modality", "")) not in _NOT_SCANS and int(data.get("SamplesPerPixel", 1)) == 1
    if not is_scan or not data.get("Rows") or not data.get("Columns") or not data.get("SeriesInstanceUID"):
        return None
    frames = _frames_of(path, data)
    if not frames:
        return None
    _check_length(path, data, n_bytes_left)
    number = data.get("SeriesNumber")
    return FileHeader(
        path=path,
        series_uid=str(data.SeriesInstanceUID),
        number=None if number in (None, "") else int(number),
        description=str(data.get("SeriesDescription") or ""),
        modality=str(data.get("Modality") or ""),
        patient_id=str(data.get("PatientID") or "") or None,
        date=_date_of(data),
        protocol=_protocol_of(data),
        frames=frames,
    )


def _frames_of(path: Path, data: pydicom.Dataset) -> tuple[Frame, ...]:
    """Frames of the file, empty where it does not say where each lies."""
    groups = data.get(_PER_FRAME)
    if not groups:
        frame = _frame_of(path, 0, data, None) if int(data.get("NumberOfFrames") or 1) == 1 else None
        return (frame,) if frame else ()
    frames = [_frame_of(path, index, data, group) for index, group in enumerate(groups)]
    return tuple(frame for frame in frames if frame) if all(frames) else ()


def _frame_of(path: Path, index: int, data: pydicom.Dataset, group: pydicom.Dataset | None) -> Frame | None:
    position = _find(data, group, "PlanePositionSequence", "ImagePositionPatient")
    orientation = _find(data, group, "PlaneOrientationSequence", "ImageOrientationPatient")
    spacing = _find(data, group, "PixelMeasuresSequence", "PixelSpacing")
    if not (position and orientation and spacing):
        return None
    slope = _find(data, group, "PixelValueTransformationSequence", "RescaleSlope")
    intercept = _find(data, group, "PixelValueTransformationSequence", "RescaleIntercept")
    kind = _find(data, group, "MRImageFrameTypeSequence", "FrameType") or data.get("ImageType") or ()
    return Frame(
        path=path,
        index=index,
        position=_numbers(position, 3),
        orientation=_numbers(orientation, 6),
        spacing=_numbers(spacing, 2),
        size=(int(data.Rows), int(data.Columns)),
        rescale=(1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept)),
        kind="\\".join([kind] if isinstance(kind, str) else map(str, kind)),
    )


def _numbers(values: Any, count: int) -> tuple[float, ...]:
    if len(values) != count:
        raise ValueError(f"expected {count} numbers, got {len(values)}")
    return tuple(float(value) for value in values)


def _find(data: pydicom.Dataset, group: pydicom.Dataset | None, sequence: str, keyword: str) -> Any:
    """The value for a frame: from its own functional group, else the shared one, else the top of the file."""
    shared = data.get(_SHARED) or [None]
    for place in (group, shared[0]):
        items = place.get(sequence) if place is not None else None
        if items and items[0].get(keyword) not in (None, ""):
            return items[0].get(keyword)
    value = data.get(keyword)
    return None if value == "" else value


def _date_of(data: pydicom.Dataset) -> datetime.date | None:
    for keyword in _DATE_KEYS:
        text = str(data.get(keyword) or "").replace(".", "")[:8]  # "2020.01.31" of old scanners too
        try:
            return datetime.datetime.strptime(text, "%Y%m%d").date()
        except ValueError:
            continue  # empty, or blanked by anonymisation
    return None


def _protocol_of(data: pydicom.Dataset) -> dict[str, float | str]:
    group = (data.get(_PER_FRAME) or [None])[0]
    protocol: dict[str, float | str] = {}
    for name, (top, sequence, keyword) in _PROTOCOL.items():
        value = _find(data, group, sequence, keyword) if sequence else None
        value = data.get(top) if value in (None, "") else value
        value = value[0] if isinstance(value, list | pydicom.multival.MultiValue) and value else value
        if value not in (None, ""):
            protocol[name] = float(value)
    if data.get("ManufacturerModelName"):
        protocol["manufacturer_model"] = str(data.ManufacturerModelName)
    if data.get("MRAcquisitionType") in ("2D", "3D"):
        protocol["acquisition_type"] = str(data.MRAcquisitionType)
    # which one is free text, so only that one was given; the words that scanners write for none are left out
    agent = str(data.get("ContrastBolusAgent") or "").strip().casefold()
    if data.get("ContrastBolusAgentSequence") or agent not in _NO_AGENT:
        protocol["contrast_agent"] = "given"
    return protocol


def _check_length(path: Path, data: pydicom.Dataset, n_bytes_left: int) -> None:
    """Refuse a file that ends before its pixels do: GDCM would make up what is missing."""
    if data.file_meta.TransferSyntaxUID.is_encapsulated or data.file_meta.TransferSyntaxUID.is_deflated:
        return
    n_frames = int(data.get("NumberOfFrames") or 1)
    needed = int(data.Rows) * int(data.Columns) * int(data.get("BitsAllocated") or 16) // 8 * n_frames
    if n_bytes_left < needed:
        raise InputError(f"{path}: truncated DICOM file, expected {needed} bytes of pixels, got {n_bytes_left}.")
