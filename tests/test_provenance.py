# SPDX-License-Identifier: Apache-2.0
"""The record of the sample's comparison: complete, JSON, and silent about files and patients."""

import json
from dataclasses import replace

from monai_microchange.enums import VISITS, ResultFile, Verdict
from monai_microchange.provenance import outcome_record


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
    facts = sample_result.provenance["registration"]
    assert facts["settled_share"] > 0.5
    assert (facts["mirrored"], facts["deformable"]) == (False, False)
    assert sample_result.comparability.verdict is not Verdict.DO_NOT_COMPARE
    assert sample_result.provenance["warnings"] == []


def test_outcome_counts_changed_lesions_only(sample_result):
    stable = tuple(lesion for lesion in sample_result.lesions if lesion.change_type is None)
    facts = outcome_record(replace(sample_result, lesions=stable))
    assert facts["counts"]["stable"] == len(stable)
    assert (facts["volume_mm3"]["gain"], facts["volume_mm3"]["loss"]) == (0, 0)
    assert facts["volume_mm3"]["assessed"] > 1e6
