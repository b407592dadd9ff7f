# SPDX-License-Identifier: Apache-2.0
"""A run goes on wherever it broke off, as if it had not, and leaves weights with a record."""

import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ignite.engine import Events

import monai_microchange
from monai_microchange.networks.weights import start_from, training_inputs, training_record, with_weights

PARTS = str(Path(__file__).with_name("conftest.py"))
KILLED = f"""
import os, runpy, signal, sys
from ignite.engine import Events
parts = runpy.run_path({PARTS!r})["make_run"](sys.argv[1], save_every_s=0.0)
kill = lambda: os.kill(os.getpid(), signal.SIGKILL)
parts.trainer.add_event_handler(Events.ITERATION_STARTED(once=int(sys.argv[2])), kill)
parts.run.run()
"""


class PowerCut(Exception):
    pass


def cut(engine):
    raise PowerCut


def weights(folder):
    return torch.load(folder / "model.pt", weights_only=True)["model"]


def test_uninterrupted_run_leaves_its_average(tmp_path, toy_run):
    parts, before_epochs = toy_run(tmp_path / "new"), []
    resume = tmp_path / "new" / "resume.pt"
    parts.trainer.add_event_handler(Events.EPOCH_STARTED, lambda: before_epochs.append(resume.exists()))
    parts.run.run()
    assert before_epochs == [False, True, True, True]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model.pt"]
    for name, value in parts.ema.module.state_dict().items():
        assert torch.equal(weights(tmp_path / "new")[name], value)
        assert not torch.equal(parts.network.state_dict()[name], value)


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize(
    ("iteration", "save_every_s", "goes_on_at"), [(5, 600, 4), (7, 600, 7), (12, 600, 10), (6, 0, 6)]
)
def test_resumed_run_equals_an_uninterrupted_one(tmp_path, toy_run, iteration, save_every_s, goes_on_at, num_workers):
    """Broken before a step, it goes on after the last epoch of three steps, or right there if each step was saved."""
    toy_run(tmp_path / "whole").run.run()
    broken = toy_run(tmp_path / "cut", save_every_s=save_every_s, num_workers=num_workers)
    broken.trainer.add_event_handler(Events.ITERATION_STARTED(once=iteration), cut)
    with pytest.raises(PowerCut):
        broken.run.run()
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["resume.pt"]
    resumed, steps = toy_run(tmp_path / "cut", num_workers=num_workers), []
    resumed.trainer.add_event_handler(Events.ITERATION_STARTED, lambda engine: steps.append(engine.state.iteration))
    resumed.run.run()
    assert steps == list(range(goes_on_at, 13))
    assert resumed.trainer.state.epoch == 4
    for name, value in weights(tmp_path / "whole").items():
        assert torch.equal(weights(tmp_path / "cut")[name], value)


def test_a_killed_process_goes_on(tmp_path, toy_run):
    toy_run(tmp_path / "whole").run.run()
    killed = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED, str(tmp_path / "cut"), "8"], env={**os.environ}
    )
    assert killed.returncode == -signal.SIGKILL
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["resume.pt"]
    resumed, steps = toy_run(tmp_path / "cut"), []
    resumed.trainer.add_event_handler(Events.ITERATION_STARTED, lambda engine: steps.append(engine.state.iteration))
    resumed.run.run()
    assert steps[0] == 8
    for name, value in weights(tmp_path / "whole").items():
        torch.testing.assert_close(weights(tmp_path / "cut")[name], value)


