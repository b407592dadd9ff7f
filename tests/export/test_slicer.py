# SPDX-License-Identifier: Apache-2.0
"""Slicer segmentations."""

import itertools

import nibabel as nib
import numpy as np
import pytest
import slicerio

from monai_microchange.enums import ChangeType
from monai_microchange.export import COLOURS, write_nifti, write_seg_nrrd

AFFINE = np.array([[-0.9, 0.2, 0, 40], [0.2, 0.9, 0, -60], [0, 0, 2.5, 7], [0, 0, 0, 1.0]])


def make_change():
    return np.random.default_rng(0).integers(0, 5, (6, 7, 8)).astype(np.uint8)


def test_voxels_names_colours_and_codes_read_back(tmp_path):
    change = make_change()
    write_seg_nrrd(tmp_path / "a.seg.nrrd", change, AFFINE)
    read = slicerio.read_segmentation(str(tmp_path / "a.seg.nrrd"))
    assert read["voxels"].dtype == np.uint8
    np.testing.assert_array_equal(read["voxels"], change)
    assert [segment["name"] for segment in read["segments"]] == ["New", "Enlarging", "Shrinking", "Resolved"]
    assert [segment["labelValue"] for segment in read["segments"]] == [1, 2, 3, 4]
    for kind, segment in zip(ChangeType, read["segments"], strict=True):
        np.testing.assert_allclose(np.array(segment["color"]) * 255, COLOURS[kind], atol=1e-6)
        assert segment["terminology"]["type"] == ["SCT", "52988006", "Lesion"]
        assert segment["terminology"]["anatomicRegion"] == ["SCT", "12738006", "Brain"]
    modifiers = [segment["terminology"]["typeModifier"][2] for segment in read["segments"]]
    assert modifiers == ["New", "Increasing", "Decreasing", "Resolved"]


def test_lies_in_the_world_where_the_nifti_of_the_same_map_does(tmp_path):
    change = make_change()
    write_seg_nrrd(tmp_path / "a.seg.nrrd", change, AFFINE)
    write_nifti(tmp_path / "a.nii.gz", change, AFFINE)
    lps = slicerio.read_segmentation(str(tmp_path / "a.seg.nrrd"))["ijkToLPS"]
    corners = np.array([[*index, 1] for index in itertools.product((0, 5), (0, 6), (0, 7))])
    from_seg = (corners @ np.asarray(lps).T)[:, :3] * [-1, -1, 1]
    from_nifti = (corners @ nib.load(tmp_path / "a.nii.gz").affine.T)[:, :3]
    np.testing.assert_allclose(from_seg, from_nifti, atol=1e-4)


def test_empty_segments_are_kept(tmp_path):
    change = np.zeros((3, 4, 5), np.uint8)
    change[1, 1, 1] = ChangeType.RESOLVED
    write_seg_nrrd(tmp_path / "a.seg.nrrd", change, AFFINE)
    read = slicerio.read_segmentation(str(tmp_path / "a.seg.nrrd"))
    assert len(read["segments"]) == 4
    np.testing.assert_array_equal(read["voxels"], change)


def test_bytes_repeat(tmp_path):
    for name in ("a", "b"):
        write_seg_nrrd(tmp_path / f"{name}.seg.nrrd", make_change(), AFFINE)
    assert (tmp_path / "a.seg.nrrd").read_bytes() == (tmp_path / "b.seg.nrrd").read_bytes()


def test_colours_are_distinct_and_gain_is_warm():
    assert len(set(COLOURS.values())) == len(ChangeType) == len(COLOURS)
    for kind, (red, _, blue) in COLOURS.items():
        assert (red > blue) == kind.is_gain


def test_refuses(tmp_path):
    with pytest.raises(ValueError, match="values 0 to 4"):
        write_seg_nrrd(tmp_path / "a.seg.nrrd", np.full((2, 2, 2), 5), AFFINE)
    with pytest.raises(ValueError, match="3D change map"):
        write_seg_nrrd(tmp_path / "a.seg.nrrd", np.zeros((2, 2)), AFFINE)
    with pytest.raises(ValueError, match=r"\.seg\.nrrd"):
        write_seg_nrrd(tmp_path / "a.nrrd", np.zeros((2, 2, 2)), AFFINE)
