# SPDX-License-Identifier: Apache-2.0
"""The anatomy network comes out of its bundle with its weights."""

import pytest
import torch
from monai.networks.nets import UNet

from monai_microchange.networks.anatomy import load_anatomy_network

CONFIG = """
bundle_root: .
never_read: $os.environ["NO_SUCH_VARIABLE"]
network_def: {_target_: UNet, spatial_dims: 3, in_channels: 1, out_channels: 7, channels: [4, 8], strides: [2]}
"""


@pytest.fixture
def bundle(tmp_path):
    """A bundle as small as can be, and the network whose weights it holds."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "models").mkdir()
    (tmp_path / "configs" / "train.yaml").write_text(CONFIG)
    network = UNet(3, 1, 7, channels=[4, 8], strides=[2]).eval()
    torch.save(network.state_dict(), tmp_path / "models" / "model.pt")
    return tmp_path, network


def test_network_has_the_weights_and_is_ready(bundle):
    folder, network = bundle
    loaded = load_anatomy_network(folder)
    x = torch.rand(1, 1, 8, 8, 8)
    assert not loaded.training
    assert torch.equal(loaded(x), network(x))


def test_folder_may_be_text(bundle):
    assert isinstance(load_anatomy_network(str(bundle[0])), UNet)


def test_missing_weights_are_reported(bundle):
    (bundle[0] / "models" / "model.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.pt"):
        load_anatomy_network(bundle[0])


def test_missing_bundle_is_reported(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train\.yaml"):
        load_anatomy_network(tmp_path / "nowhere")
