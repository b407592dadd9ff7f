# SPDX-License-Identifier: Apache-2.0
"""The check of a datalist: each kind of fault is found, alone and among others, and good data has none."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from monai_microchange.data.datalist import LabelledPair
from monai_microchange.data.datalist_check import check_datalist
from monai_microchange.data.faults import FaultKind
from monai_microchange.export import write_nifti

AFFINE = np.diag([4.0, 4.0, 5.0, 1.0])
SHAPE = (12, 11, 10)


def shifted(x_mm, affine=AFFINE):
    moved = affine.copy()
    moved[0, 3] += x_mm
    return moved


def write(path, seed=0, *, shape=SHAPE, affine=AFFINE):
    write_nifti(path, np.random.default_rng(seed).integers(0, 900, shape).astype(np.int16), affine)
    return str(path)


def write_mask(path, value=1, *, voxels=((4, 5, 5), (5, 5, 5)), affine=AFFINE):
    mask = np.zeros(SHAPE, np.uint8)
    for voxel in voxels:
        mask[voxel] = value
    write_nifti(path, mask, affine)
    return str(path)


@pytest.fixture
def case(tmp_path):
    """A pair in which nothing is wrong."""
    return LabelledPair(
        "one",
        write(tmp_path / "a.nii.gz", 1),
        write(tmp_path / "b.nii", 2),
        write_mask(tmp_path / "label.nii.gz"),
        brain_mask=write_mask(tmp_path / "brain.nii.gz"),
        followup_lesion=write_mask(tmp_path / "lesion.nii.gz", 0),
        ignore=write_mask(tmp_path / "ignore.nii.gz", voxels=[(0, 0, 0)]),
        patient="p",
        fold=0,
        interval_days=100,
    )


def faults_of(*cases, **options):
    return [(fault.kind, fault.is_error) for fault in check_datalist(cases, **options)]


def test_nothing_is_wrong_with_a_good_pair(case):
    told = []
    assert check_datalist([case, replace(case, name="two")], progress=told.append) == []
    assert told == [0.5, 1.0]
    assert check_datalist([]) == []


def a_header(case, save_nifti, **header):
    save_nifti(case.followup, np.random.default_rng(3).integers(0, 900, SHAPE).astype(np.int16), AFFINE, header)


def plant_missing(case, save_nifti):
    return replace(case, baseline="missing.nii.gz")


def plant_2d(case, save_nifti):
    save_nifti(case.followup, np.arange(120, dtype=np.int16).reshape(12, 10), AFFINE)


def plant_nan(case, save_nifti):
    voxels = np.random.default_rng(3).random(SHAPE, dtype=np.float32)
    voxels[3, 3, 3] = np.nan
    save_nifti(case.followup, voxels, AFFINE)


def plant_zero_spacing(case, save_nifti):
    a_header(case, save_nifti, pixdim=[1, 0, 4, 5, 0, 0, 0, 0])


def plant_two_spacings(case, save_nifti):
    a_header(case, save_nifti, pixdim=[1, 4, 4, 8, 0, 0, 0, 0])


def plant_thick_slices(case, save_nifti):
    write(case.followup, 3, affine=np.diag([4.0, 4.0, 30.0, 1.0]))


def plant_metres(case, save_nifti):
    a_header(case, save_nifti, xyzt_units=1)


def plant_conflict(case, save_nifti):
    a_header(case, save_nifti, qform_code=2, qoffset_x=20.0)


def plant_two_frames(case, save_nifti):
    """The codes say scanner and aligned: two spaces that may rightly differ."""
    a_header(case, save_nifti, qform_code=1, sform_code=2, qoffset_x=20.0)


def plant_no_orientation(case, save_nifti):
    a_header(case, save_nifti, qform_code=0, sform_code=0)


def plant_same_scan(case, save_nifti):
    """Other bytes, the same voxels."""
    write_nifti(case.followup, np.random.default_rng(1).integers(0, 900, SHAPE).astype(np.float32), AFFINE)


def plant_same_path(case, save_nifti):
    return replace(case, followup=case.baseline)


def plant_contrast(case, save_nifti):
    for path, seconds in ((case.baseline, 2.2), (case.followup, 0.4)):
        sidecar = Path(path.removesuffix(".gz")).with_suffix(".json")
        sidecar.write_text(json.dumps({"InversionTime": seconds}))


def plant_slab(case, save_nifti):
    write(case.followup, 3, shape=(60, 60, 60))


def plant_order(case, save_nifti):
    return replace(case, interval_days=-3)


def plant_same_day(case, save_nifti):
    return replace(case, interval_days=0)


def plant_label_file(case, save_nifti):
    Path(case.label).write_bytes(b"no image")


def plant_label_value(case, save_nifti):
    write_mask(case.label, 7)


def plant_label_values(case, save_nifti):
    write_nifti(case.label, np.maximum(np.arange(1320, dtype=np.int16) - 1317, 0).reshape(SHAPE), AFFINE)
    return replace(case, signed=False)


def plant_empty_label(case, save_nifti):
    write_mask(case.label, 0)


def plant_full_label(case, save_nifti):
    write_nifti(case.label, np.ones(SHAPE, np.uint8), AFFINE)


def plant_label_elsewhere(case, save_nifti):
    write_mask(case.label, affine=shifted(900))
    return replace(case, ignore=None)


def plant_change_outside(case, save_nifti):
    """The grids overlap in four voxels along the first axis, where no change is."""
    write_mask(case.label, voxels=[(8, 5, 5)], affine=shifted(32))
    return replace(case, ignore=None)


def plant_change_half_outside(case, save_nifti):
    write_mask(case.label, voxels=[(0, 5, 5), (8, 5, 5)], affine=shifted(32))
    return replace(case, ignore=None)


def plant_label_of_followup(case, save_nifti):
    write(case.followup, 3, affine=shifted(3))
    write_mask(case.label, affine=shifted(3))
    return replace(case, ignore=None)


def plant_brain_elsewhere(case, save_nifti):
    write_mask(case.brain_mask, affine=shifted(900))


def plant_empty_brain(case, save_nifti):
    write_mask(case.brain_mask, 0)


def plant_ignore_elsewhere(case, save_nifti):
    write_mask(case.ignore, affine=shifted(900))


ERRORS = {
    plant_missing: FaultKind.MISSING_FILE,
    plant_2d: FaultKind.UNUSABLE_SCAN,
    plant_nan: FaultKind.UNUSABLE_SCAN,
    plant_zero_spacing: FaultKind.UNUSABLE_SCAN,
    plant_two_spacings: FaultKind.SPACING,
    plant_thick_slices: FaultKind.SPACING,
    plant_metres: FaultKind.SPACING,
    plant_conflict: FaultKind.HEADER_CONFLICT,
    plant_same_scan: FaultKind.SAME_SCAN,
    plant_same_path: FaultKind.SAME_SCAN,
    plant_slab: FaultKind.EXTENT,
    plant_order: FaultKind.DATE_ORDER,
    plant_label_file: FaultKind.UNUSABLE_LABEL,
    plant_label_value: FaultKind.LABEL_VALUES,
    plant_label_elsewhere: FaultKind.LABEL_OUTSIDE,
    plant_change_outside: FaultKind.LABEL_OUTSIDE,
    plant_brain_elsewhere: FaultKind.UNUSABLE_MASK,
    plant_empty_brain: FaultKind.UNUSABLE_MASK,
    plant_ignore_elsewhere: FaultKind.UNUSABLE_MASK,
}
WARNINGS = {
    plant_two_frames: FaultKind.HEADER_CONFLICT,
    plant_no_orientation: FaultKind.HEADER_CONFLICT,
    plant_contrast: FaultKind.OTHER_CONTRAST,
    plant_same_day: FaultKind.DATE_ORDER,
    plant_label_values: FaultKind.LABEL_VALUES,
    plant_empty_label: FaultKind.LABEL_EMPTY,
    plant_full_label: FaultKind.LABEL_VALUES,
    plant_change_half_outside: FaultKind.LABEL_OUTSIDE,
    plant_label_of_followup: FaultKind.LABEL_FRAME,
}


@pytest.mark.parametrize("plant", [*ERRORS, *WARNINGS], ids=lambda plant: plant.__name__)
def test_each_fault_is_found_and_nothing_else(case, save_nifti, plant):
    planted = plant(case, save_nifti) or case
    expected = (ERRORS.get(plant) or WARNINGS[plant], plant in ERRORS)
    assert faults_of(planted) == [expected]


def test_a_tiny_scan_is_unlike_the_other_one_too(case, save_nifti):
    """Voxels ten times as small: a field of view below 30 mm, and a thousandth of the baseline's."""
    write(case.followup, 3, affine=np.diag([0.4, 0.4, 0.5, 1.0]))
    assert faults_of(case) == [(FaultKind.EXTENT, True), (FaultKind.EXTENT, True)]


