# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_microchange.enums import ChangeType
from monai_microchange.postprocessing import CANDIDATE_FEATURES, ConfidenceModel, FindLesionsd, OperatingPoint
from monai_microchange.transforms import MidSpace

SHAPE = (20, 20, 20)
NEW, GROWN, GONE = (slice(2, 5),) * 3, (slice(8, 11), slice(8, 11), slice(11, 13)), (slice(15, 18),) * 3
OLD = (slice(8, 11),) * 3


def wrap(array):
    return MetaTensor(torch.as_tensor(array)[None], affine=torch.eye(4, dtype=torch.float64))


def pair():
    """A new lesion, one that grows by 18 voxels, and one that resolves."""
    logits = np.zeros((3, *SHAPE), np.float32)
    logits[0] = 4.0
    for place in (NEW, GROWN):
        logits[(1, *place)] = 9.0
    logits[(2, *GONE)] = 9.0
    before, after = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    before[OLD] = before[GONE] = 1
    after[OLD] = after[NEW] = 1
    noise = np.random.default_rng(0).normal(size=(2, 2, *SHAPE)).astype(np.float32)
    return {
        "pred": torch.from_numpy(logits),
        "baseline_harmonized": torch.from_numpy(noise[0]),
        "followup_harmonized": torch.from_numpy(noise[1]),
        "brain": wrap(np.ones(SHAPE, np.uint8)),
        "assessed": wrap(np.ones(SHAPE, np.uint8)),
        "baseline_lesion": wrap(before),
        "followup_lesion": wrap(after),
    }


def test_three_changes_are_found_with_type_and_volume():
    out = FindLesionsd()(pair())
    found = {lesion.type_name: lesion for lesion in out["lesions"]}
    assert set(found) == {"new", "enlarging", "resolved"}
    assert found["new"].gain_mm3 == 27
    assert (found["enlarging"].baseline_volume_mm3, found["enlarging"].followup_volume_mm3) == (27, 27 + 18)
    assert (found["resolved"].baseline_volume_mm3, found["resolved"].followup_volume_mm3) == (27, 0)
    assert out["lesion_source"] == dict.fromkeys(("baseline", "followup"), "mask given by the user")


@pytest.mark.parametrize("grown", [1.0, 1.1])
def test_volumes_are_those_in_the_scan_that_shows_them(grown):
    """Half of a growth by 1.21 lies on either side of mid-space: gains count 1.1, losses 1 / 1.1."""
    half = np.diag([grown, 1.0, 1.0, 1.0])
    space = MidSpace(np.eye(4), SHAPE, np.linalg.inv(half), half)
    found = {lesion.type_name: lesion for lesion in FindLesionsd()({**pair(), "mid_space": space})["lesions"]}
    assert found["new"].gain_mm3 == pytest.approx(27 * grown)
    assert found["resolved"].loss_mm3 == pytest.approx(27 / grown)
    enlarging = found["enlarging"]
    volumes = enlarging.baseline_volume_mm3, enlarging.followup_volume_mm3
    assert volumes == pytest.approx((27 / grown, 45 * grown))


def test_rigid_mid_space_changes_no_bit_of_the_volumes():
    turn = np.array([[0.6, -0.8, 0, 3.3], [0.8, 0.6, 0, -1.7], [0, 0, 1, 0.9], [0, 0, 0, 1]])
    space = MidSpace(np.eye(4), SHAPE, np.linalg.inv(turn), turn)
    assert FindLesionsd()({**pair(), "mid_space": space})["lesions"] == FindLesionsd()(pair())["lesions"]


def test_probabilities_are_those_of_the_logits_where_assessed():
    data = pair()
    data["assessed"] = data["assessed"].clone()
    data["assessed"][0, 2] = 0
    out = FindLesionsd()(data)
    expected = torch.softmax(data["pred"], dim=0)
    torch.testing.assert_close(out["gain_probability"][0, 3:].as_tensor(), expected[1, 3:])
    assert float(out["gain_probability"][0, 2].max()) == 0.0
    assert not out["change"][0, 2].any()


def test_without_masks_the_rule_is_used_and_named():
    data = pair()
    del data["baseline_lesion"], data["followup_lesion"]
    out = FindLesionsd()(data)
    assert out["baseline_lesion"].shape == (1, *SHAPE)
    assert out["lesion_source"]["baseline"].startswith("rule")


def test_no_change_is_a_result():
    data = pair()
    data["pred"] = torch.zeros(3, *SHAPE)
    data["pred"][0] = 5.0
    out = FindLesionsd()(data)
    assert not out["change"].any()
    assert all(lesion.change_type is None for lesion in out["lesions"])


