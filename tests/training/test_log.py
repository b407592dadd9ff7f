# SPDX-License-Identifier: Apache-2.0
"""What a training leaves for TensorBoard and MLflow can be read back."""

import importlib.util

import numpy as np
import pytest
from ignite.engine import Engine, Events
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from monai_microchange.training import TrainingLog, mlflow_handler
from monai_microchange.training import log as log_module


@pytest.fixture
def without_extras(monkeypatch):
    monkeypatch.setattr(log_module, "find_spec", lambda name: None)


def test_the_numbers_of_each_step_are_there(tmp_path, toy_run):
    log = TrainingLog(tmp_path / "log", every_steps=2)
    toy_run(tmp_path, handlers=[log]).run.run()
    events = EventAccumulator(str(tmp_path / "log")).Reload()
    assert set(events.Tags()["scalars"]) == {"loss", "learning_rate", "gradient_norm", "data_wait_share"}
    assert [event.step for event in events.Scalars("loss")] == [2, 4, 6, 8, 10, 12]
    assert events.Scalars("learning_rate")[0].value == pytest.approx(0.0275)
    assert all(0 < event.value <= 1 for event in events.Scalars("data_wait_share"))


def test_a_picture_is_there(tmp_path):
    log, engine = TrainingLog(tmp_path), Engine(lambda engine, batch: {"scalars": {}})
    log.attach(engine)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: log.image("patch", np.zeros((3, 5, 7), np.uint8), 4))
    engine.run([0])
    (picture,) = EventAccumulator(str(tmp_path)).Reload().Images("patch")
    assert (picture.step, picture.height, picture.width) == (4, 5, 7)


def test_a_resumed_run_repeats_no_step(tmp_path, toy_run):
    """Broken before step 6, it goes on with step 4."""

    def cut():
        raise InterruptedError

    broken = toy_run(tmp_path / "run", handlers=[TrainingLog(tmp_path / "log", every_steps=1)])
    broken.trainer.add_event_handler(Events.ITERATION_STARTED(once=6), cut)
    with pytest.raises(InterruptedError):
        broken.run.run()
    # readers sort files by the second in their names, and both runs may fall into one
    (first,) = (tmp_path / "log").iterdir()
    first.rename(first.with_name(first.name.replace("tfevents.", "tfevents.0")))
    toy_run(tmp_path / "run", handlers=[TrainingLog(tmp_path / "log", every_steps=1)]).run.run()
    losses = EventAccumulator(str(tmp_path / "log")).Reload().Scalars("loss")
    assert [event.step for event in losses] == list(range(1, 13))


def test_no_folder_no_files(tmp_path, toy_run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toy_run(tmp_path / "run", handlers=[TrainingLog(None)]).run.run()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_what_is_missing_is_named(tmp_path, without_extras):
    with pytest.raises(ImportError, match=r"pip install 'monai-microchange\[train\]'"):
        TrainingLog(tmp_path)
    with pytest.raises(ImportError, match=r"pip install 'monai-microchange\[mlflow\]'"):
        mlflow_handler("sqlite:///runs.db")
    with pytest.raises(ValueError, match="every_steps must be at least 1; got 0"):
        TrainingLog(None, every_steps=0)


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="mlflow, an extra, is not installed")
def test_mlflow_gets_the_same_numbers(tmp_path, toy_run):
    import mlflow

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    toy_run(tmp_path / "run", handlers=[mlflow_handler(uri)]).run.run()
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("ms_lesion_change")
    (run,) = client.search_runs(experiment.experiment_id)
    assert {"loss", "learning_rate", "gradient_norm"} <= set(run.data.metrics)
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "loss")] == list(range(1, 13))
