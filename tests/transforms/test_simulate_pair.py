# SPDX-License-Identifier: Apache-2.0
"""Simulated pairs agree with their label and their record."""

import json

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy import ndimage as ndi

from monai_microchange.enums import Anatomy
from monai_microchange.transforms import LesionRecipe, RandInsertChanged, RandSimulateChanged
from monai_microchange.transforms.effects import Acquisition

SHAPE = (40, 42, 38)
VISITS = ("baseline", "followup")


class BoxBank:
    """A stand-in for the bank of lesions: boxes of 2 to 5 mm."""

    def draw(self, random, volume_mm3=None):
        return np.ones(random.randint(2, 6, 3), bool)


def make_data(grey=300.0):
    """A ball of white matter in air, with a ventricle in its middle, and a cortex."""
    place = np.indices(SHAPE) - (np.array(SHAPE)[:, None, None, None] - 1) / 2
    radius = np.sqrt((place**2).sum(axis=0))
    labels = np.select([radius < 4, radius < 15, radius < 17], [4, 1, 2], 0).astype(np.uint8)
    image = grey * np.select([radius < 4, radius < 17], [0.3, 1.0], 0.0).astype(np.float32)
    return {"image": torch.from_numpy(image)[None], "anatomy": torch.from_numpy(labels)[None]}


def make_pair(label=None):
    data = make_data()
    image = data.pop("image")
    return {"baseline": image.clone(), "followup": 2 * image, **data, **({} if label is None else {"label": label})}


def simulate(seed, data=None, **options):
    transform = RandSimulateChanged("image", BoxBank(), **options)
    transform.set_random_state(seed)
    return transform(make_data() if data is None else data)


def insert(seed, data=None, **options):
    transform = RandInsertChanged(VISITS, BoxBank(), **options)
    transform.set_random_state(seed)
    return transform(make_pair() if data is None else data)


CLEAR = LesionRecipe(count=(3, 6), no_change_share=0.0, contrast_range=(0.6, 0.9))
STABLE = LesionRecipe(no_change_share=1.0)


def test_scan_gives_way_to_the_pair():
    data = make_data()
    before = {key: value.clone() for key, value in data.items()}
    out = simulate(0, {**data, "thickness_mm": 3.0, "name": "case"})
    assert set(out) == {"anatomy", "thickness_mm", "name", "baseline", "followup", "label", "simulated"}
    assert all(torch.equal(data[key], value) for key, value in before.items())
    for visit in VISITS:
        assert out[visit].shape == (1, *SHAPE)
        assert out[visit].dtype == torch.float32
        assert torch.isfinite(out[visit]).all()
    assert out["label"].shape == (1, *SHAPE)
    assert out["label"].dtype == torch.uint8
    assert set(out["label"].unique().tolist()) <= {0, 1, 2, 4}


def test_the_record_says_what_was_planted():
    out = simulate(1)
    assert json.loads(json.dumps(out["simulated"])) == out["simulated"]
    record = out["simulated"]
    assert set(record["effects"]) == set(VISITS)
    assert "SliceProtocol" in record["effects"]["baseline"]
    for lesion in record["lesions"]:
        before, after = (lesion[f"{v}_mm3"] * lesion[f"{v}_strength"] for v in VISITS)
        if lesion["type"] in ("NEW", "RESOLVED"):
            assert min(before, after) == 0
        elif lesion["type"] == "STABLE":
            assert before == after
        else:
            assert (after > before) == (lesion["type"] == "ENLARGING")


@pytest.mark.parametrize("make", [simulate, insert])
def test_no_change_pairs_have_an_empty_label_and_lesions(make):
    for seed in range(3):
        out = make(seed, recipe=STABLE)
        assert not out["label"].any()
        assert {lesion["type"] for lesion in out["simulated"]["lesions"]} == {"STABLE"}


def test_the_share_of_no_change_pairs_is_met():
    """Of 60 pairs about 18: within 4 standard deviations."""
    recipe = LesionRecipe(count=(3, 3), no_change_share=0.3, changing_share=1.0)
    unchanged = sum(
        all(one["type"] == "STABLE" for one in insert(seed, recipe=recipe)["simulated"]["lesions"])
        for seed in range(60)
    )
    assert abs(unchanged - 18) <= 4 * np.sqrt(60 * 0.3 * 0.7)


