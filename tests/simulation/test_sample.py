# SPDX-License-Identifier: Apache-2.0
"""The stored sample is what its recipe makes."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from monai_microchange.enums import VISITS

SAMPLE = Path(__file__).parents[2] / "data_samples" / "ms_flair_pair"


@pytest.mark.parametrize("visit", VISITS)
def test_scan_is_that_of_the_recipe(phantom, visit):
    """Rounding may turn out otherwise on another processor: by one grey value, in a few voxels."""
    stored = nib.load(SAMPLE / f"{visit}.nii.gz")
    made = phantom.scan(visit)
    np.testing.assert_allclose(stored.affine, made.affine, atol=1e-3)
    difference = np.abs(np.asarray(stored.dataobj, dtype=np.int32) - made.numpy()[0])
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


def test_truth_is_that_of_the_recipe(phantom):
    np.testing.assert_array_equal(np.asarray(nib.load(SAMPLE / "truth.nii.gz").dataobj), phantom.truth.numpy()[0])
    assert json.loads((SAMPLE / "truth.json").read_text())["lesions"] == phantom.table()


def test_the_two_scans_stay_small():
    assert sum((SAMPLE / f"{visit}.nii.gz").stat().st_size for visit in VISITS) < 4_000_000


def test_readme_shows_the_planted_lesions(phantom):
    readme = (SAMPLE.parent / "README.md").read_text()
    for row in phantom.table():
        volumes = f"{row['baseline_mm3']} | {row['followup_mm3']} | {row['change_mm3']}"
        assert f"| {row['id']} | {row['type']} | {row['location']} | {volumes} |" in readme
