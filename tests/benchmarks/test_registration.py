# SPDX-License-Identifier: Apache-2.0
"""Truth of the registration cases, and tables whose numbers one can work out on paper."""

import importlib
import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from rich.console import Console
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.stats import spearmanr

from monai_microchange._frames import apply_affine

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def load_script(monkeypatch):
    """Import a script of `benchmarks/`, which is no package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def shift(*mm):
    matrix = np.eye(4)
    matrix[:3, 3] = mm
    return matrix


def values_at(scan, points_mm):
    index = apply_affine(np.linalg.inv(scan.affine.numpy()), points_mm)
    return map_coordinates(scan.numpy()[0], index.T, order=1, mode="nearest")


def likeness(case, baseline_to_followup):
    """Rank correlation of grey values at corresponding points: blind to contrast curves."""
    followup = apply_affine(baseline_to_followup, case.brain_points_mm)
    return spearmanr(values_at(case.baseline, case.brain_points_mm), values_at(case.followup, followup)).statistic


@pytest.mark.real
@pytest.mark.parametrize("number", [5, 38])  # a large pose with a cavity and no origin; a small one, 6 mm slices
def test_truth_is_where_the_values_match(load_script, real_data, number):
    case = load_script("_registration_cases").draw_case(number, "tune", real_data)
    truth = case.baseline_to_followup
    assert likeness(case, truth) > 0.5
    for off in (shift(6, 0, 0), shift(0, -6, 0), shift(0, 0, 9)):
        assert likeness(case, truth) > likeness(case, off @ truth)


@pytest.mark.real
def test_case_repeats_and_is_rigid_and_its_points_are_seen(load_script, real_data):
    module = load_script("_registration_cases")
    case, again = (module.draw_case(38, "tune", real_data) for _ in range(2))
    assert torch.equal(case.baseline.as_tensor(), again.baseline.as_tensor())
    assert np.array_equal(case.baseline_to_followup, again.baseline_to_followup)
    rotation = case.baseline_to_followup[:3, :3]
    assert np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
    assert len(case.brain_points_mm) == module.BRAIN_POINTS
    seen = {"baseline": np.eye(4), "followup": case.baseline_to_followup}
    for visit, to_visit in seen.items():
        scan = getattr(case, visit)
        points = apply_affine(to_visit, case.brain_points_mm)
        index = apply_affine(np.linalg.inv(scan.affine.numpy()), points)
        assert ((index >= -0.51) & (index <= np.asarray(scan.shape[1:]) - 0.49)).all()


def test_unknown_case(load_script):
    with pytest.raises(ValueError, match="expected a number from 0 to 39 and a split"):
        load_script("_registration_cases").draw_case(40, "tune", "nowhere")


def test_splits_share_no_head(load_script):
    sources = load_script("_registration_sources").SOURCES
    heads = [
        {"/".join(name.split("/")[:2]) for kind in ("same", "contrasts") for name in sources[split][kind]}
        for split in ("tune", "report")
    ]
    assert not heads[0] & heads[1]


def test_lesion_cavity_and_removed_face_on_paper(load_script):
    import SimpleITK as sitk

    change = load_script("_registration_change")
    sources = load_script("_registration_sources")
    image = sitk.Image([40, 40, 40], sitk.sitkFloat32) + 100.0
    brain = sitk.Image([40, 40, 40], sitk.sitkUInt8)
    brain[10:30, 10:30, 10:30] = 1
    source = sources.Source("cube", {"FLAIR": image}, brain)
    lesion = (np.array([20.0, 20.0, 20.0]), np.ones((6, 6, 6), bool), 0.4)
    painted = change.paint_change(source, "FLAIR", change.VisitChange(lesions=(lesion,)))
    assert painted[20, 20, 20] == pytest.approx(140, abs=1)
    assert painted[12, 20, 20] == 100
    hollow = change.paint_change(source, "FLAIR", change.VisitChange(cavity=(np.array([20.0, 20.0, 20.0]), 6.0)))
    assert hollow[20, 20, 20] == pytest.approx(15, abs=1)
    faceless = change.paint_change(source, "FLAIR", change.VisitChange(defaced=True))
    assert faceless[20, 0, 0] == 0  # in front and below
    assert faceless[20, 39, 20] == 100
    assert image[20, 20, 20] == 100  # the scan itself stays


def test_errors_on_paper(load_script):
    measures = load_script("_registration_measures")
    points = np.array([[0.0, 0, 0], [10, 0, 0]])
    assert measures.point_errors_mm(shift(3, 4, 0), np.eye(4), points).tolist() == [5.0, 5.0]
    double = np.diag([2.0, 1, 1, 1])
    assert measures.point_errors_mm(double, np.eye(4), points).tolist() == [0.0, 10.0]
    assert measures.inverse_consistency_mm(shift(1, 0, 0), shift(-1, 0, 0.5), points) == 0.5


def outcomes(load_script):
    """Case a: both solve it. Case b: only ours does. Case c: both do."""
    outcome = load_script("_registration_measures").Outcome
    ours = [outcome(c, "ours", m, 2 * m, 0.0, 4.0, 6.0) for c, m in (("a", 0.1), ("b", 0.5), ("c", 0.3))]
    lost = outcome("b", "peer", math.inf, math.inf, math.inf, 9.0, 9.0, "no overlap")
    return [*ours, outcome("a", "peer", 0.2, 0.4, 0.02, 8.0, 8.0), lost, outcome("c", "peer", 0.2, 0.4, 0.04, 8.0, 8.0)]


def cells(table):
    text = io.StringIO()
    Console(file=text, width=200).print(table)
    lines = [line for line in text.getvalue().splitlines() if line.strip()]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]


def test_tables_on_paper(load_script):
    measures, found = load_script("_registration_measures"), outcomes(load_script)
    assert measures.solved_by_all(found) == ["a", "c"]
    # ours on a and c: 0.1 and 0.3, so median 0.2 and 95th percentile 0.29
    assert cells(measures.overview_table(found)) == [
        ["ours", "3/3", "0.20", "0.29", "0.40", "0.0000", "4.0", "6.0"],
        ["peer", "2/3", "0.20", "0.20", "0.40", "0.0300", "8.0", "8.0"],
    ]
    row = ["peer", "2", "1", "0", "1.00", "1.45", "1/2", "0.50", "0.75"]
    assert cells(measures.compare_table(found, "ours", ["peer"])) == [row]


def test_real_table(load_script):
    measures = load_script("_registration_measures")
    found = [measures.Outcome("patient01", "ours", 0.25, 0.4, 0.00012, 3.21, 6.44)]
    assert cells(measures.real_table(found)) == [["ours", "0.250", "0.0001", "3.2", "6.4"]]


def test_records_go_on_after_a_kill(load_script, tmp_path):
    measures, path = load_script("_registration_measures"), tmp_path / "found.jsonl"
    lost = outcomes(load_script)[4]
    measures.Records(path).add("synthetic", lost)
    again = measures.Records(path)
    assert measures.Outcome(**again.find("synthetic", "b", "peer")) == lost
    assert again.find("real", "b", "peer") is None


def test_gate_tables(load_script):
    gate = load_script("_registration_gate")
    base = {"method": "brain", "overlap_of_halves": None}
    records = [
        {**base, "group": "two patients", "case": "two patients: p q", "accepted": True},
        {**base, "group": "two patients", "case": "two patients: p r", "accepted": False},
        {**base, "group": "one patient", "case": "one patient: p", "accepted": True, "mean_mm": 0.2},
        {**base, "group": "half-overlapping", "case": "half-overlapping: p 10%", "accepted": False}
        | {"overlap_of_halves": 0.1},
        {**base, "group": "half-overlapping", "case": "half-overlapping: q 10%", "accepted": True, "mean_mm": 4.0}
        | {"overlap_of_halves": 0.1},
    ]
    assert cells(gate.gate_table(records)) == [
        ["two patients", "brain", "refuse", "2", "1", "0", "p q"],
        ["half-overlapping", "brain", "refuse or be right", "2", "1", "1", "q 10%"],
        ["one patient", "brain", "accept", "1", "0", "0", "none"],
    ]
    assert cells(gate.overlap_table(records)) == [["10%", "brain", "1/2", "4.00"]]


def test_gate_measures_a_known_shift_and_refuses_an_empty_scan(load_script):
    gate = load_script("_registration_gate")
    steps = torch.arange(40) - 19.5
    distance = (steps[:, None, None] ** 2 + (steps[:, None] / 1.2) ** 2 + steps**2).sqrt()
    lumps = gaussian_filter(np.random.default_rng(0).normal(size=(40, 40, 40)), 2.0)
    values = (distance < 15) * (1 + 5 * torch.from_numpy(lumps).float()).clamp(0.2, 2)
    affine = torch.diag(torch.tensor([4.0, 4.0, 4.0, 1.0], dtype=torch.float64))
    scan = MetaTensor(values[None], affine=affine)
    moved = MetaTensor(values[None], affine=torch.from_numpy(shift(9, -5, 3)) @ affine)
    pair = gate.GatePair("one patient", "p", scan, moved, shift(9, -5, 3), np.array([[80.0, 80, 80]]))
    record = gate.judge(pair, in_brain=False)
    assert record["accepted"]
    assert record["mean_mm"] < 0.1
    empty = gate.GatePair("two patients", "p q", scan, MetaTensor(torch.zeros(1, 8, 8, 8), affine=affine))
    record = gate.judge(empty, in_brain=False)
    assert not record["accepted"]
    assert record["reason"]


def test_script_says_why_it_skips(load_script, monkeypatch, capsys):
    monkeypatch.delenv("MICROCHANGE_DATA", raising=False)
    assert load_script("registration").main([]) == 0
    assert "Skipped: neither --data nor MICROCHANGE_DATA" in capsys.readouterr().out


def test_script_knows_its_methods(load_script, capsys):
    with pytest.raises(SystemExit, match="2"):
        load_script("registration").main(["--methods", "flirt"])
    assert "unknown methods flirt; there are microchange" in capsys.readouterr().err