def test_run_broken_in_its_first_epoch_starts_again(tmp_path, toy_run):
    broken = toy_run(tmp_path)
    broken.trainer.add_event_handler(Events.ITERATION_STARTED(once=2), cut)
    with pytest.raises(PowerCut):
        broken.run.run()
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_other_settings_does_not_go_on(tmp_path, toy_run):
    broken = toy_run(tmp_path)
    broken.trainer.add_event_handler(Events.EPOCH_STARTED(once=2), cut)
    with pytest.raises(PowerCut):
        broken.run.run()
    with pytest.raises(ValueError, match=r"resume\.pt: expected this run .*\(seed was 5 and is 6\)"):
        toy_run(tmp_path, settings={"seed": 6}).run.run()
    with pytest.raises(ValueError, match=r"\(scan\.nii\.gz was 00ff and is 11ee, b\.nii was None and is 22dd\)"):
        toy_run(tmp_path, inputs={"scan.nii.gz": "11ee", "b.nii": "22dd"}).run.run()
    torch.save(broken.network.state_dict(), tmp_path / "start.pt")
    with pytest.raises(ValueError, match=r"\(start was None and is [0-9a-f]{64}\)"):
        toy_run(tmp_path, started_from=tmp_path / "start.pt").run.run()
    other = toy_run(tmp_path)
    other.network.conv = torch.nn.Conv2d(1, 3, 1)
    with pytest.raises(ValueError, match=r"resume\.pt: expected a run of this network"):
        other.run.run()


@pytest.mark.parametrize(
    "content", [b"", b"no weights", b"(\x94p3)", b"\x80\x02" + b"M", b"\x80\x02" + b"G\x00", b"PK\x03\x04"]
)
def test_a_damaged_file_is_named(tmp_path, toy_run, content):
    (tmp_path / "resume.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"resume\.pt: expected what a run leaves .* delete the file"):
        toy_run(tmp_path).run.run()


def test_a_file_of_something_else_is_named(tmp_path, toy_run):
    torch.save({"state": {}}, tmp_path / "resume.pt")
    with pytest.raises(ValueError, match=r"got KeyError: 'facts'; delete the file"):
        toy_run(tmp_path).run.run()


def test_the_record_says_what_was_learnt_from(tmp_path, toy_run):
    toy_run(tmp_path).run.run()
    record = training_record(tmp_path / "model.pt")
    assert training_inputs(tmp_path / "model.pt") == record["inputs"] == {"scan.nii.gz": "00ff"}
    assert record["settings"] == {"seed": 5}
    assert (record["steps"], record["device"]) == (12, "cpu")
    assert record["versions"]["monai_microchange"] == monai_microchange.__version__
    assert record["seconds"] > 0


def test_seconds_of_all_parts_of_a_run_count(tmp_path, toy_run):
    broken = toy_run(tmp_path)
    broken.trainer.add_event_handler(Events.EPOCH_STARTED(once=2), cut)
    with pytest.raises(PowerCut):
        broken.run.run()
    saved = torch.load(tmp_path / "resume.pt", weights_only=True)
    torch.save({**saved, "seconds": 1000.0}, tmp_path / "resume.pt")
    toy_run(tmp_path).run.run()
    assert training_record(tmp_path / "model.pt")["seconds"] > 1000


def test_a_later_training_starts_from_given_weights_and_keeps_their_inputs(tmp_path, toy_run):
    toy_run(tmp_path / "first").run.run()
    given = tmp_path / "first" / "model.pt"
    later = toy_run(tmp_path / "later", inputs={"pair.nii.gz": "11ee"}, started_from=given)
    start_from(later.network, given)
    for name, value in weights(tmp_path / "first").items():
        assert torch.equal(later.network.state_dict()[name], value)
    later.run.run()
    assert training_inputs(tmp_path / "later" / "model.pt") == {"pair.nii.gz": "11ee", "scan.nii.gz": "00ff"}


def test_inputs_that_are_not_all_known_are_not_given(tmp_path, toy_run):
    plain = tmp_path / "plain.pt"
    torch.save(toy_run(tmp_path).network.state_dict(), plain)
    assert training_record(plain) is None
    with pytest.raises(ValueError, match=r"plain\.pt: expected the hashes .*got no record"):
        training_inputs(plain)
    toy_run(tmp_path / "later", started_from=plain).run.run()
    with pytest.raises(ValueError, match=r"model\.pt: expected the hashes .*got those of a later training alone"):
        training_inputs(tmp_path / "later" / "model.pt")


def test_weights_of_a_run_can_be_used(tmp_path, toy_run):
    toy_run(tmp_path).run.run()
    network = runpy.run_path(PARTS)["Toy"]()
    assert not with_weights(network, tmp_path / "model.pt").training
    torch.testing.assert_close(network.state_dict(), weights(tmp_path))
