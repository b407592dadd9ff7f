# SPDX-License-Identifier: Apache-2.0
"""The record of the sample's comparison: complete, JSON, and silent about files and patients."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_microchange._shipped import shipped_bundle
from monai_microchange.data import ScanPair, Visit
from monai_microchange.enums import VISITS, ResultFile, Verdict
from monai_microchange.provenance import outcome_record, provenance_record
from monai_microchange.quality import Comparability, Reason
from monai_microchange.transforms.registration import LinearRegistration

SURE = LinearRegistration(np.eye(4), 0.123456, 0.2, 0.9, False, 0.8, 0.7, 1.3)


def test_comparability_is_recorded(sample_result):
    facts = json.loads((sample_result.folder / ResultFile.PROVENANCE).read_text())["comparability"]
    assert facts == json.loads(json.dumps(sample_result.comparability.record()))
    assert facts["verdict"] == "read with care"
    # the phantom's protocols: 3 mm axial against 2.4 mm sagittal slices
    assert {reason["about"] for reason in facts["reasons"]} == {"slice distance", "slice direction"}
    assert facts["measures"]["misalignment_mm"]["p95"] < 0.5
    for visit in VISITS:
        # drawn with 2 % of noise
        assert 0.015 < facts["measures"][visit]["noise"] < 0.03


def test_alignment_is_recorded_with_its_certainty(sample_result):
    facts, measures = sample_result.provenance["registration"], sample_result.comparability.measures
    for name in ("normalized_mutual_information", "inverse_consistency_mm"):
        assert facts[name] == measures[name]
    assert sample_result.provenance["warnings"] == []


def recorded(registration, *, n_brains, comparability=None, **more):
    """What is recorded of a scan against itself."""
    visit = Visit({"FLAIR": MetaTensor(torch.ones(1, 4, 4, 4))}, Path("scan.nii.gz"), "0" * 64)
    data = {
        "pair": ScanPair(visit, visit, interval_days=None),
        "registration": registration,
        "comparability": comparability or Comparability(),
        "region": "made up",
        "lesion_source": "made up",
        **{f"{name}_brain": torch.ones(1, 4, 4, 4) for name in VISITS[:n_brains]},
        **more,
    }
    root = shipped_bundle()
    return provenance_record(data, bundle_root=root, weights=root / "models" / "model.pt", device="cpu", seeds={})


def test_fields_of_the_alignment_are_recorded():
    assert recorded(SURE, n_brains=2)["registration"] == {
        "inverse_consistency_mm": 0.1235,
        "disagreement_mm": 0.2,
        "settled_share": 0.9,
        "mirrored": False,
        "overlap": 0.8,
        "correlation": 0.7,
        "normalized_mutual_information": 1.3,
        "deformable": False,
    }
    assert recorded(SURE, n_brains=2)["warnings"] == []


@pytest.mark.parametrize("n_brains", [0, 1, 2])
def test_parts_that_moved_are_a_doubt_of_heads_only(n_brains):
    """As when the scans are aligned: an organ moves by itself, but is not mirrored."""
    moved = replace(SURE, settled_share=0.2)
    assert ["two patients" in text for text in recorded(moved, n_brains=n_brains)["warnings"]] == [True] * (
        n_brains == 2
    )
    (warning,) = recorded(replace(moved, mirrored=True), n_brains=n_brains)["warnings"]
    assert warning.startswith("Alignment: the scans fit better when one of them is mirrored")


def test_what_was_forced_is_a_warning():
    reasons = [
        Reason(verdict, "x", f"It is {verdict}.") for verdict in (Verdict.DO_NOT_COMPARE, Verdict.READ_WITH_CARE)
    ]
    record = recorded(SURE, n_brains=2, comparability=Comparability(tuple(reasons)))
    assert record["warnings"] == ["It is do not compare. Compared all the same (force)."]


def test_outcome_counts_changed_lesions_only(sample_result):
    stable = tuple(lesion for lesion in sample_result.lesions if lesion.change_type is None)
    facts = outcome_record(replace(sample_result, lesions=stable))
    assert facts["counts"]["stable"] == len(stable)
    assert (facts["volume_mm3"]["gain"], facts["volume_mm3"]["loss"]) == (0, 0)
    assert facts["volume_mm3"]["assessed"] > 1e6


def test_a_confidence_of_other_weights_is_a_doubt():
    assert recorded(SURE, n_brains=2)["warnings"] == []
    point = {"confidence": "calibrated for other weights"}
    (doubt,) = recorded(SURE, n_brains=2, operating_point=point)["warnings"]
    assert doubt.startswith("Confidence: calibrated for other weights; false lesions may be more")