def test_exchanging_the_visits_exchanges_everything():
    data = pair()
    swapped = {**data, "pred": data["pred"][[0, 2, 1]]}
    for name in ("harmonized", "lesion"):
        swapped[f"baseline_{name}"], swapped[f"followup_{name}"] = data[f"followup_{name}"], data[f"baseline_{name}"]
    forth, back = FindLesionsd()(data), FindLesionsd()(swapped)
    one, other = forth["change"].numpy(), back["change"].numpy()
    np.testing.assert_array_equal(one, np.where(other > 0, 5 - other.astype(int), 0))
    for lesion, mirror in zip(forth["lesions"], back["lesions"], strict=True):
        assert lesion.id == mirror.id
        assert lesion.change_type is None or mirror.change_type is ChangeType(lesion.change_type).swapped
        assert lesion.change_mm3 == -mirror.change_mm3
        assert lesion.confidence == mirror.confidence


@pytest.mark.parametrize("threshold", [0.0, 1.0, 1.5])
def test_threshold_must_be_a_probability(threshold):
    with pytest.raises(ValueError, match="between 0 and 1"):
        FindLesionsd(threshold=threshold)


def by_volume(*curve):
    """A confidence of 0.5 at 22 mm³, more above."""
    n = len(CANDIDATE_FEATURES)
    weights = (4.0, *(0.0,) * (n - 1))
    middle = (float(np.log(22.0)), *(0.0,) * (n - 1))
    return ConfidenceModel(middle, (1.0,) * n, weights, 0.0, curve)


def shown_pair():
    data = pair()
    shown = np.random.default_rng(1).normal(size=(2, 2, *SHAPE)).astype(np.float32)
    depth = wrap(np.full(SHAPE, 5.0, np.float32))
    return {**data, "baseline_input": shown[0], "followup_input": shown[1], "depth_mm": depth}


def test_calibrated_confidence_stands_in_each_row():
    out = FindLesionsd(confidence=by_volume())(shown_pair())
    found = {lesion.type_name: lesion.confidence for lesion in out["lesions"]}
    assert found["new"] == pytest.approx(1 / (1 + (22 / 27) ** 4))
    assert found["enlarging"] == pytest.approx(1 / (1 + (22 / 18) ** 4))


def test_changes_that_are_not_sure_enough_are_dropped():
    curve = (OperatingPoint(0.0, 2.0, 1.0), OperatingPoint(0.5, 0.1, 0.8))
    out = FindLesionsd(confidence=by_volume(*curve), false_per_pair=0.1)(shown_pair())
    assert {lesion.type_name for lesion in out["lesions"]} == {"new", "resolved", "stable"}
    assert int((out["change"] > 0).sum()) == 27 + 27
    assert out["operating_point"]["least_confidence"] == 0.5


def test_exchanged_visits_have_the_same_confidences():
    data = shown_pair()
    swapped = {**data, "pred": data["pred"][[0, 2, 1]]}
    for name in ("harmonized", "lesion", "input"):
        swapped |= {f"baseline_{name}": data[f"followup_{name}"], f"followup_{name}": data[f"baseline_{name}"]}
    n = len(CANDIDATE_FEATURES)
    model = ConfidenceModel((0.0,) * n, (5.0,) * n, tuple(np.linspace(-1, 1, n).tolist()), 0.1)
    one, other = (FindLesionsd(confidence=model)(case)["lesions"] for case in (data, swapped))
    assert [row.confidence for row in one] == [row.confidence for row in other]
    assert [row.change_type and row.change_type.swapped for row in one] == [row.change_type for row in other]


@pytest.mark.parametrize("rate", [None, float("inf"), "inf", "null"])
def test_all_changes_can_be_kept(rate):
    out = FindLesionsd(confidence=by_volume(), false_per_pair=rate)(shown_pair())
    assert {lesion.type_name for lesion in out["lesions"]} == {"new", "enlarging", "resolved"}
    assert out["operating_point"]["false_per_pair"] is None


def test_without_a_confidence_all_changes_are_kept():
    out = FindLesionsd(false_per_pair=0.1)(pair())
    assert {lesion.type_name for lesion in out["lesions"]} == {"new", "enlarging", "resolved"}
    assert out["operating_point"]["confidence"] == "the network's own probability"


def test_where_nobody_measured_the_confidence_the_record_says_so():
    data = shown_pair()
    model = by_volume()
    assert "other" in FindLesionsd(confidence=model)(data)["operating_point"]["confidence"]
    usual = {**data, "seed_region": wrap(np.ones(SHAPE, np.uint8))}
    assert FindLesionsd(confidence=model)(usual)["operating_point"]["confidence"] == "calibrated"
