# SPDX-License-Identifier: Apache-2.0
"""What is measured on the images, and which verdict it leads to; numbers made up on paper."""

from dataclasses import replace

import pytest

from monai_microchange.enums import Verdict
from monai_microchange.quality import Comparability, PairMeasures, ScanMeasures, image_reasons

NAN = float("nan")
SCAN = ScanMeasures(100.0, 0.03, 33.0, 3.0, {"grey": 0.1, "deep_grey": 0.05, "csf": -0.6}, [3.0, 3.0, 4.0])
PAIR = PairMeasures(SCAN, SCAN, 1.0, 0.9, 0.95, 1.3, 0.3, 0.0, {"median": 0.2, "p95": 0.5, "estimated_share": 1.0})
CARE, STOP, FINE = Verdict.READ_WITH_CARE, Verdict.DO_NOT_COMPARE, Verdict.COMPARABLE


def other(**change):
    return {"followup": replace(SCAN, **change)}


CASES = {
    "alike": ({}, FINE, set()),
    "not measured": (
        {"coverage": NAN, "correlation": NAN, **other(noise=NAN, tissues={}, smoothness_mm=[NAN] * 3)},
        FINE,
        set(),
    ),
    "a slab": ({"coverage": 0.7}, CARE, {"coverage"}),
    "half a head": ({"coverage": 0.4}, STOP, {"coverage"}),
    "low correlation": ({"correlation": 0.4}, CARE, {"correlation"}),
    "after contrast agent": ({"structure_correlation": 0.75}, CARE, {"structure correlation"}),
    "another patient": ({"structure_correlation": 0.5}, STOP, {"structure correlation"}),
    "shifted": ({"misalignment_mm": {"median": 1.0, "p95": 2.0, "estimated_share": 1.0}}, CARE, {"misalignment"}),
    "not aligned": ({"misalignment_mm": {"median": 3.0, "p95": 6.0, "estimated_share": 1.0}}, STOP, {"misalignment"}),
    "two directions": ({"inverse_consistency_mm": 1.0}, CARE, {"inverse consistency"}),
    "T1": (other(tissues={"grey": -0.2, "csf": -0.7}), STOP, {"opposite contrast"}),
    "T2": (other(tissues={"grey": 0.15, "csf": 1.2}), STOP, {"opposite contrast"}),
    "hardly any contrast": (other(tissues={"deep_grey": -0.02}), FINE, set()),
    "more contrast": (other(tissues={"grey": 0.3}), CARE, {"tissue contrast"}),
    "CSF not null": (other(tissues={"csf": -0.2}), CARE, {"CSF contrast"}),
    "noise": (other(noise=0.07), CARE, {"noise"}),
    "smooth": (other(smoothness_mm=[4.5, 3.0, 4.0]), CARE, {"smoothness"}),
    "brighter": (other(level=900.0), FINE, set()),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("swapped", [False, True])
def test_measures(name, swapped):
    change, verdict, about = CASES[name]
    measures = replace(PAIR, **change)
    if swapped:
        measures = replace(measures, baseline=measures.followup, followup=measures.baseline)
    reasons = image_reasons(measures)
    assert {reason.about for reason in reasons} == about
    assert Comparability(tuple(reasons)).verdict is verdict


@pytest.mark.parametrize("name", ["another patient", "not aligned"])
def test_organs_that_move_by_themselves_are_read_with_care(name):
    (reason,) = image_reasons(replace(PAIR, **CASES[name][0]), is_head=False)
    assert {reason.about} == CASES[name][2]
    assert reason.verdict is CARE
    assert "patients" not in reason.sentence


@pytest.mark.parametrize("name", ["half a head", "T1", "T2"])
def test_other_limits_stop_organs_too(name):
    assert Comparability(tuple(image_reasons(replace(PAIR, **CASES[name][0]), is_head=False))).verdict is STOP


def test_sentences_name_the_scan_that_is_worse():
    (noise,) = image_reasons(replace(PAIR, **other(noise=0.07)))
    assert noise.sentence.startswith("Noise of 3.0% against 7.0% of the signal")
    assert noise.sentence.endswith("hidden in the follow-up alone.")
    (smooth,) = image_reasons(replace(PAIR, **other(smoothness_mm=[4.5, 3.0, 4.0])))
    assert smooth.sentence.startswith("The follow-up is smoother along left-right (3.0 mm against 4.5 mm)")


def test_sharpness_that_the_voxels_explain_is_not_told_twice():
    measures = replace(PAIR, **other(smoothness_mm=[3.0, 3.0, 7.0]))
    assert [reason.about for reason in image_reasons(measures)] == ["smoothness"]
    assert image_reasons(measures, (1.0, 1.0, 3.0)) == []


def test_record_is_rounded_and_has_none_for_nan():
    record = replace(PAIR, coverage=0.123456, correlation=NAN).record()
    assert (record["coverage"], record["correlation"], record["level_ratio"]) == (0.1235, None, 1.0)
    assert record["baseline"]["tissues"]["csf"] == -0.6
