# SPDX-License-Identifier: Apache-2.0
"""Labels of real pairs in mid-space: codes, place, volume, and lesions of a voxel."""

from types import SimpleNamespace

import cc3d
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.spatial import cKDTree

from monai_microchange._frames import apply_affine
from monai_microchange.data import InputError
from monai_microchange.data.datalist import LabelledPair, training_records
from monai_microchange.data.find_pairs import find_pairs
from monai_microchange.data.volume import read_volume
from monai_microchange.enums import ChangeLabel, ChangeType
from monai_microchange.evaluation import change_on_label
from monai_microchange.export import write_nifti
from monai_microchange.transforms import AlignMidSpaced
from monai_microchange.transforms.change_label import ReadChangeLabeld, carry_codes, label_to_codes
from monai_microchange.transforms.midspace import MidSpace

from .conftest import GRIDS, rigid, scan_head

THICK = np.diag([0.8, 0.8, 3.0, 1.0])


def space_of(shape, affine=None, mid_to_baseline=None):
    place = np.eye(4) if mid_to_baseline is None else mid_to_baseline
    return MidSpace(np.eye(4) if affine is None else affine, shape, place, np.linalg.inv(place))


def centred(affine, shape):
    affine = affine.copy()
    affine[:3, 3] = -affine[:3, :3] @ (np.asarray(shape) - 1) / 2
    return affine


class TestCodes:
    def test_signed(self):
        codes = label_to_codes(torch.tensor([[0, 1, 2, 3, 4]]), signed=True)
        assert codes.tolist() == [[0, 1, 1, 2, 2]]
        assert codes.dtype == torch.uint8

    def test_unsigned(self):
        assert label_to_codes(torch.tensor([0.0, 1.0, 255.0]), signed=False).tolist() == [0, 3, 3]

    def test_what_nobody_judged_wins(self):
        ignore = torch.tensor([0, 1, 0, 1])
        assert label_to_codes(torch.tensor([0, 0, 4, 4]), signed=True, ignore=ignore).tolist() == [0, 4, 2, 4]
        with pytest.raises(ValueError, match=r"expected ignore of the label's shape \(2,\), got \(3,\)"):
            label_to_codes(torch.zeros(2), signed=True, ignore=torch.zeros(3))


