# SPDX-License-Identifier: Apache-2.0
"""Records of what is found in pairs, and the figures made of them."""

import importlib

import numpy as np
import pytest
import torch
from scipy.special import expit

from monai_microchange.enums import Anatomy, ChangeLabel

SHAPE = (40, 40, 40)
NEW, GONE, FALSE = (slice(10, 13),) * 3, (slice(25, 28),) * 3, (slice(10, 13), slice(25, 28), slice(25, 28))


@pytest.fixture
def load_part(monkeypatch, request):
    """Import a part of `benchmarks/`, which is no package."""
    monkeypatch.syspath_prepend(str(request.config.rootpath / "benchmarks"))
    return importlib.import_module


@pytest.fixture
def found(load_part):
    return load_part("_candidates")


@pytest.fixture
def figures(load_part):
    return load_part("_confidence_report")


def pair(*, signed=True, changes=True):
    rng = np.random.default_rng(0)
    scans = rng.normal(5, 1, (2, 1, *SHAPE)).astype(np.float32)
    label = np.zeros((1, *SHAPE), np.uint8)
    if changes:
        label[(0, *NEW)] = ChangeLabel.GAIN if signed else ChangeLabel.CHANGED
        label[(0, *GONE)] = ChangeLabel.LOSS if signed else ChangeLabel.CHANGED
    anatomy = np.full((1, *SHAPE), Anatomy.WHITE_MATTER, np.uint8)
    planted = [{"type": "NEW", "baseline_mm3": 0.0, "followup_mm3": 27.0, "contrast": 0.5, "site": [11, 11, 11]}]
    return {
        "baseline": torch.from_numpy(scans[0]),
        "followup": torch.from_numpy(scans[1]),
        "anatomy": torch.from_numpy(anatomy),
        "brain": torch.ones(1, *SHAPE),
        "label": torch.from_numpy(label),
        "lesions": planted if changes else [],
        "severity": 1.0,
    }


def score(_):
    """Finds what came, and a false one; misses what went."""
    gain, loss = np.zeros((2, *SHAPE))
    gain[NEW], gain[FALSE] = 0.99, 0.7
    return gain, loss


@pytest.mark.parametrize("signed", [True, False])
def test_what_is_found_is_told_from_what_is_not(found, signed, tmp_path):
    found.measure_pair(pair(signed=signed), score, {"kind": "changed"}).write(tmp_path / "x.jsonl")
    (record,) = found.read_records(tmp_path / "x.jsonl")
    assert record.is_true.tolist() == [True, False]
    assert record.judged.tolist() == [True, True]
    assert record.overlap.tolist() == [[27, 27], [27, 0]]
    assert record.truth_mm3.tolist() == [27, 27]
    assert sorted(record.found_by.tolist()) == [-1, 0]
    assert record.truth_voxels == 54
    (planted,) = record.planted
    assert record.found_by[planted["truth"]] == 0


def test_no_record_yet(found, tmp_path):
    assert found.read_records(tmp_path / "none.jsonl") == []


def simulated_records(found, tmp_path):
    """Twenty pairs in which the network finds one change of two, and a fainter false one."""
    path = tmp_path / "records.jsonl"
    for number in range(20):
        kind = "stable" if number < 10 else "changed"
        found.measure_pair(pair(changes=kind == "changed"), score, {"kind": kind, "number": number}).write(path)
    return found.read_records(path)


def test_fit_and_operating_points(found, figures, tmp_path):
    records = simulated_records(found, tmp_path)
    model = figures.fit_confidence(records)
    first = model.curve[0]
    # all is kept: of a stable pair both components are false; of a changed one the new lesion of two is found
    assert (first.confidence, first.false_per_pair, first.sensitivity) == (0.0, 2.0, 0.5)
    false = np.concatenate([model(one.features) for one in figures.of_kind(records, "stable")])
    for point in model.curve:
        assert point.false_per_pair == pytest.approx((false >= point.confidence).sum() / 10)
    stable, changed = figures.of_kind(records, "stable"), figures.of_kind(records, "changed")
    assert figures.count_lesions(model, changed[0], 0.0) == {
        "found": 1,
        "false": 1,
        "missed": 1,
        "dice": pytest.approx(2 * 27 / (54 + 54)),
        "volume_ratio": 1.0,
    }
    assert figures.f1([figures.count_lesions(model, changed[0], 0.0)]) == pytest.approx(0.5)
    assert figures.count_lesions(model, stable[0], 1.0)["false"] == 0
    table = figures.planted_table([(model, 0.0, changed[0]), (model, 1.0, changed[1])])
    assert table.tolist() == [[27.0, 0.5, 1.0], [27.0, 0.5, 0.0]]


def test_bound_of_no_false_lesion_is_the_rule_of_three(figures):
    assert figures.rate_bound(0, 60) == pytest.approx(3 / 60, rel=0.01)


def test_volume_found_by_logistic_regression(figures):
    rng = np.random.default_rng(1)
    volume, contrast = np.exp(rng.uniform(1, 5, 20000)), np.exp(rng.uniform(-2, 0, 20000))
    chance = expit(2 * np.log(volume / 15) + 1.5 * np.log(contrast / 0.5) + np.log(4))
    table = np.column_stack([volume, contrast, rng.random(20000) < chance])
    assert figures.volume_found(table, sensitivity=0.8, contrast=0.5) == pytest.approx(15, rel=0.05)


def test_candidates_are_those_of_the_bundle(found):
    from monai.bundle import ConfigParser

    from monai_microchange._shipped import shipped_bundle
    from monai_microchange.transforms.region import EDGE_MM

    config = ConfigParser.load_config_file(str(shipped_bundle() / "configs" / "inference.yaml"))
    assert (found.THRESHOLD, found.LEAST_PEAK) == (config["threshold"], config["seed_threshold"])
    assert (found.EDGE_MM, found.SPACING_MM[0]) == (EDGE_MM, config["spacing_mm"])
