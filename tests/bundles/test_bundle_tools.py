# SPDX-License-Identifier: Apache-2.0
"""MONAI's own tools on the networks: what goes in and out, and the export of a checkpoint."""

import json

import pytest
import torch
from monai.bundle import ckpt_export, verify_net_in_out

from monai_microchange.networks.weights import with_weights


@pytest.fixture
def checkpoint(bundle, read_config, tmp_path):
    """Random weights, so that the test does not hang on a training."""
    torch.manual_seed(3)
    network = read_config(bundle, "train.yaml").get_parsed_content("network_def")
    torch.save(network.state_dict(), tmp_path / "random.pt")
    return tmp_path / "random.pt"


@pytest.mark.parametrize("n", [1, 2])
def test_the_network_takes_and_gives_what_the_metadata_says(bundle, elsewhere, n):
    configs = bundle / "configs"
    verify_net_in_out(
        "network_def",
        meta_file=str(configs / "metadata.json"),
        config_file=str(configs / "inference.yaml"),
        device="cpu",
        n=n,
    )


def test_wrong_metadata_is_noticed(bundle, elsewhere):
    configs = bundle / "configs"
    override = {"_meta_#network_data_format#outputs#pred#num_channels": 5}
    with pytest.raises(ValueError, match="doesn't match: `5`"):
        verify_net_in_out(
            "network_def",
            meta_file=str(configs / "metadata.json"),
            config_file=str(configs / "inference.yaml"),
            device="cpu",
            **override,
        )


def test_the_exported_network_gives_what_the_eager_one_gives(bundle, checkpoint, elsewhere, read_config):
    ckpt_export(
        "network_def",
        filepath=str(elsewhere / "model.ts"),
        ckpt_file=str(checkpoint),
        config_file=str(bundle / "configs" / "inference.yaml"),
        bundle_root=str(bundle),
    )
    eager = with_weights(read_config(bundle, "inference.yaml").get_parsed_content("network_def"), checkpoint)
    extra = {"metadata.json": ""}
    exported = torch.jit.load(elsewhere / "model.ts", _extra_files=extra)
    # another size than the one of the metadata: the graph must not have it built in
    x = torch.randn(1, next(eager.parameters()).shape[1] * (2 if bundle.name == "ms_lesion_change" else 1), 24, 16, 32)
    with torch.inference_mode():
        torch.testing.assert_close(exported(x), eager(x), atol=1e-5, rtol=1e-5)
    assert (
        json.loads(extra["metadata.json"])["name"] == json.loads((bundle / "configs/metadata.json").read_text())["name"]
    )