class TestCarry:
    def test_the_same_grid_leaves_codes_as_they_are(self):
        codes = np.random.RandomState(0).randint(0, 5, (7, 6, 5)).astype(np.uint8)
        np.testing.assert_array_equal(carry_codes(codes, np.eye(4), np.eye(4), space_of(codes.shape)), codes)

    def test_codes_agree_with_the_share_that_is_counted_point_by_point(self):
        """The reference looks up the label at 6 x 6 x 6 points of each mid-space voxel."""
        shape, grid = (20, 18, 8), (18, 16, 24)
        affine, label_to_mid = centred(THICK, shape), rigid((4.0, -3.0, 7.0), (1.0, 0.5, -1.0))
        space = space_of(grid, centred(np.eye(4), grid))
        codes = np.zeros(shape, np.uint8)
        codes[4:12, 5:10, 2:5], codes[12:15, 5:12, 3:6] = ChangeLabel.GAIN, ChangeLabel.LOSS
        moved = carry_codes(codes, affine, label_to_mid, space)

        steps = (np.indices((6, 6, 6)).reshape(3, -1).T + 0.5) / 6 - 0.5
        points = np.indices(grid).reshape(3, -1).T[:, None] + steps
        index = apply_affine(np.linalg.inv(affine) @ np.linalg.inv(label_to_mid) @ space.affine, points)
        index = np.floor(index + 0.5).astype(int)
        inside = ((index >= 0) & (index < shape)).all(axis=-1)
        seen = np.where(inside, codes[tuple(np.moveaxis(np.where(inside[..., None], index, 0), -1, 0))], 0)
        gain, loss = ((seen == code).mean(axis=1).reshape(grid) for code in (ChangeLabel.GAIN, ChangeLabel.LOSS))
        sure = (abs(gain - 0.5) > 0.1) & (abs(loss - 0.5) > 0.1)
        expected = np.select([gain > 0.5, loss > 0.5], [ChangeLabel.GAIN, ChangeLabel.LOSS], 0)
        expected = np.where(moved == ChangeLabel.UNKNOWN, ChangeLabel.UNKNOWN, expected)
        assert sure.mean() > 0.9
        np.testing.assert_array_equal(moved[sure], expected[sure])

    @pytest.mark.parametrize("offset", [0.0, 0.3, 0.5, 0.77])
    @pytest.mark.parametrize("spacing", [(0.4, 0.4, 3.0), (0.72, 0.72, 3.0), (0.9, 0.9, 0.9)])
    def test_a_lesion_of_one_voxel_survives(self, spacing, offset):
        codes = np.zeros((30, 30, 9), np.uint8)
        codes[8, 9, 3], codes[20, 9, 3] = ChangeLabel.LOSS, ChangeLabel.CHANGED
        place = rigid((0, 0, 0), (offset, offset / 2, 0.1))
        moved = carry_codes(codes, np.diag([*spacing, 1.0]), place, space_of((30, 30, 30)))
        for voxel, code in (((8, 9, 3), ChangeLabel.LOSS), ((20, 9, 3), ChangeLabel.CHANGED)):
            at = apply_affine(place, np.multiply(voxel, spacing))
            found = np.argwhere(moved == code)
            assert len(found) >= 1
            assert (np.abs(found - at) <= np.divide(spacing, 2) + 0.5 + 1e-6).all()

    @pytest.mark.parametrize("seed", range(3))
    def test_volumes_stay_what_they_were(self, seed):
        """Of a hundred boxes on thick slices, in a random pose; what is lost are voxels that two of them claim."""
        random = np.random.RandomState(seed)
        codes = np.zeros((80, 80, 24), np.uint8)
        for corner in random.randint(2, (70, 70, 20), (100, 3)):
            size = random.randint(1, (7, 7, 3))
            codes[tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))] = ChangeLabel.GAIN
        grid = (100, 100, 100)
        space = space_of(grid, centred(np.eye(4), grid))
        moved = carry_codes(
            codes, centred(THICK, codes.shape), rigid(random.uniform(-10, 10, 3), (0.3, 0.1, 0.2)), space
        )
        assert (moved == ChangeLabel.GAIN).sum() == pytest.approx(
            (codes > 0).sum() * np.prod(np.diag(THICK)), rel=0.005
        )

    def test_nobody_judged_what_lies_around_the_label(self):
        """The label covers half of the grid: -0.5 to 3.5 mm. A lesion at its edge stays, for it was seen."""
        codes = np.zeros((4, 2, 2), np.uint8)
        codes[3, 0, 0], codes[0, 1, 1] = ChangeLabel.GAIN, ChangeLabel.UNKNOWN
        moved = carry_codes(codes, np.eye(4), rigid((0, 0, 0), (0.4, 0, 0)), space_of((8, 2, 2)))
        assert moved[:, 0, 0].tolist() == [0, 0, 0, 1, 4, 4, 4, 4]
        assert moved[:, 1, 1].tolist() == [4, 0, 0, 0, 4, 4, 4, 4]


@pytest.fixture(scope="module")
def aligned():
    """The head at two visits, moved between them, in mid-space."""
    scans = [scan_head(GRIDS["isotropic"]), scan_head(GRIDS["oblique"], rigid((3.0, -4.0, 5.0), (2.0, -3.0, 1.5)))]
    return AlignMidSpaced()(dict(zip(("baseline", "followup"), scans, strict=True)))


