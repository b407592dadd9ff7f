# SPDX-License-Identifier: Apache-2.0
"""Maps of a result at the voxels of a label, by hand."""

import numpy as np
import torch
from monai.data import MetaTensor

from monai_microchange.enums import ChangeType
from monai_microchange.evaluation.label_grid import change_on_label, confidence_on_label, ignored_on_label
from monai_microchange.export import write_nifti

SHIFT = np.array([[1.0, 0.0, 0.0, 2.0], [0.0, 1.0, 0.0, -1.0], [0.0, 0.0, 1.0, 3.0], [0.0, 0.0, 0.0, 1.0]])
LABEL_AFFINE = np.array([[0.0, -1.0, 0.0, 20.0], [2.0, 0.0, 0.0, -4.0], [0.0, 0.0, 1.0, 5.0], [0.0, 0.0, 0.0, 1.0]])


def shifted(x, y, z):
    matrix = np.eye(4)
    matrix[:3, 3] = x, y, z
    return matrix


def test_change_lands_on_the_label_through_both_transforms(a_result):
    """By hand: voxel (3, 5, 2) of the label lies at (15, 2, 7), SHIFT leads to (17, 1, 10) in the baseline, and the
    inverse of `mid_to_baseline` from there to (16, 3, 10) in mid-space."""
    change = np.zeros((20, 20, 20), np.uint8)
    change[16, 3, 10] = ChangeType.ENLARGING
    label = MetaTensor(torch.zeros(1, 8, 10, 6), affine=LABEL_AFFINE)
    result = a_result(change, confidence=[0.7], mid_to_baseline=shifted(1, -2, 0))
    found, confidence = (look(result, label, SHIFT) for look in (change_on_label, confidence_on_label))
    assert np.argwhere(found).tolist() == np.argwhere(confidence).tolist() == [[3, 5, 2]]
    assert (found[3, 5, 2], confidence[3, 5, 2]) == (ChangeType.ENLARGING, 0.7)


def test_nothing_changed_beyond_mid_space(a_result):
    label = MetaTensor(torch.zeros(1, 4, 4, 4), affine=shifted(100, 0, 0))
    result = a_result(np.ones((4, 4, 4), np.uint8))
    assert not change_on_label(result, label, np.eye(4)).any()
    assert not confidence_on_label(result, label, np.eye(4)).any()


def test_without_lesions_there_is_no_confidence(a_result):
    label = MetaTensor(torch.zeros(1, 4, 4, 4), affine=np.eye(4))
    assert not confidence_on_label(a_result(np.zeros((4, 4, 4), np.uint8)), label, np.eye(4)).any()


def test_what_nobody_judged_may_lie_on_another_grid(tmp_path):
    """One voxel of 4 mm about (8, 8, 8) holds the label's voxels 3 to 4 of 2 mm."""
    unjudged = np.zeros((5, 5, 5), np.uint8)
    unjudged[2, 2, 2] = 1
    write_nifti(tmp_path / "ignore.nii.gz", unjudged, np.diag([4.0, 4.0, 4.0, 1.0]))
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = 1.0  # centres at 7 and 9 mm, no ties
    label = MetaTensor(torch.zeros(1, 8, 8, 8), affine=affine)
    ignored = ignored_on_label(tmp_path / "ignore.nii.gz", label)
    assert sorted(set(np.argwhere(ignored).ravel().tolist())) == [3, 4]
    assert ignored.sum() == 8
