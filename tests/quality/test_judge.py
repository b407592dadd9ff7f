# SPDX-License-Identifier: Apache-2.0
"""The gate as a transform: what it adds, when it stops, what it leaves alone."""

import json
import pickle

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_microchange.data import InputError
from monai_microchange.enums import Verdict
from monai_microchange.quality import JudgePaird

from .conftest import AFFINE, SHAPE, ball_scan

CT = ({"modality": "MR"}, {"modality": "CT"})


@pytest.fixture(scope="module")
def judged(gate_data):
    return JudgePaird()(gate_data())


def test_two_scans_of_one_ball_are_comparable(judged):
    assert judged["comparability"].verdict is Verdict.COMPARABLE
    assert judged["comparability"].reasons == ()
    measures = judged["comparability"].measures
    assert measures["misalignment_mm"]["p95"] < 0.4
    assert measures["structure_correlation"] > 0.9
    assert measures["coverage"] == 1.0
    assert measures["baseline"]["noise"] == pytest.approx(0.015, rel=0.3)
    assert measures["normalized_mutual_information"] == 1.3


def test_the_map_lies_on_the_scans_grid(judged, gate_data):
    found = judged["misalignment"]
    assert isinstance(found, MetaTensor)
    assert found.shape == (1, *SHAPE)
    assert found.dtype == torch.float32
    np.testing.assert_array_equal(found.affine, AFFINE)
    assert not found[~gate_data.mask].any()
    assert found[gate_data.mask].any()


def test_data_are_left_alone(gate_data):
    data = gate_data()
    before = dict(data)
    out = JudgePaird()(data)
    assert data == before
    assert set(out) - set(data) == {"misalignment", "comparability"}
    assert all(out[key] is data[key] for key in data)


def test_pickled_copy_does_the_same(judged, gate_data):
    again = pickle.loads(pickle.dumps(JudgePaird()))(gate_data())
    assert torch.equal(again["misalignment"], judged["misalignment"])
    assert again["comparability"].measures == judged["comparability"].measures


def test_exchanging_the_visits_exchanges_the_measures(judged, gate_data):
    back = JudgePaird()(gate_data(scans=gate_data.scans[::-1]))
    assert torch.equal(back["misalignment"], judged["misalignment"])
    one, other = judged["comparability"].measures, back["comparability"].measures
    assert (one["baseline"], one["followup"]) == (other["followup"], other["baseline"])
    same = set(one) - {"baseline", "followup", "acquisition", "level_ratio"}
    assert {key: one[key] for key in same} == {key: other[key] for key in same}


def test_stops_at_do_not_compare_unless_forced(gate_data):
    with pytest.raises(InputError, match=r"do not compare\. The scans are of two modalities.*--force"):
        JudgePaird()(gate_data(protocols=CT))
    out = JudgePaird(force=True)(gate_data(protocols=CT))
    assert out["comparability"].verdict is Verdict.DO_NOT_COMPARE


def test_worst_reasons_come_first(gate_data):
    protocols = ({"field_strength_t": 3.0, **CT[0]}, {"field_strength_t": 1.5, **CT[1]})
    reasons = JudgePaird(force=True)(gate_data(protocols=protocols))["comparability"].reasons
    assert [reason.about for reason in reasons] == ["modality", "field strength"]


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_a_mirrored_scan_is_refused(gate_data, axis):
    scan = gate_data.scans[0]
    mirrored = MetaTensor(scan.as_tensor().flip(axis), affine=scan.affine)
    with pytest.raises(InputError, match="different patients"):
        JudgePaird()(gate_data(scans=(scan, mirrored)))


def test_opposite_contrast_is_refused(gate_data):
    scan = gate_data.scans[0]
    dark = MetaTensor((120 - scan.as_tensor()) * (scan.as_tensor() > 20), affine=scan.affine)
    with pytest.raises(InputError, match="different contrasts"):
        JudgePaird()(gate_data(scans=(scan, dark)))


def test_without_a_brain_all_that_is_not_air_is_judged(gate_data):
    data = gate_data()
    del data["brain"]
    out = JudgePaird()(data)
    assert out["comparability"].verdict is Verdict.COMPARABLE
    assert 0 < float((out["misalignment"] > 0).float().mean()) < 0.7