class TestReadChangeLabeld:
    def record(self, folder, label, **more):
        write_nifti(folder / "label.nii.gz", label, centred(THICK, label.shape))
        entry = {"name": "one", "baseline": "a", "followup": "b", "label": str(folder / "label.nii.gz"), **more}
        return training_records([entry])[0]

    def test_a_label_moved_to_mid_space_and_back_is_the_same(self, aligned, tmp_path):
        """`change_on_label` looks it up again from the label's grid, through the same transforms."""
        label = np.zeros((60, 60, 16), np.uint8)
        label[20:30, 22:30, 5:8], label[35:43, 30:41, 8:11] = ChangeType.NEW, ChangeType.RESOLVED
        label_to_baseline = rigid((6.0, 2.0, -9.0), (1.0, 2.0, -1.0))
        record = self.record(tmp_path, label, label_to_baseline=label_to_baseline.tolist())
        data = ReadChangeLabeld()({**aligned, **record})
        assert data["label"].shape == aligned["baseline"].shape
        assert data["label"].dtype == torch.uint8
        torch.testing.assert_close(data["label"].affine, aligned["baseline"].affine)
        result = SimpleNamespace(change=data["label"], space=aligned["mid_space"])
        grid = MetaTensor(torch.zeros(1, *label.shape), affine=centred(THICK, label.shape))
        back = change_on_label(result, grid, label_to_baseline)
        for kind, code in ((ChangeType.NEW, ChangeLabel.GAIN), (ChangeType.RESOLVED, ChangeLabel.LOSS)):
            both = ((back == code) & (label == kind)).sum()
            assert 2 * both / ((back == code).sum() + (label == kind).sum()) > 0.9

    def test_unsigned_labels_and_what_nobody_judged(self, aligned, tmp_path):
        label = np.zeros((60, 60, 16), np.uint8)
        label[20:30, 22:30, 5:8] = 255
        ignore = np.zeros_like(label)
        ignore[28:30] = 1
        write_nifti(tmp_path / "ignore.nii.gz", ignore, centred(THICK, label.shape))
        record = self.record(tmp_path, label, signed=False, ignore=str(tmp_path / "ignore.nii.gz"))
        codes = ReadChangeLabeld(label_key="truth")({**aligned, **record})["truth"]
        assert set(torch.unique(codes.as_tensor()).tolist()) == {0, 3, 4}
        volume_mm3 = 8 * 8 * 3 * np.prod(np.diag(THICK))  # two of the ten columns were not judged
        assert (codes == ChangeLabel.CHANGED).sum().item() == pytest.approx(volume_mm3, rel=0.1)

    def test_nothing_is_known_where_only_one_scan_reaches(self, aligned, tmp_path):
        label = np.zeros((60, 60, 16), np.uint8)
        record = self.record(tmp_path, label)
        field_of_view = torch.ones_like(aligned["field_of_view"])
        field_of_view[:, :20] = 0
        codes = ReadChangeLabeld()({**aligned, **record, "field_of_view": field_of_view})["label"].as_tensor()
        assert (codes[:, :20] == ChangeLabel.UNKNOWN).all()
        assert (codes[:, 20:] == ChangeLabel.NONE).any()

    def test_a_pair_that_nobody_judged_teaches_nothing(self, aligned):
        codes = ReadChangeLabeld()({**aligned, **LabelledPair("one", "a", "b").record})["label"]
        assert (codes.as_tensor() == ChangeLabel.UNKNOWN).all()

    def test_the_input_is_left_as_it_was(self, aligned, tmp_path):
        data = {**aligned, **self.record(tmp_path, np.zeros((60, 60, 16), np.uint8))}
        before = dict(data)
        ReadChangeLabeld()(data)
        assert "label" not in data
        assert all(data[key] is before[key] for key in before)

    def test_what_cannot_be_used_is_refused(self, aligned, tmp_path):
        record = self.record(tmp_path, np.full((60, 60, 16), 9, np.uint8))
        with pytest.raises(InputError, match="got the value 9"):
            ReadChangeLabeld()({**aligned, **record})
        with pytest.raises(ValueError, match="put AlignMidSpaced before ReadChangeLabeld"):
            ReadChangeLabeld()(record)


@pytest.mark.real
def test_real_lesions_all_reach_mid_space(real_data):
    """With mid-space on the baseline: every lesion is within a voxel of where it was, and the volume is the same."""
    for case in find_pairs(real_data / "ljubljana_longitudinal").cases:
        label = read_volume(case.label)
        baseline = read_volume(case.baseline)
        grid = (200, 240, 180)
        affine = np.eye(4)
        centre = apply_affine(baseline.affine.numpy(), (np.asarray(baseline.shape[1:]) - 1) / 2)
        affine[:3, 3] = centre - np.asarray(grid) / 2
        data = {"mid_space": space_of(grid, affine), **case.record}
        moved = ReadChangeLabeld()(data)["label"].numpy()[0] == ChangeLabel.CHANGED
        place = case.label_to_baseline @ label.affine.numpy()
        found = cKDTree(apply_affine(affine, np.argwhere(moved)))
        lesions, count = cc3d.connected_components(label.numpy()[0] > 0, connectivity=26, return_N=True)
        apart = found.query(apply_affine(place, np.argwhere(lesions)))[0]
        numbers = lesions[lesions > 0]
        assert all(apart[numbers == number].min() < 1.5 for number in range(1, count + 1))
        mm3 = float((label > 0).sum()) * abs(np.linalg.det(place))
        assert moved.sum() == pytest.approx(mm3, rel=0.005)