def test_faults_of_one_pair_do_not_hide_each_other(case, save_nifti):
    for plant in (plant_conflict, plant_label_value, plant_brain_elsewhere):
        plant(case, save_nifti)
    found = check_datalist([replace(case, baseline="missing.nii.gz")])
    # without a baseline nothing can be said of the brain mask
    assert [fault.kind for fault in found] == [
        FaultKind.MISSING_FILE,
        FaultKind.HEADER_CONFLICT,
        FaultKind.LABEL_VALUES,
    ]
    assert all(fault.cases == ("one",) for fault in found)
    assert all("\n" not in str(fault) for fault in found)


def test_a_link_to_nowhere_is_called_one(case, tmp_path):
    (tmp_path / "link.nii.gz").symlink_to(tmp_path / "annex" / "object")
    (fault,) = check_datalist([replace(case, followup=str(tmp_path / "link.nii.gz"))])
    assert "got a link to a file that is not here; fetch it." in str(fault)


def test_visits_on_two_grids_are_a_fault_only_when_told(case, save_nifti):
    write(case.followup, 3, affine=shifted(1))
    assert faults_of(case) == []
    assert faults_of(case, same_grid=True) == [(FaultKind.OTHER_GRID, True)]


def test_one_scan_of_two_patients(case, tmp_path):
    twin = replace(case, name="two", patient="q", baseline=write(tmp_path / "c.nii.gz", 9), followup=case.followup)
    (fault,) = check_datalist([case, twin])
    assert (fault.kind, fault.cases) == (FaultKind.SAME_SCAN, ("one", "two"))
    copy = write(tmp_path / "d.nii.gz", 2)
    (fault,) = check_datalist([case, replace(twin, followup=copy)])
    assert (fault.kind, fault.cases, fault.path) == (FaultKind.SAME_SCAN, ("one", "two"), copy)


