# SPDX-License-Identifier: Apache-2.0
"""An alignment that went wrong is refused, not handed on."""

import nibabel as nib
import numpy as np
import pytest

from monai_microchange._frames import apply_affine
from monai_microchange.data import InputError, ReadPaird
from monai_microchange.networks.anatomy import load_anatomy_network
from monai_microchange.transforms import AlignMidSpaced, SegmentAnatomyd

pytestmark = pytest.mark.slow


def align(baseline, followup, **options):
    data = ReadPaird()({"baseline": baseline, "followup": followup})
    data = SegmentAnatomyd(["baseline", "followup"], load_anatomy_network())(data)
    return AlignMidSpaced(**options)(data)


@pytest.mark.parametrize("keep", [slice(None, 18), slice(16, None)], ids=["lower part", "upper part"])
def test_part_of_a_head_is_aligned_rightly_or_refused(sample, tmp_path, keep):
    scan = nib.load(sample / "baseline.nii.gz")
    part = scan.slicer[:, :, keep]
    nib.save(part, tmp_path / "part.nii.gz")
    whole = align(sample / "baseline.nii.gz", sample / "followup.nii.gz")["registration"].baseline_to_followup
    try:
        found = align(tmp_path / "part.nii.gz", sample / "followup.nii.gz")["registration"].baseline_to_followup
    except InputError:
        return
    points = apply_affine(part.affine, np.argwhere(np.ones(part.shape))[::997])
    apart = np.linalg.norm(apply_affine(found, points) - apply_affine(whole, points), axis=1)
    assert apart.mean() < 1.0