@pytest.mark.parametrize("seed", range(4))
def test_direction_survives_the_scanner(seed):
    """With slices, noise, bias and contrast: against what lies around."""
    out = simulate(seed, recipe=CLEAR, severity=0.5)
    inside = make_data()["anatomy"][0].numpy() == Anatomy.WHITE_MATTER
    difference = (out["followup"] - out["baseline"])[0].numpy()
    label = out["label"][0].numpy()
    usual = np.median(difference[inside & (label == 0)])
    large = {value: inside & (label == value) for value in (1, 2) if (inside & (label == value)).sum() > 20}
    assert large
    for value, marked in large.items():
        assert (difference[marked].mean() - usual) * (1 if value == 1 else -1) > 0.03


def test_every_mark_is_a_visible_difference():
    """Without noise: each marked lesion is as much brighter or darker as it has to be, but for drift and dark cores."""
    for seed in range(6):
        data = make_pair()
        data["followup"] /= 2
        out = insert(seed, data)
        difference = (out["followup"] - out["baseline"])[0].numpy() / 300
        for value, sign in ((1, 1), (2, -1)):
            lesions, count = ndi.label(out["label"][0].numpy() == value, np.ones((3, 3, 3)))
            assert (np.asarray(ndi.maximum(sign * difference, lesions, range(1, count + 1))) > 0.07).all()


@pytest.mark.parametrize("make", [simulate, insert])
def test_same_seed_same_pair(make):
    one, other, third = make(3), make(3), make(4)
    for key in (*VISITS, "label"):
        assert torch.equal(one[key], other[key])
    assert one["simulated"] == other["simulated"]
    assert not torch.equal(one["baseline"], third["baseline"])


def test_the_scale_of_the_scan_does_not_matter():
    one, other = (simulate(1, make_data(grey)) for grey in (20.0, 3000.0))
    for visit in VISITS:
        torch.testing.assert_close(one[visit], other[visit], atol=1e-4, rtol=1e-4)


def test_scan_with_its_affine_will_do_as_well():
    data = make_data()
    with_affine = {key: MetaTensor(value, affine=torch.eye(4)) for key, value in data.items()}
    assert torch.equal(simulate(2, with_affine)["baseline"], simulate(2, data)["baseline"])


def test_real_scans_stay_as_they_were_beside_the_lesions():
    out, given = insert(0, recipe=CLEAR), make_pair()
    changed = torch.zeros(1, *SHAPE, dtype=torch.bool)
    for key in VISITS:
        assert out[key].dtype == given[key].dtype
        changed |= ~torch.isclose(out[key], given[key])
    assert 0 < changed.float().mean() < 0.3
    assert (changed | (out["label"] == 0)).all()


def test_what_is_labelled_already_is_kept_and_kept_clear():
    label = torch.zeros(1, *SHAPE, dtype=torch.uint8)
    label[:, 20:, :20], label[:, 20:, 20:], label[:, 10, 10] = 3, 4, 1
    for seed in range(4):
        out = insert(seed, make_pair(label), recipe=CLEAR)
        changed = (label > 0) & (label < 4)
        assert torch.equal(out["label"][changed], label[changed])
        for key in VISITS:
            torch.testing.assert_close(out[key][changed], make_pair()[key][changed])
    assert out["label"].dtype == label.dtype


def test_a_pair_without_room_is_left_as_it_is():
    out = insert(0, make_pair(torch.full((1, *SHAPE), 3, dtype=torch.uint8)))
    assert out["simulated"]["lesions"] == []
    assert (out["label"] == 3).all()
    for key in VISITS:
        torch.testing.assert_close(out[key], make_pair()[key])


def test_in_a_pair_that_nobody_judged_the_planted_change_is_all_that_is_known():
    out = insert(0, make_pair(torch.full((1, *SHAPE), 4, dtype=torch.uint8)), recipe=CLEAR)
    assert set(out["label"].unique().tolist()) == {1, 2, 4}


class Blind(Acquisition):
    """A visit that shows no change at all."""

    def __call__(self, image, extent, anatomy):
        return image, torch.zeros_like(extent)


