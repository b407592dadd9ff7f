# SPDX-License-Identifier: Apache-2.0
"""Nothing changed: nothing may be found, whatever else differs."""

import numpy as np
import pytest
import SimpleITK as sitk

from monai_microchange.pipeline import compare
from monai_microchange.simulation import make_phantom, write_phantom

pytestmark = pytest.mark.slow


def moved_and_noisy(path, to, *, degrees=1.0, shift_mm=0.4, noise=0.02, seed=0):
    """The scan turned and shifted, resampled onto its old grid, with fresh noise of a share of white matter's
    brightness."""
    scan = sitk.ReadImage(str(path), sitk.sitkFloat32)
    turn = sitk.Euler3DTransform()
    turn.SetCenter(scan.TransformContinuousIndexToPhysicalPoint([n / 2 for n in scan.GetSize()]))
    turn.SetRotation(0.0, 0.0, np.deg2rad(degrees))
    turn.SetTranslation([shift_mm, 0.0, 0.0])
    moved = sitk.Resample(scan, scan, turn, sitk.sitkBSpline, 0.0)
    values = sitk.GetArrayFromImage(moved)
    values += noise * np.median(values[values > values.mean()]) * np.random.default_rng(seed).normal(size=values.shape)
    noisy = sitk.GetImageFromArray(np.abs(values))
    noisy.CopyInformation(moved)
    sitk.WriteImage(noisy, str(to))
    return to


def test_a_scan_against_itself(real_data):
    scan = str(real_data / "ljubljana_longitudinal" / "patient01" / "study1_FLAIR.nii.gz")
    result = compare(scan, scan, allow_identical=True)
    assert not result.change.any()
    assert float(result.gain_probability.max()) < 0.5


def test_a_scan_against_itself_moved_with_fresh_noise(real_data, tmp_path):
    scan = real_data / "ljubljana_longitudinal" / "patient01" / "study1_FLAIR.nii.gz"
    result = compare(str(scan), str(moved_and_noisy(scan, tmp_path / "moved.nii.gz")))
    assert result.counts["new"] + result.counts["enlarging"] == 0
    assert not result.change.any()


def test_nifti_against_dicom_of_the_same_scan(tmp_path):
    phantom = make_phantom(200)
    nifti = write_phantom(tmp_path / "nifti", phantom)
    dicom = write_phantom(tmp_path / "dicom", phantom, dicom=True)
    result = compare(str(nifti / "baseline.nii.gz"), str(dicom / "baseline"))
    assert not result.change.any()