@pytest.mark.parametrize("mask", [None, "brain_mask", "brain"])
def test_structure_forbids_nothing_where_no_brain_is_known(gate_data, mask):
    scan = gate_data.scans[0]
    data = gate_data(scans=(scan, MetaTensor(scan.as_tensor().flip(3), affine=scan.affine)))
    brain = data.pop("brain")
    if mask is not None:
        data[mask] = brain
        with pytest.raises(InputError, match="different patients"):
            JudgePaird()(data)
    else:
        found = JudgePaird()(data)["comparability"]
        assert found.verdict is Verdict.READ_WITH_CARE
        assert "structure correlation" in {reason.about for reason in found.reasons}


@pytest.mark.parametrize("side", [1, 2])
def test_a_mask_of_few_voxels_says_nothing_of_patients(gate_data, side):
    data = gate_data()
    few = torch.zeros(1, *SHAPE, dtype=torch.uint8)
    few[:, 18 : 18 + side, 18 : 18 + side, 18 : 18 + side] = 1
    data["brain_mask"] = MetaTensor(few, affine=data["baseline"].affine)
    found = JudgePaird()(data)["comparability"]
    assert (found.measures["structure_correlation"], found.measures["correlation"]) == (None, None)
    assert found.verdict is not Verdict.DO_NOT_COMPARE


@pytest.mark.parametrize("axis", [1, 2, 3])
@pytest.mark.parametrize(("thick", "spacing_mm"), [(1, 2.0), (1, 1.0), (2, 1.0)])
def test_a_slab_of_one_working_voxel_is_judged(gate_data, axis, thick, spacing_mm):
    affine = AFFINE @ np.diag([spacing_mm / 2] * 3 + [1])
    scans = [MetaTensor(scan.as_tensor().narrow(axis, 16, thick), affine=affine) for scan in gate_data.scans]
    out = JudgePaird()(gate_data(scans=tuple(scans), mask=gate_data.mask.narrow(axis, 16, thick)))
    assert out["comparability"].measures["misalignment_mm"]["estimated_share"] == 0
    assert not out["misalignment"].any()


def test_mask_of_the_user_comes_first(gate_data):
    data = gate_data()
    half = gate_data.mask.clone()
    half[:, :18] = False
    data["brain_mask"] = MetaTensor(half.to(torch.uint8), affine=data["baseline"].affine)
    assert not JudgePaird()(data)["misalignment"][~half].any()


def test_nothing_in_common_is_refused(gate_data):
    data = gate_data()
    data["field_of_view"] = torch.zeros_like(data["brain"])
    with pytest.raises(InputError, match="none in common"):
        JudgePaird()(data)


def test_half_a_ball_is_refused_by_its_coverage(gate_data):
    """Its own brain mask shows what the other scan lacks."""
    data = gate_data()
    whole = gate_data.mask.to(torch.uint8)
    data["baseline_brain"] = MetaTensor(whole, affine=data["baseline"].affine)
    lower = MetaTensor(gate_data.scans[1].as_tensor()[..., :14], affine=data["baseline"].affine)
    data["pair"].followup.images["FLAIR"] = lower
    data["followup_brain"] = MetaTensor(whole[..., :14], affine=data["baseline"].affine)
    with pytest.raises(InputError, match=r"Only \d\d% of what one scan shows"):
        JudgePaird()(data)


def test_record_is_json_and_names_no_patient(gate_data):
    protocols = ({"echo_time_ms": 90.0, "manufacturer_model": "Jane Doe's", "patient": "Jane Doe"}, {})
    out = JudgePaird()(gate_data(protocols=protocols))
    text = json.dumps(out["comparability"].record())
    assert "90.0" in text
    for secret in ("Jane", "SECRET", "scan.nii.gz"):
        assert secret not in text


def test_scans_of_very_different_brightness(gate_data):
    bright = MetaTensor(1000 * ball_scan(noise=1.5, seed=2).as_tensor(), affine=gate_data.scans[0].affine)
    out = JudgePaird()(gate_data(scans=(gate_data.scans[0], bright)))
    assert out["comparability"].verdict is Verdict.COMPARABLE
    assert out["comparability"].measures["level_ratio"] == pytest.approx(1000, rel=0.02)