def test_a_gain_counts_as_the_followup_shows_it_and_a_loss_as_the_baseline_does(monkeypatch):
    """One of the visits is blind: of the changes only those of the other are marked."""
    for blind, left in ((0, {0, 1}), (1, {0, 2})):
        visits = [Acquisition(), Acquisition()]
        visits[blind] = Blind()
        drawn = iter(visits)
        monkeypatch.setattr(Acquisition, "draw", lambda *args, drawn=drawn, **options: next(drawn))
        marked = [simulate(0, recipe=LesionRecipe(count=(12, 12), no_change_share=0.0, contrast_range=(0.6, 0.9)))]
        assert set(marked[0]["label"].unique().tolist()) - {4} == left


@pytest.mark.parametrize("make", [simulate, insert])
def test_thick_slices_blur_what_is_planted(make, monkeypatch):
    """Along the last axis alone; the scan itself is given as it is."""
    monkeypatch.setattr(Acquisition, "draw", lambda *args, **options: Acquisition())
    heights = []
    for thickness_mm in (1.0, 6.0):
        data = make_data() if make is simulate else make_pair()
        out = make(2, {**data, "thickness_mm": thickness_mm}, recipe=CLEAR)
        plain = make_data()["image"] / (300 if make is simulate else 1)
        change = (out["baseline"] - plain)[0].abs().numpy() > 1e-4
        heights.append(np.mean([np.ptp(np.argwhere(change[i, j])) for i, j in np.argwhere(change.any(axis=2))]))
    assert heights[1] > heights[0] + 2


def test_meta_tensors_stay_meta_tensors():
    data = {key: MetaTensor(value, affine=2 * torch.eye(4)) for key, value in make_pair().items()}
    out = insert(0, data)
    for key in VISITS:
        assert isinstance(out[key], MetaTensor)
        assert torch.equal(out[key].affine, 2 * torch.eye(4))


@pytest.mark.parametrize("make", [simulate, insert])
def test_anatomy_without_tissue_is_refused(make):
    data = make_data() if make is simulate else make_pair()
    data["anatomy"] = torch.full_like(data["anatomy"], int(Anatomy.VENTRICLE))
    with pytest.raises(ValueError, match="no white matter to scale the scan by"):
        make(0, data)


def test_two_scans_are_needed_on_one_grid():
    with pytest.raises(ValueError, match="keys of baseline and follow-up, got"):
        RandInsertChanged("image", BoxBank())
    with pytest.raises(ValueError, match="expected all on the grid"):
        insert(0, {**make_pair(), "label": torch.zeros(1, 4, 4, 4)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"no_change_share": 1.5}, "no_change_share: expected a share from 0 to 1, got 1.5"),
        ({"changing_share": -0.1}, "changing_share: expected a share"),
        ({"count": (5, 3)}, r"count: expected two ascending numbers from 0 up, got \(5, 3\)"),
        ({"contrast_range": (0.0, 1.0)}, "contrast_range: expected two ascending numbers"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LesionRecipe(**options)


@pytest.mark.real
def test_volumes_of_marks_resemble_those_of_experts(real_data):
    """Experts' marks have a median of 46 mm3; of 300 lesions at one visit each, drawn with their acquired blur."""
    from monai_microchange.data import LesionBank
    from monai_microchange.transforms import mark_change, plant_lesions

    bank, random = LesionBank(real_data / "lesion_shapes" / "shapes.npz"), np.random.RandomState(0)
    anatomy = np.full((96, 96, 96), Anatomy.WHITE_MATTER, np.uint8)
    recipe, volumes = LesionRecipe(count=(20, 20), no_change_share=0.0, changing_share=1.0), []
    for _ in range(5):
        lesions = recipe.draw(random, bank, anatomy, slice_mm=3.0)
        scans = np.broadcast_to(np.float32(1), (2, *anatomy.shape))
        pair = plant_lesions(scans, anatomy, lesions, slice_mm=3.0)
        label = mark_change(pair.gained, pair.lost)
        for value in (1, 2):
            marks, _ = ndi.label(label == value, np.ones((3, 3, 3)))
            volumes += np.bincount(marks.ravel())[1:].tolist()
    assert 25 < np.median(volumes) < 80
