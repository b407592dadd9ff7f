# SPDX-License-Identifier: Apache-2.0
"""Simulated change agrees with its label, in place and in direction of time."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy import ndimage as ndi

from monai_microchange.enums import Anatomy
from monai_microchange.transforms import RandSimulateChanged, insert_lesion, visible_change

SHAPE = (30, 32, 28)


class BoxBank:
    """A stand-in for the bank of lesions: boxes of 3 to 6 mm."""

    def draw(self, random):
        return np.ones(random.randint(3, 7, 3), bool)


def make_data(anatomy=Anatomy.WHITE_MATTER, grey=300.0):
    """A ball of one tissue in air, with a ventricle in its middle."""
    place = np.indices(SHAPE) - (np.array(SHAPE)[:, None, None, None] - 1) / 2
    radius = np.sqrt((place**2).sum(axis=0))
    labels = np.where(radius < 13, int(anatomy), 0)
    labels[radius < 3] = Anatomy.VENTRICLE
    labels[0, 0, 0] = Anatomy.WHITE_MATTER  # so that there is white matter to scale by
    image = np.where(labels > 0, grey, 0.0).astype(np.float32)
    return {"image": torch.from_numpy(image)[None], "anatomy": torch.from_numpy(labels.astype(np.uint8))[None]}


@pytest.fixture
def noise_free(monkeypatch):
    """An ideal scanner: what is there is what is seen."""
    monkeypatch.setattr(RandSimulateChanged, "_acquire", lambda self, image, extent, already_mm: (image, extent))


def simulate(seed, data=None, **options):
    transform = RandSimulateChanged("image", BoxBank(), **options)
    transform.set_random_state(seed)
    return transform(make_data() if data is None else data)


@pytest.fixture(scope="module")
def pairs():
    """Thirty pairs from an ideal scanner."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RandSimulateChanged, "_acquire", lambda self, image, extent, already_mm: (image, extent))
        return [simulate(seed) for seed in range(30)]


def test_lesion_is_inserted_where_it_is_put():
    field = torch.zeros(6, 6, 6)
    insert_lesion(field, np.ones((2, 3, 1), bool), np.array([1, 2, 4]), 0.7)
    assert field[1:3, 2:5, 4].eq(0.7).all()
    assert field.count_nonzero() == 6


@pytest.mark.parametrize("corner", [(-2, 0, 0), (4, 4, 4), (-1, -1, 4), (0, -2, 5)])
def test_lesion_that_sticks_out_is_cut(corner):
    """Compared with an insertion into a field that is wide enough."""
    shape = np.random.RandomState(0).random_sample((3, 3, 3)) < 0.7
    wide = torch.zeros(12, 12, 12)
    insert_lesion(wide, shape, np.array(corner) + 3, 1.0)
    field = torch.zeros(6, 6, 6)
    insert_lesion(field, shape, np.array(corner), 1.0)
    assert torch.equal(field, wide[3:9, 3:9, 3:9])


@pytest.mark.parametrize("corner", [(-3, 0, 0), (6, 0, 0), (0, 100, 0), (0, 0, -50)])
def test_lesion_that_lies_outside_does_nothing(corner):
    field = torch.zeros(6, 6, 6)
    insert_lesion(field, np.ones((3, 3, 3), bool), np.array(corner), 1.0)
    assert not field.any()


def test_brighter_tissue_is_not_darkened():
    field = torch.full((3, 3, 3), 0.9)
    insert_lesion(field, np.ones((2, 2, 2), bool), np.array([0, 0, 0]), 0.5)
    assert field.eq(torch.tensor(0.9)).all()


def test_visible_is_above_half_of_the_peak_nearby():
    # two lesions of peaks 1 and 0.5, more than 4 voxels apart, and a faint one
    extent = torch.zeros(1, 30, 3, 3)
    extent[0, :, 1, 1] = torch.tensor(
        [0, 0.4, 0.6, 1, 0.6, 0.4, 0, 0, 0, 0, 0, 0.2, 0.3, 0.5, 0.2] + [0] * 10 + [0.19] + [0] * 4
    )
    seen = visible_change(extent)[0, :, 1, 1]
    assert seen.nonzero().flatten().tolist() == [2, 3, 4, 12, 13]


def test_nothing_is_visible_where_nothing_changed():
    assert not visible_change(torch.zeros(1, 8, 8, 8)).any()


@pytest.mark.parametrize("seed", range(4))
def test_label_is_what_was_planted(noise_free, monkeypatch, seed):
    planted = {}
    plant = RandSimulateChanged._plant

    def remember(self, anatomy):
        planted.update(plant(self, anatomy))
        return planted

    monkeypatch.setattr(RandSimulateChanged, "_plant", remember)
    label = simulate(seed)["label"]
    assert label.dtype == torch.uint8
    assert label.shape == (1, *SHAPE)
    assert torch.equal(label == 1, planted["gained"] > 0)
    assert torch.equal(label == 2, planted["lost"] > 0)


