# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor

from monai_microchange._frames import image_from_array
from monai_microchange.data import InputError
from monai_microchange.enums import Anatomy
from monai_microchange.transforms import AssessRegiond, ReadUserMasksd, foreground


def volume(value=1.0, shape=(1, 8, 8, 8)):
    return MetaTensor(torch.full(shape, value), affine=torch.eye(4, dtype=torch.float64))


def data(**more):
    seen = volume().to(torch.uint8)
    seen[..., :2] = 0
    return {"baseline": volume(), "followup": volume(), "field_of_view": seen, **more}


def test_brain_is_cut_to_what_both_scans_cover():
    out = AssessRegiond()(data(brain=volume().to(torch.uint8)))
    assert out["region"].startswith("brain")
    assert int(out["brain"][..., :2].sum()) == 0
    assert bool((out["assessed"] == out["brain"]).all())
    assert "field_of_view" not in out


def test_csf_around_the_brain_is_not_assessed():
    anatomy = volume(float(Anatomy.WHITE_MATTER)).to(torch.uint8)
    anatomy[..., 7] = Anatomy.OUTER_CSF
    out = AssessRegiond()(data(brain=volume().to(torch.uint8), anatomy=anatomy))
    assert int(out["assessed"][..., 7].sum()) == 0
    assert int(out["assessed"].sum()) == int(out["brain"].sum()) - 64
    # assessed are 2 to 6 along the last axis: what is more than 2 mm inside is one slab of 4 x 4 voxels, at 4
    assert int(out["seed_region"].sum()) == int(out["seed_region"][0, 2:6, 2:6, 4].sum()) == 4 * 4
    assert int(out["brain"][..., 7].sum()) == 64


def test_mask_of_the_user_comes_first():
    mine = volume(0.0)
    mine[0, 4, 4, 4] = 1
    out = AssessRegiond()(data(brain=volume().to(torch.uint8), brain_mask=mine))
    assert int(out["assessed"].sum()) == 1
    assert out["region"] == "mask given by the user"


def test_without_a_brain_all_that_is_not_air_counts():
    scans = {visit: volume(0.0, (1, 12, 12, 12)) for visit in ("baseline", "followup")}
    for scan in scans.values():
        scan[0, 3:9, 3:9, 3:9] = 100.0
    seen = volume(1.0, (1, 12, 12, 12)).to(torch.uint8)
    out = AssessRegiond()({**scans, "field_of_view": seen})
    assert int(out["assessed"].sum()) == 6**3
    assert out["region"] == "all that is not air"


def test_nothing_in_common_is_refused():
    nowhere = volume(0.0).to(torch.uint8)
    with pytest.raises(ValueError, match="in common"):
        AssessRegiond()({**data(brain=volume().to(torch.uint8)), "field_of_view": nowhere})


def test_foreground_does_not_depend_on_the_order_of_the_scans():
    scans = [torch.rand(1, 10, 10, 10) + 3 * (torch.arange(10) > 4) for _ in range(2)]
    assert torch.equal(foreground(scans), foreground(scans[::-1]))


def write_mask(path, array):
    sitk.WriteImage(image_from_array(array.astype(np.uint8), np.eye(4)), str(path))
    return path


def test_masks_are_read_onto_the_grid_of_their_visit(tmp_path):
    array = np.zeros((8, 8, 8))
    array[2:4, 2:4, 2:4] = 1
    path = write_mask(tmp_path / "mask.nii.gz", array)
    out = ReadUserMasksd()({**data(), "followup_lesion": path, "brain_mask": None})
    np.testing.assert_array_equal(np.asarray(out["followup_lesion"])[0], array)
    assert "brain_mask" not in out


def test_missing_mask_is_refused(tmp_path):
    with pytest.raises(InputError, match="brain mask"):
        ReadUserMasksd()({**data(), "brain_mask": tmp_path / "none.nii.gz"})
