# SPDX-License-Identifier: Apache-2.0
"""`train.yaml` and its supplements run at their smallest, together, broken off and from given weights."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import yaml
from ignite.engine import Events
from monai.bundle import ConfigWorkflow
from monai.handlers import MLFlowHandler
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from monai_microchange._shipped import shipped_bundle
from monai_microchange.data import LesionBank
from monai_microchange.data.datalist import sample_datalist
from monai_microchange.enums import Anatomy, ChangeLabel
from monai_microchange.export import write_nifti
from monai_microchange.networks.weights import file_sha256, training_inputs, training_record, with_weights

SIZE = 40
PARTS = ("train", "validate")
WHITE_BALL = {
    "prepare_scan": {
        "_target_": "Compose",
        "transforms": [
            {
                "_target_": "monai_microchange.data.ReadScand",
                "keys": ["image", "anatomy", "brain"],
                "root": "@data_root",
            },
            {"_target_": "EnsureTyped", "keys": ["image", "anatomy", "brain"], "track_meta": False},
        ],
    }
}
"""Stands in for the anatomy network, which knows heads alone: its answer comes from files."""


@pytest.fixture
def data_root(tmp_path):
    """A ball of white matter 32 mm wide, and a bank of boxes."""
    place = np.indices((SIZE, SIZE, SIZE)) - (SIZE - 1) / 2
    texture = 1 + 0.2 * np.sin(place[0] / 2) * np.cos(place[1] / 3)
    ball = (place**2).sum(axis=0) < 16**2
    write_nifti(tmp_path / "scan.nii.gz", np.where(ball, 100 * texture, 0).astype(np.float32), np.eye(4))
    write_nifti(tmp_path / "white.nii.gz", (ball * int(Anatomy.WHITE_MATTER)).astype(np.uint8), np.eye(4))
    shapes = [(i, j, k) for i in (2, 3) for j in (2, 3, 4) for k in (2, 3)]
    volumes = np.array([np.prod(shape) for shape in shapes])
    np.savez(
        tmp_path / "shapes.npz",
        bits=np.packbits(np.ones(volumes.sum(), bool)),
        n_bits=volumes.sum(),
        offset=np.concatenate([[0], np.cumsum(volumes)]),
        shape=np.array(shapes),
        volume_mm3=volumes,
    )
    return tmp_path


@pytest.fixture
def settings(change_bundle, data_root):
    """The training at its smallest: two epochs of one step; plain values, so that a file can hold them."""
    scan = {"image": "scan.nii.gz", "anatomy": "white.nii.gz", "brain": "white.nii.gz", "thickness_mm": 1.0}
    return {
        **WHITE_BALL,
        "bundle_root": str(change_bundle),
        "ckpt_dir": str(data_root / "weights"),
        "data_root": str(data_root),
        "lesion_shapes": str(data_root / "shapes.npz"),
        "scans": [scan],
        "steps_per_epoch": 1,
        "max_epochs": 2,
        "batch_size": 1,
        "block": [32, 32, 32],
        "patch": [16, 16, 16],
        "patches_per_draw": 2,
        "validation_draws": 2,
        "num_workers": 0,
        "device": "$torch.device('cpu')",
        "network_def#channels": [4, 4, 8, 8],
        "train#log#every_steps": 1,
    }


def configs(bundle, *names):
    return [str(bundle / "configs" / name) for name in names]


def workflow(bundle, settings, *names, **more):
    files = configs(bundle, "train.yaml", *names)
    return ConfigWorkflow(config_file=files, logging_file=False, workflow_type=None, **settings, **more)


def run(training):
    training.initialize()
    training.run()
    return training.parser.get_parsed_content("train#trainer")


def command(bundle, settings, folder, *names):
    """What follows `python -m monai.bundle run`."""
    (folder / "smallest.yaml").write_text(yaml.safe_dump(settings))
    files = [*configs(bundle, "train.yaml", *names), str(folder / "smallest.yaml")]
    return ["-m", "monai.bundle", "run", "--config_file", str(files)]


def weights(folder):
    return torch.load(folder / "model.pt", weights_only=True)["model"]


def curve(folder, name="loss"):
    return [event.value for event in EventAccumulator(str(folder / "tensorboard")).Reload().Scalars(name)]


def test_two_epochs_leave_weights_that_inference_can_load(
    change_bundle, data_root, settings, elsewhere, any_seed, read_config
):
    trainer = run(workflow(change_bundle, settings))
    folder = data_root / "weights"
    assert (trainer.state.epoch, trainer.state.iteration) == (2, 2)
    assert sorted(path.name for path in folder.iterdir()) == ["model.pt", "tensorboard"]
    assert list(elsewhere.iterdir()) == []
    parser = read_config(change_bundle, "inference.yaml")
    parser["network_def#channels"] = [4, 4, 8, 8]
    with_weights(parser.get_parsed_content("network_def"), folder / "model.pt")
    assert training_inputs(folder / "model.pt") == {
        name: file_sha256(data_root / name) for name in ("scan.nii.gz", "white.nii.gz", "shapes.npz")
    }
    recorded = training_record(folder / "model.pt")["settings"]
    decisive = {"fold", "dropout", "patch", "block", "ema_decay", "warmup_steps", "weight_decay"}
    assert decisive <= set(recorded)
    assert (recorded["patch"], recorded["fold"]) == ([16, 16, 16], None)


def test_tensorboard_shows_numbers_and_pictures(change_bundle, data_root, settings, elsewhere, any_seed):
    run(workflow(change_bundle, settings))
    events = EventAccumulator(str(data_root / "weights" / "tensorboard")).Reload()
    terms = {"loss", "loss_cross_entropy", "loss_dice"}
    scored = {"validation/loss", "validation/dice_gain", "validation/dice_loss"}
    assert set(events.Tags()["scalars"]) == {*terms, *scored, "learning_rate", "gradient_norm", "data_wait_share"}
    assert np.isfinite(curve(data_root / "weights")).all()
    (picture,) = events.Images("validation/patch_0")
    assert (picture.width, picture.height) == (5 * 16 + 4, 16)


def test_a_broken_run_goes_on(change_bundle, data_root, settings, elsewhere, any_seed):
    class PowerCut(Exception):
        pass

    def cut():
        raise PowerCut

    broken = workflow(change_bundle, settings)
    broken.initialize()
    trainer = broken.parser.get_parsed_content("train#trainer")
    trainer.add_event_handler(Events.EPOCH_STARTED(once=2), cut)
    with pytest.raises(RuntimeError, match="training_run") as error:
        broken.run()
    assert isinstance(error.value.__cause__, PowerCut)
    assert (data_root / "weights" / "resume.pt").is_file()
    resumed, epochs = workflow(change_bundle, settings), []
    resumed.initialize()
    trainer = resumed.parser.get_parsed_content("train#trainer")
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda: epochs.append(trainer.state.epoch))
    resumed.run()
    assert epochs == [2]
    assert not (data_root / "weights" / "resume.pt").exists()


def test_the_draw_of_a_training_pair(change_bundle, settings, elsewhere, any_seed):
    """Four channels, and a label that knows every direction."""
    training = workflow(change_bundle, {**settings, "patches_per_draw": 3})
    training.initialize()
    draws = training.parser.get_parsed_content("train#draws")
    one, other = draws[0], draws[1]
    assert len(one) == 3
    for patch in one:
        assert patch["image"].shape == (4, 16, 16, 16)
        assert patch["label"].shape == (1, 16, 16, 16)
        assert set(patch["label"].unique().tolist()) <= {
            ChangeLabel.NONE,
            ChangeLabel.GAIN,
            ChangeLabel.LOSS,
            ChangeLabel.UNKNOWN,
        }
        assert torch.isfinite(patch["image"]).all()
    assert not torch.equal(one[0]["image"], other[0]["image"])


def test_what_a_draw_labels_as_gain_is_brighter_in_the_followup(change_bundle, settings, elsewhere, any_seed):
    """With an acquisition that does no harm; so whatever turns the scans turns the label too."""
    more = {**settings, "draw_from_scan#transforms#1#severity": 0.0}
    training = workflow(change_bundle, more)
    training.initialize()
    draws = training.parser.get_parsed_content("train#draws")
    patches = [patch for number in range(6) for patch in draws[number]]
    # the first channel of each visit: standardised over the brain
    rises = torch.stack([patch["image"][2] - patch["image"][0] for patch in patches])
    labels = torch.stack([patch["label"][0] for patch in patches])
    for code, sign in ((ChangeLabel.GAIN, 1), (ChangeLabel.LOSS, -1)):
        rise = sign * rises[labels == code]
        assert rise.mean() > 0
        assert (rise > 0).float().mean() > 0.8


def test_a_label_that_nobody_judged_costs_nothing(change_bundle, settings, elsewhere, any_seed):
    training = workflow(change_bundle, settings)
    training.initialize()
    draw, loss = (training.parser.get_parsed_content(name) for name in ("draw_patches", "train#loss_function"))
    scan = torch.rand(1, 20, 20, 20)
    unknown = torch.full((1, 20, 20, 20), int(ChangeLabel.UNKNOWN), dtype=torch.uint8)
    patches = draw({"baseline": scan, "followup": scan, "brain": torch.ones_like(unknown), "label": unknown})
    assert len(patches) == 2
    label = torch.stack([patch["label"] for patch in patches])
    assert float(loss([torch.rand(2, 3, 16, 16, 16)], label)) == 0


def test_a_fold_is_held_out(change_bundle, settings, sample, elsewhere, any_seed):
    pair = sample_datalist()[0]
    pairs = [{**pair, "name": f"case{fold}", "fold": fold} for fold in range(3)]
    parser = workflow(change_bundle, {**settings, "pairs": pairs, "fold": 1}).parser
    names = {part: [record["name"] for record in parser.get_parsed_content(f"{part}#pairs")] for part in PARTS}
    assert names == {"train": ["case0", "case2"], "validate": ["case1"]}


def test_the_first_process_alone_logs_to_mlflow(change_bundle, settings, elsewhere, any_seed):
    """Where MLflow is not installed, its handler cannot even be made."""
    second = {
        "mlflow_uri": "sqlite:///mlflow.db",
        "batch_size": 2,
        "train#numbers#rank": 1,
        "train#numbers#processes": 2,
    }
    training = workflow(change_bundle, {**settings, **second})
    training.initialize()
    handlers = training.parser.get_parsed_content("train#handlers")
    assert not any(isinstance(handler, MLFlowHandler) for handler in handlers)


def test_validation_draws_are_not_learnt_from(change_bundle, settings, elsewhere, any_seed):
    training = workflow(change_bundle, settings)
    training.initialize()
    learnt, scored = (training.parser.get_parsed_content(name)[0] for name in ("train#draws", "validate#draws"))
    assert not torch.equal(learnt[0]["image"], scored[0]["image"])


def test_finetuning_starts_from_given_weights(change_bundle, data_root, settings, elsewhere, any_seed):
    run(workflow(change_bundle, settings))
    given = data_root / "weights" / "model.pt"
    # scans in place of pairs, whose alignment takes longer
    more = {**settings, "start": str(given), "pair_share": 0.0, "ckpt_dir": str(data_root / "later")}
    later = workflow(change_bundle, more, "finetune.yaml")
    later.initialize()
    network = later.parser.get_parsed_content("network")
    for name, value in weights(data_root / "weights").items():
        assert torch.equal(network.state_dict()[name], value)
    later.run()
    assert later.parser.get_parsed_content("train#optimizer").defaults["lr"] == pytest.approx(0.0003)
    record = training_record(data_root / "later" / "model.pt")
    assert record["started_from_sha256"] == file_sha256(given)
    assert record["inputs"] == training_inputs(given)
    assert any(
        not torch.equal(weights(data_root / "later")[name], value) for name, value in weights(given.parent).items()
    )


@pytest.mark.slow
def test_the_sample_is_learnt_from_as_scan_and_as_labelled_pair(
    change_bundle, data_root, settings, sample, elsewhere, any_seed, monkeypatch
):
    """With the anatomy network and the alignment, half of the draws each; prepared once, then kept for fine-tuning."""
    # even below the working directory a pair's files are not named
    monkeypatch.chdir(sample)
    del settings["prepare_scan"]
    scan = {"image": str(sample / "baseline.nii.gz"), "thickness_mm": 3.0}
    more = {
        **settings,
        "scans": [scan],
        "pairs": sample_datalist(),
        "cache_dir": str(data_root / "kept"),
        "batch_size": 2,
    }
    trainer = run(workflow(change_bundle, more))
    assert trainer.state.iteration == 2
    learnt = training_inputs(data_root / "weights" / "model.pt")
    files = [*(sample / f"{name}.nii.gz" for name in ("baseline", "followup", "truth")), data_root / "shapes.npz"]
    assert set(learnt.values()) == {file_sha256(file) for file in files}
    assert set(learnt) == {"file 1", "pair 1", "pair 1 (2)", "pair 1 (3)", "shapes.npz"}
    assert len(list((data_root / "kept").iterdir())) == 2
    for key in ("data_root", "lesion_shapes", "scans"):
        del more[key]
    more |= {"start": str(data_root / "weights" / "model.pt"), "ckpt_dir": str(data_root / "later")}
    later = workflow(change_bundle, more, "finetune.yaml")
    assert run(later).state.iteration == 2
    assert set(training_inputs(data_root / "later" / "model.pt")) == set(learnt)
    (source,) = later.parser.get_parsed_content("train#draws").sources
    pair = source.prepared[0]
    assert len(list((data_root / "kept").iterdir())) == 2
    assert set(pair) == {"baseline", "followup", "anatomy", "brain", "label", "thickness_mm"}
    assert set(pair["label"].unique().tolist()) == {0, 1, 2}


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(change_bundle, data_root, settings, elsewhere, any_seed):
    more = {**settings, "batch_size": 2, "dropout": 0.0, "steps_per_epoch": 3, "ckpt_dir": str(data_root / "one")}
    run(workflow(change_bundle, more))
    more["ckpt_dir"] = str(data_root / "two")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*torchrun, *command(change_bundle, more, data_root, "multi_gpu_train.yaml")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = curve(data_root / "one"), curve(data_root / "two")
    assert len(one) == 6
    # bfloat16 rounds other sums otherwise
    assert two == pytest.approx(one, rel=0.005)
    assert curve(data_root / "two", "gradient_norm")[0] == pytest.approx(
        curve(data_root / "one", "gradient_norm")[0], rel=0.005
    )
    assert curve(data_root / "two", "validation/loss") == pytest.approx(
        curve(data_root / "one", "validation/loss"), rel=0.005
    )
    assert done.stderr.count("epoch 2/2") + done.stdout.count("epoch 2/2") == 1


@pytest.mark.slow
def test_a_killed_run_ends_as_if_it_had_not_been(change_bundle, data_root, settings, elsewhere, any_seed):
    """SIGKILL as soon as there is something to go on from, in the middle of an epoch."""
    more = {**settings, "steps_per_epoch": 4, "save_every_s": 0, "num_workers": 1, "ckpt_dir": str(data_root / "whole")}
    run(workflow(change_bundle, more))
    more["ckpt_dir"] = str(data_root / "killed")
    resume = data_root / "killed" / "resume.pt"
    process = subprocess.Popen([sys.executable, *command(change_bundle, more, data_root)], stdout=subprocess.DEVNULL)
    while not resume.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = torch.load(resume, weights_only=True)["state"]["trainer"]["iteration"]
    assert 0 < done < 8
    trainer = run(workflow(change_bundle, more))
    assert trainer.state.iteration == 8
    for name, value in weights(data_root / "whole").items():
        torch.testing.assert_close(weights(data_root / "killed")[name], value)


def test_the_anatomy_network_trains_on_label_maps(tmp_path, elsewhere, any_seed):
    """A head of white matter (2) in CSF (24) in skin (530), in FreeSurfer's numbers."""
    distance = np.linalg.norm(np.indices((48, 48, 48)) - 23.5, axis=0)
    labels = np.select([distance < 12, distance < 15, distance < 20], [2, 24, 530], 0).astype(np.int16)
    (tmp_path / "head_label_maps").mkdir()
    write_nifti(tmp_path / "head_label_maps" / "one.nii.gz", labels, np.diag([2.0, 2.0, 2.0, 1.0]))
    smallest = {
        "bundle_root": str(tmp_path),
        "data_root": str(tmp_path),
        "steps_per_epoch": 1,
        "max_epochs": 2,
        "patch": [32, 32, 32],
        "draw#transforms#2#roi_size": [24, 24, 24],
        "draw#transforms#2#max_roi_size": [40, 40, 40],
        "num_workers": 0,
        "device": torch.device("cpu"),
    }
    training = workflow(shipped_bundle("head_anatomy"), smallest)
    assert run(training).state.iteration == 2
    network = training.parser.get_parsed_content("network_def")
    assert with_weights(network, tmp_path / "runs" / "model.pt") is network
    assert list(training_inputs(tmp_path / "runs" / "model.pt")) == ["head_label_maps/one.nii.gz"]


def test_the_bank_reads_what_this_test_packs(data_root):
    bank = LesionBank(data_root / "shapes.npz", min_volume_mm3=8.0)
    assert all(shape.all() for shape in bank.shapes)