def test_gain_is_brighter_at_followup_and_loss_at_baseline(pairs):
    """Each lesion of each pair."""
    for out in pairs:
        difference = (out["followup"] - out["baseline"])[0].numpy()
        for value, sign in ((1, 1), (2, -1)):
            lesions, count = ndi.label(out["label"][0].numpy() == value)
            assert (sign * np.asarray(ndi.mean(difference, lesions, range(1, count + 1))) > 0).all()


@pytest.mark.parametrize("seed", range(4))
def test_direction_survives_the_scanner(seed):
    """With slices, noise, bias and contrast: against what lies around."""
    out = simulate(seed, contrast_range=(0.8, 0.9))
    difference = (out["followup"] - out["baseline"])[0].numpy()
    label, brain = out["label"][0].numpy(), make_data()["anatomy"][0].numpy() > 0
    usual = np.median(difference[brain & (label == 0)])
    for value, sign in ((1, 1), (2, -1)):
        if (label == value).sum() > 20:
            assert sign * (difference[label == value].mean() - usual) > 0.1


def test_no_change_pairs_have_an_empty_label_and_stable_lesions(pairs):
    """About a tenth of all; their lesions differ only in brightness, by a few per cent."""
    unchanged = [out for out in pairs if not out["label"].any()]
    assert 1 <= len(unchanged) <= 8
    for out in unchanged:
        lesions = out["baseline"] - make_data()["image"] / 300
        assert lesions.max() > 0.05
        assert (out["followup"] - out["baseline"]).abs().max() < 0.25 * lesions.max()


def test_both_kinds_of_change_occur_alike(pairs):
    gain, loss = (sum(int((out["label"] == value).any()) for out in pairs) for value in (1, 2))
    assert gain >= 18
    assert loss >= 18


def test_lesions_do_not_touch_each_other(pairs):
    """Or a new and a resolved lesion might overlap: each keeps a box with a margin to itself."""
    for out in pairs:
        gain, loss = (ndi.binary_dilation(out["label"][0].numpy() == value, np.ones((3, 3, 3))) for value in (1, 2))
        assert not (gain & loss).any()


def test_same_seed_same_pair():
    one, other, third = simulate(3), simulate(3), simulate(4)
    for key in ("baseline", "followup", "label"):
        assert torch.equal(one[key], other[key])
    assert not torch.equal(one["baseline"], third["baseline"])


def test_white_matter_becomes_one(noise_free):
    for grey in (20.0, 3000.0):
        data = make_data(grey=grey)
        out = simulate(1, data)
        assert float(out["baseline"][data["anatomy"] > 0].median()) == pytest.approx(1.0, abs=0.02)


def test_scan_gives_way_to_the_pair():
    data = make_data()
    before = {key: value.clone() for key, value in data.items()}
    out = simulate(0, {**data, "thickness_mm": 3.0, "name": "case"})
    assert set(out) == {"anatomy", "thickness_mm", "name", "baseline", "followup", "label"}
    for key, value in before.items():
        assert torch.equal(data[key], value)
    for visit in ("baseline", "followup"):
        assert out[visit].shape == (1, *SHAPE)
        assert out[visit].dtype == torch.float32
        assert torch.isfinite(out[visit]).all()
        assert out[visit].min() >= 0


def test_scan_with_its_affine_will_do_as_well():
    data = make_data()
    with_affine = {key: MetaTensor(value, affine=torch.eye(4)) for key, value in data.items()}
    assert torch.equal(simulate(2, with_affine)["baseline"], simulate(2, data)["baseline"])


@pytest.mark.parametrize("seed", range(8))
def test_thick_scans_are_cut_along_their_slices_only(seed):
    transform = RandSimulateChanged("image", BoxBank())
    transform.set_random_state(seed)
    thin, thick = transform._protocol(1.0), transform._protocol(3.0)
    assert thick.axis == 2
    # by quadrature the result is at most as thick as 5 mm
    assert 1.0 <= thin.thickness_mm <= 5.0
    assert np.hypot(thick.thickness_mm, 3.0) <= np.hypot(5.0, 1.0) + 1e-9


def test_lesions_lie_in_tissue_and_mostly_near_the_ventricles():
    transform = RandSimulateChanged("image", BoxBank())
    anatomy = make_data()["anatomy"]
    sites, chance = transform._sites(anatomy)
    assert chance.sum() == pytest.approx(1.0)
    assert (anatomy[0].numpy()[tuple(sites.T)] == Anatomy.WHITE_MATTER).all()
    distance = np.linalg.norm(sites - (np.array(SHAPE) - 1) / 2, axis=1)
    # 5 times likelier within 4 voxels (of the cube) of the ventricle
    assert chance[distance < 5].mean() == pytest.approx(5 * chance[(distance > 11) & (distance < 13)].mean())


def test_anatomy_without_tissue_is_refused():
    data = make_data()
    data["anatomy"] = torch.full_like(data["anatomy"], int(Anatomy.VENTRICLE))
    with pytest.raises(ValueError, match="no tissue that lesions may lie in"):
        simulate(0, data)
