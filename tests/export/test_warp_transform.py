# SPDX-License-Identifier: Apache-2.0
"""Deformable ITK transform files: what SimpleITK makes of them is what we make of the warp."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor

from monai_microchange._frames import LPS_FROM_RAS, apply_affine, array_from_image, image_from_array
from monai_microchange.export.warp_transform import write_inverse_warp, write_warp
from monai_microchange.transforms import MidSpace
from monai_microchange.transforms.displacement import WarpField
from monai_microchange.transforms.resampling import from_mid_space, into_mid_space

NODES = np.diag([-3.0, -3.0, 3.0, 1.0])
NODES[:3, 3] = 30, 30, -30
AFFINE = np.diag([-1.5, -1.5, 1.5, 1.0])
AFFINE[:3, 3] = 23, 24, -22


def warp(sign):
    """Up to 2 mm, in all directions, and 0 at the border."""
    points = apply_affine(NODES, np.moveaxis(np.indices((21, 21, 21)), 0, -1))
    fade = np.clip(1 - (np.linalg.norm(points, axis=-1) / 29) ** 2, 0, None) ** 2
    return WarpField((sign * fade * np.array([1.0, -2.0, 0.7])[:, None, None, None]).astype(np.float32), NODES)


@pytest.fixture(scope="module")
def space():
    c, s = np.cos(0.1), np.sin(0.1)
    half = np.array([[c, -s, 0, 1.5], [s, c, 0, -2.0], [0, 0, 1.01, 0.5], [0, 0, 0, 1]])
    return MidSpace(AFFINE, (32, 33, 31), np.linalg.inv(half), half, warp(1.0), warp(-1.0))


def scan():
    affine = np.array([[0, 0, 2.0, -25], [-1.4, 0, 0, 24], [0, 1.6, 0, -26], [0, 0, 0, 1.0]])
    values = torch.rand(1, 36, 34, 27, generator=torch.Generator().manual_seed(0))
    return MetaTensor(values, affine=torch.from_numpy(affine))


def as_image(tensor):
    return image_from_array(tensor.numpy()[0].astype(np.float64), tensor.affine.numpy())


@pytest.mark.parametrize("visit", ["baseline", "followup"])
def test_simpleitk_resamples_the_scan_into_mid_space_as_we_do(space, visit, tmp_path):
    write_warp(tmp_path / "warp.h5", space.mid_to(visit), space.warp(visit))
    native = scan()
    ours = into_mid_space(native, space, visit, padding_mode="zeros").numpy()[0]
    grid = image_from_array(np.zeros(space.shape), space.affine)
    foreign = sitk.Resample(as_image(native), grid, sitk.ReadTransform(str(tmp_path / "warp.h5")), sitk.sitkLinear, 0.0)
    # at the very edge of the scan each library fades or cuts in its own way
    seen = into_mid_space(MetaTensor(torch.ones_like(native), affine=native.affine), space, visit, padding_mode="zeros")
    inside = seen.numpy()[0] > 1 - 1e-6
    assert inside.mean() > 0.5
    np.testing.assert_allclose(ours[inside], array_from_image(foreign)[inside], atol=1e-5)


def test_inverse_brings_an_image_of_mid_space_onto_the_scan_as_we_do(space, tmp_path):
    write_inverse_warp(tmp_path / "inverse.h5", space.mid_to("followup"), space.inverse_warp("followup"))
    image = MetaTensor(torch.rand(1, *space.shape), affine=torch.from_numpy(space.affine))
    native = scan()
    grid = native.affine.numpy(), tuple(native.shape[1:])
    ours = from_mid_space(image, grid, space.mid_to("followup"), space.inverse_warp("followup")).numpy()[0]
    transform = sitk.ReadTransform(str(tmp_path / "inverse.h5"))
    foreign = array_from_image(sitk.Resample(as_image(image), as_image(native), transform, sitk.sitkLinear, 0.0))
    inside = np.zeros(grid[1], dtype=bool)
    inside[6:-6, 6:-6, 6:-6] = True
    inside &= foreign > 0
    assert inside.sum() > 1000
    np.testing.assert_allclose(ours[inside], foreign[inside], atol=1e-5)


def test_inverse_file_leads_back(space, tmp_path):
    write_warp(tmp_path / "warp.h5", space.mid_to("baseline"), space.warp("baseline"))
    write_inverse_warp(tmp_path / "inverse.h5", space.mid_to("baseline"), space.inverse_warp("baseline"))
    forth, back = (sitk.ReadTransform(str(tmp_path / name)) for name in ("warp.h5", "inverse.h5"))
    point = (4.0, -6.0, 3.0)
    # the two fields are each other's inverse only nearly, in this test
    np.testing.assert_allclose(back.TransformPoint(forth.TransformPoint(point)), point, atol=0.5)
    ras = space.to_visit("baseline", np.array([-4.0, 6.0, 3.0]))
    np.testing.assert_allclose(LPS_FROM_RAS[:3, :3] @ forth.TransformPoint(point), ras, atol=1e-5)


def test_other_ending_is_refused(space, tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.h5"):
        write_warp(tmp_path / "warp.tfm", np.eye(4), warp(1.0))
