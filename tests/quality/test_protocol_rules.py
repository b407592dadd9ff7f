# SPDX-License-Identifier: Apache-2.0
"""A table of protocols and the verdicts they lead to, and what the sentences say."""

import numpy as np
import pytest

from monai_microchange.enums import Verdict
from monai_microchange.quality import Acquisition, Comparability, protocol_reasons

FLAIR = {
    "modality": "MR",
    "acquisition_type": "3D",
    "echo_time_ms": 120.0,
    "repetition_time_ms": 9000.0,
    "inversion_time_ms": 2500.0,
    "flip_angle_deg": 90.0,
    "field_strength_t": 3.0,
    "manufacturer_model": "One",
}
CARE, STOP, FINE = Verdict.READ_WITH_CARE, Verdict.DO_NOT_COMPARE, Verdict.COMPARABLE


def acquired(voxel_mm=(1.0, 1.0, 1.0), turn=None, **protocol):
    edges = np.diag(voxel_mm) if turn is None else np.diag(voxel_mm) @ turn.T
    return Acquisition(edges, protocol)


PROTOCOLS = {
    "the same": ({}, FINE, set()),
    "within the limits": (
        {"echo_time_ms": 130.0, "repetition_time_ms": 10000.0, "inversion_time_ms": 2600.0},
        FINE,
        set(),
    ),
    "echo time": ({"echo_time_ms": 90.0}, CARE, {"echo time"}),
    "3D FLAIR of a long echo": ({"echo_time_ms": 390.0}, CARE, {"echo time"}),
    "repetition time": ({"repetition_time_ms": 5000.0}, CARE, {"repetition time"}),
    "inversion time": ({"inversion_time_ms": 2000.0}, CARE, {"inversion time"}),
    "T1 by inversion": ({"inversion_time_ms": 900.0}, STOP, {"inversion time"}),
    "T1 by echo": ({"echo_time_ms": 4.0}, STOP, {"echo time", "weighting"}),
    "flip angle": ({"flip_angle_deg": 15.0}, CARE, {"flip angle"}),
    "field strength": ({"field_strength_t": 1.5}, CARE, {"field strength"}),
    "nominal field": ({"field_strength_t": 2.89}, FINE, set()),
    "2D against 3D": ({"acquisition_type": "2D"}, CARE, {"2D against 3D"}),
    "contrast agent": ({"contrast_agent": "given"}, CARE, {"contrast agent"}),
    "scanner": ({"manufacturer_model": "Two"}, CARE, {"scanner"}),
    "modality": ({"modality": "CT"}, STOP, {"modality"}),
}


@pytest.mark.parametrize("name", PROTOCOLS)
@pytest.mark.parametrize("swapped", [False, True])
def test_protocols(name, swapped):
    change, verdict, about = PROTOCOLS[name]
    pair = [acquired(**FLAIR), acquired(**{**FLAIR, **change})]
    reasons = protocol_reasons(*pair[:: -1 if swapped else 1])
    assert {reason.about for reason in reasons} == about
    assert Comparability(tuple(reasons)).verdict is verdict


def test_silent_headers_are_no_reason():
    assert protocol_reasons(acquired(**FLAIR), acquired()) == []
    zeros = {"echo_time_ms": 0.0, "repetition_time_ms": 0.0, "inversion_time_ms": 0.0}
    assert protocol_reasons(acquired(**FLAIR), acquired(**{**FLAIR, **zeros})) == []


@pytest.mark.parametrize(
    ("one", "other", "about"),
    [
        ((0.7, 0.7, 4.0), (0.7, 0.7, 4.5), set()),
        ((0.7, 0.7, 4.0), (0.7, 0.7, 3.0), {"slice distance"}),
        ((1.0, 1.0, 6.0), (1.0, 1.0, 1.0), {"slice distance"}),
        ((0.5, 0.5, 5.0), (1.0, 1.0, 5.0), {"voxel size in the slice"}),
        ((1.0, 1.0, 4.0), (4.0, 1.0, 1.0), {"slice direction"}),
        ((1.0, 1.0, 1.2), (1.2, 1.0, 1.0), set()),
    ],
)
def test_grids(one, other, about):
    assert {reason.about for reason in protocol_reasons(acquired(one), acquired(other))} == about


def test_sentence_of_slices_says_how_much_and_what_it_means():
    (reason,) = protocol_reasons(acquired((1.0, 1.0, 6.0)), acquired())
    # a ball of 6 mm: pi / 6 * 216
    assert reason.sentence == (
        "Slices of 6.0 mm against 1.0 mm: lesions under about 113 mm3 may appear only in the follow-up."
    )


def test_a_slight_tilt_of_the_slices_is_no_reason():
    angle = np.radians(20)
    tilt = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    assert protocol_reasons(acquired((1, 1, 4)), acquired((1, 1, 4), turn=tilt)) == []


def test_gaps_between_slices():
    thin = acquired((1.0, 1.0, 5.0), slice_thickness_mm=4.0)
    (reason,) = protocol_reasons(acquired((1.0, 1.0, 5.0)), thin)
    assert "gaps of 20% of their distance" in reason.sentence
    # 3D scans are often rebuilt with overlapping slices
    assert protocol_reasons(acquired(), acquired(slice_thickness_mm=2.0)) == []


def test_acquisition_keeps_numbers_only():
    record = acquired((1.0, 1.0, 3.0), **FLAIR, secret="Jane Doe", contrast_agent="given").record()
    assert record["voxel_mm"] == [1.0, 1.0, 3.0]
    assert record["acquisition_type"] == "3D"
    assert set(record) == {"voxel_mm", *FLAIR} - {"modality", "manufacturer_model"}


def test_resolution_along_the_axes_of_a_grid():
    flipped = np.array([[0, 0, -2.0, 0], [2.0, 0, 0, 0], [0, 2.0, 0, 0], [0, 0, 0, 1]])
    assert acquired((0.5, 1.0, 4.0)).resolution_mm(flipped).tolist() == [1.0, 4.0, 0.5]


def test_thresholds_of_both_directions():
    from monai_microchange.quality import THRESHOLDS

    for name, limit in THRESHOLDS.items():
        assert limit.why, name
        if limit.stop is not None:
            assert (limit.stop < limit.care) == limit.low_is_bad, name
        assert limit.verdict(None) is None
        assert limit.verdict(float("nan")) is None