def test_a_shared_visit_is_reported_once_for_both_pairs(case, save_nifti):
    plant_nan(case, save_nifti)
    later = replace(case, name="two", baseline=case.followup, followup=case.baseline, brain_mask=None)
    faults = check_datalist([case, later])
    assert [(fault.kind, fault.cases) for fault in faults] == [(FaultKind.UNUSABLE_SCAN, ("one", "two"))]


def test_a_patient_in_two_folds(case):
    (fault,) = check_datalist([case, replace(case, name="two", fold=1)])
    assert (fault.kind, fault.cases) == (FaultKind.FOLD_LEAK, ("one", "two"))


def test_dicom_tells_patients_and_dates_apart_without_naming_them(tmp_path, write_dicom_series):
    def series(name, patient, date, seed):
        voxels = np.random.default_rng(seed).integers(0, 900, SHAPE).astype(np.int16)
        write_dicom_series(tmp_path / name, voxels, AFFINE, patient_id=patient, date=date)
        return str(tmp_path / name)

    one = LabelledPair("one", series("a", "DOE", "20240201", 1), series("b", "ROE", "20240101", 2), patient="p")
    two = LabelledPair("two", series("c", "ROE", "20240101", 3), series("d", "ROE", "20240301", 4), patient="q")
    faults = check_datalist([one, two])
    assert [(fault.kind, fault.cases) for fault in faults] == [
        (FaultKind.OTHER_PATIENT, ("one",)),
        (FaultKind.DATE_ORDER, ("one",)),
        (FaultKind.OTHER_PATIENT, ("one", "two")),
    ]
    assert not any(name in str(fault) for fault in faults for name in ("DOE", "ROE", "Doe"))
