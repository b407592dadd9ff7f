# SPDX-License-Identifier: Apache-2.0
"""Masks brought onto the grid of a scan."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_microchange.data import InputError, read_mask_like


@pytest.fixture
def image(affine) -> MetaTensor:
    return MetaTensor(torch.zeros(1, 12, 10, 8), affine=torch.as_tensor(affine))


@pytest.fixture
def box() -> np.ndarray:
    mask = np.zeros((12, 10, 8), dtype=np.uint8)
    mask[3:9, 2:7, 1:5] = 1
    return mask


def test_same_grid(tmp_path, save_nifti, image, box, affine):
    mask = read_mask_like(save_nifti(tmp_path / "m.nii.gz", box * 3, affine), image)
    assert mask.dtype == torch.uint8
    np.testing.assert_array_equal(mask[0], box)
    np.testing.assert_array_equal(mask.affine, image.affine)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_flipped_grid_is_the_same_mask(tmp_path, save_nifti, image, box, affine, axis):
    flip = np.eye(4)
    flip[axis, axis], flip[axis, 3] = -1, box.shape[axis] - 1
    mask = read_mask_like(save_nifti(tmp_path / "m.nii.gz", np.flip(box, axis), affine @ flip), image)
    np.testing.assert_array_equal(mask[0], box)


def test_finer_grid_against_a_loop(tmp_path, save_nifti, image, box, affine):
    fine = np.kron(box, np.ones((3, 3, 3), dtype=np.uint8))  # thirds: the centre of each voxel stays a centre
    to_coarse = np.diag([1 / 3, 1 / 3, 1 / 3, 1.0])
    to_coarse[:3, 3] = -1 / 3
    mask = read_mask_like(save_nifti(tmp_path / "m.nii.gz", fine, affine @ to_coarse), image)
    np.testing.assert_array_equal(mask[0], box)


def test_probabilities_are_cut_at_one_half(tmp_path, save_nifti, image, box, affine):
    mask = read_mask_like(save_nifti(tmp_path / "m.nii.gz", box * np.float32(0.4) + np.float32(0.2), affine), image)
    np.testing.assert_array_equal(mask[0], box)


def test_full_mask_is_allowed(tmp_path, save_nifti, image, box, affine):
    assert read_mask_like(save_nifti(tmp_path / "m.nii.gz", np.ones_like(box), affine), image).all()


def test_refuses(tmp_path, save_nifti, image, box, affine):
    far = affine.copy()
    far[:3, 3] += 1000
    for array, place, match in (
        (np.zeros_like(box), affine, "lesion mask .*got an empty one"),
        (box, far, "lesion mask .*none of it inside"),
        (box[..., 0], affine, "lesion mask .*got a 2D"),
    ):
        with pytest.raises(InputError, match=match):
            read_mask_like(save_nifti(tmp_path / "m.nii.gz", array, place), image, what="lesion mask")
