# SPDX-License-Identifier: Apache-2.0
"""The anatomy network of the `head_anatomy` bundle, with its weights."""

from pathlib import Path

import torch
from monai.bundle import ConfigParser

from monai_microchange._shipped import shipped_bundle
from monai_microchange.networks.weights import with_weights

__all__ = ["load_anatomy_network"]


def load_anatomy_network(bundle: str | Path | None = None) -> torch.nn.Module:
    """Build the network of a bundle's `train.yaml` and load its `models/model.pt`.

    Args:
        bundle: folder of the bundle; the one that comes with the package by default.

    Returns:
        Network from (B, 1, *spatial) to logits (B, 7, *spatial) of `Anatomy`, in evaluation mode, on the CPU.

    Raises:
        FileNotFoundError: if the bundle has no weights.
        ValueError: if they are those of another network.
    """
    folder = Path(bundle) if bundle is not None else shipped_bundle("head_anatomy")
    parser = ConfigParser()
    parser.read_config(str(folder / "configs" / "train.yaml"))
    network = parser.get_parsed_content("network_def")
    return with_weights(network, folder / "models" / "model.pt")
