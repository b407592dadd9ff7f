# SPDX-License-Identifier: Apache-2.0
"""The parts of the training benchmark: networks of one size, turns, and shares of time, without a training."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from monai_microchange.networks.nets import MicroChangeNet

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """The script, which is in no package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("training")


class Sleeper:
    """Stands for a network that is trained, and notes its turns."""

    name, parameters = "sleeper", 5

    def __init__(self, turns, number):
        self.turns, self.number, self.seconds = turns, number, []

    def step(self, batch):
        self.turns.append(self.number)
        return 0.5


def test_the_other_network_is_as_large(script):
    ours = MicroChangeNet(3, 4, channels=(8, 16, 24))
    target = script.n_parameters(ours)
    other = script.equally_large(lambda f: script.DynUNetScales(4, f, 2), (8, 16, 24), target=target)
    assert abs(script.n_parameters(other) / target - 1) <= 0.05
    scales = other.train()(torch.rand(1, 4, 16, 16, 16))
    assert [scale.shape for scale in scales] == [(1, 3, 16, 16, 16)] * 2
    with pytest.raises(ValueError, match="no widths give 1 parameters"):
        script.equally_large(lambda f: script.DynUNetScales(4, f, 2), (8, 16, 24), target=1)


def test_networks_take_turns_and_the_warm_up_does_not_count(script):
    turns = []
    both = [Sleeper(turns, 0), Sleeper(turns, 1)]
    assert script.take_turns(both, [{"label": torch.zeros(4, 1)}] * 3, warm_up=1) == 4
    assert turns == [1, 0, 0, 1, 1, 0]
    assert [len(one.seconds) for one in both] == [2, 2]


def test_the_share_of_waiting_is_that_of_the_clock(script, monkeypatch):
    """Each batch takes 1 s to come and 3 s to learn from; the first, slower one is warm-up."""
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)
    monkeypatch.setattr(script, "time", clock)

    def batches():
        for seconds in (50, 1, 1):
            clock.now += seconds
            yield {}

    class Learner:
        def step(self, batch):
            clock.now += 3

    assert script.waiting_share(Learner(), batches(), warm_up=1) == pytest.approx(2 / 8)


def test_the_table_has_speeds_and_ratios(script):
    rows = [SimpleNamespace(name=name, parameters=7, seconds=[seconds]) for name, seconds in (("a", 0.5), ("b", 1.0))]
    assert script.table(rows, patches=4).splitlines()[2:] == [
        "| a | 7 | 0.500 | 8.00 | 2.00 |",
        "| b | 7 | 1.000 | 4.00 | 1.00 |",
    ]


def test_without_data_it_says_so(script, monkeypatch, capsys):
    monkeypatch.delenv("MICROCHANGE_DATA", raising=False)
    assert script.main([]) == 0
    assert "Skipped: neither --data nor MICROCHANGE_DATA" in capsys.readouterr().out
