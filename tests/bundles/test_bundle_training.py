# SPDX-License-Identifier: Apache-2.0
"""`train.yaml` runs for two steps on a made-up head, and goes on where it broke off."""

import math

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow

from monai_microchange._shipped import shipped_bundle
from monai_microchange.data import LesionBank
from monai_microchange.enums import Anatomy
from monai_microchange.export import write_nifti
from monai_microchange.networks.weights import with_weights
from monai_microchange.training import loss_of

SIZE = 40


class BrightIsWhite(torch.nn.Module):
    """Stands in for the anatomy network: white matter where the scan is bright, background elsewhere."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(20.0))

    def forward(self, x):
        logits = torch.zeros(x.shape[0], len(Anatomy), *x.shape[2:])
        logits[:, Anatomy.WHITE_MATTER] = self.scale * (x[:, 0] - 0.3)
        return logits


@pytest.fixture
def data_root(tmp_path):
    """A ball of tissue 32 mm wide, and a bank of boxes."""
    place = np.indices((SIZE, SIZE, SIZE)) - (SIZE - 1) / 2
    texture = 1 + 0.2 * np.sin(place[0] / 2) * np.cos(place[1] / 3)
    head = np.where((place**2).sum(axis=0) < 16**2, 100 * texture, 0).astype(np.float32)
    write_nifti(tmp_path / "scan.nii.gz", head, np.eye(4))
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


def workflow(bundle, data_root, **more):
    """The training at its smallest: two epochs of one step."""
    return ConfigWorkflow(
        config_file=str(bundle / "configs" / "train.yaml"),
        logging_file=False,
        workflow_type=None,
        **{
            "bundle_root": str(bundle),
            "ckpt_dir": str(data_root / "weights"),
            "data_root": str(data_root),
            "scans": [{"image": "scan.nii.gz", "thickness_mm": 1.0}],
            "lesion_bank#path": str(data_root / "shapes.npz"),
            "anatomy_def": BrightIsWhite(),
            "steps_per_epoch": 1,
            "max_epochs": 2,
            "block": [32, 32, 32],
            "patch": [16, 16, 16],
            "patches_per_pair": 1,
            "num_workers": 0,
            "device": torch.device("cpu"),
            "network_def#channels": [4, 4, 8, 8],
            **more,
        },
    )


def trainer_of(training):
    return training.parser.get_parsed_content("train#trainer")


def test_two_steps_leave_weights_that_inference_can_load(change_bundle, data_root, elsewhere, any_seed, read_config):
    training = workflow(change_bundle, data_root)
    training.initialize()
    before = [p.detach().clone() for p in training.parser.get_parsed_content("network_def").parameters()]
    training.run()
    trainer = trainer_of(training)
    assert (trainer.state.epoch, trainer.state.iteration) == (2, 2)
    assert math.isfinite(loss_of(trainer.state.output))
    assert [path.name for path in (data_root / "weights").iterdir()] == ["model.pt"]
    assert list(elsewhere.iterdir()) == []
    parser = read_config(change_bundle, "inference.yaml")
    parser["network_def#channels"] = [4, 4, 8, 8]
    network = with_weights(parser.get_parsed_content("network_def"), data_root / "weights" / "model.pt")
    assert any(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_a_broken_run_goes_on(change_bundle, data_root, elsewhere, any_seed):
    class PowerCut(Exception):
        pass

    broken = workflow(change_bundle, data_root)
    broken.initialize()

    @trainer_of(broken).on(Events.EPOCH_STARTED(once=2))
    def cut(engine):
        raise PowerCut

    with pytest.raises(RuntimeError, match="run_or_resume") as error:
        broken.run()
    assert isinstance(error.value.__cause__, PowerCut)
    assert (data_root / "weights" / "resume.pt").is_file()

    resumed, epochs = workflow(change_bundle, data_root), []
    resumed.initialize()
    trainer_of(resumed).add_event_handler(Events.EPOCH_STARTED, lambda engine: epochs.append(engine.state.epoch))
    resumed.run()
    assert epochs == [2]
    assert trainer_of(resumed).state.iteration == 2
    assert [path.name for path in (data_root / "weights").iterdir()] == ["model.pt"]


def test_the_draw_of_a_training_pair(change_bundle, data_root, elsewhere, any_seed):
    """Four channels, a label of none, gain and loss, and a scan that is read and labelled once only."""
    training = workflow(change_bundle, data_root, patches_per_pair=3)
    training.initialize()
    dataset = training.parser.get_parsed_content("train#dataset")
    one, other = dataset[0], dataset[0]
    assert len(one) == 3
    for patch in one:
        assert patch["image"].shape == (4, 16, 16, 16)
        assert patch["label"].shape == (1, 16, 16, 16)
        assert set(patch["label"].unique().tolist()) <= {0.0, 1.0, 2.0}
        assert torch.isfinite(patch["image"]).all()
    assert not torch.equal(one[0]["image"], other[0]["image"])


def test_the_anatomy_network_trains_on_label_maps(tmp_path, elsewhere, any_seed):
    """A head of white matter (2) in CSF (24) in skin (530), in FreeSurfer's numbers."""
    distance = np.linalg.norm(np.indices((48, 48, 48)) - 23.5, axis=0)
    labels = np.select([distance < 12, distance < 15, distance < 20], [2, 24, 530], 0).astype(np.int16)
    (tmp_path / "head_label_maps").mkdir()
    write_nifti(tmp_path / "head_label_maps" / "one.nii.gz", labels, np.diag([2.0, 2.0, 2.0, 1.0]))
    training = ConfigWorkflow(
        config_file=str(shipped_bundle("head_anatomy") / "configs" / "train.yaml"),
        logging_file=False,
        workflow_type=None,
        **{
            "bundle_root": str(tmp_path),
            "data_root": str(tmp_path),
            "steps_per_epoch": 1,
            "max_epochs": 2,
            "patch": [32, 32, 32],
            "drawn#transforms#2#roi_size": [24, 24, 24],
            "drawn#transforms#2#max_roi_size": [40, 40, 40],
            "train#dataloader#num_workers": 0,
            "device": torch.device("cpu"),
        },
    )
    training.initialize()
    training.run()
    trainer = trainer_of(training)
    assert trainer.state.iteration == 2
    assert math.isfinite(loss_of(trainer.state.output))
    network = training.parser.get_parsed_content("network_def")
    assert with_weights(network, tmp_path / "runs" / "model.pt") is network


def test_the_bank_reads_what_this_test_packs(data_root):
    bank = LesionBank(data_root / "shapes.npz", min_volume_mm3=8.0)
    assert all(shape.all() for shape in bank.shapes)
