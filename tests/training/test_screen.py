# SPDX-License-Identifier: Apache-2.0
"""What a training shows, with a terminal and without one."""

import io
import re

import pytest
from ignite.engine import Events
from rich.console import Console

from monai_microchange.training import TrainingScreen


def shown(tmp_path, toy_run, *, terminal, **options):
    text = io.StringIO()
    screen = TrainingScreen(console=Console(file=text, force_terminal=terminal, width=100), **options)
    toy_run(tmp_path, handlers=[screen]).run.run()
    return text.getvalue()


def test_a_line_after_each_epoch_without_a_terminal(tmp_path, toy_run):
    lines = shown(tmp_path, toy_run, terminal=False).splitlines()
    assert [line.split(", loss")[0] for line in lines] == [f"epoch {e}/4, step {3 * e}/12" for e in range(1, 5)]
    assert re.fullmatch(r"epoch 4/4, step 12/12, loss \d+\.\d{3}, 0:00:00 left", lines[-1])


def test_lines_within_a_long_epoch(tmp_path, toy_run):
    assert len(shown(tmp_path, toy_run, terminal=False, every_s=0.0).splitlines()) == 12


def test_a_bar_on_a_terminal(tmp_path, toy_run):
    text = shown(tmp_path, toy_run, terminal=True)
    assert "epoch 4/4" in text
    assert "12/12" in text
    assert "left" in text


def test_an_error_passes(tmp_path, toy_run):
    parts = toy_run(tmp_path, handlers=[TrainingScreen(console=Console(file=io.StringIO(), force_terminal=True))])

    def fail():
        raise RuntimeError("disk full")

    parts.trainer.add_event_handler(Events.ITERATION_STARTED(once=2), fail)
    with pytest.raises(RuntimeError, match="disk full"):
        parts.run.run()
