# SPDX-License-Identifier: Apache-2.0
"""Loading of trained weights."""

import hashlib
from pathlib import Path
from pickle import UnpicklingError
from typing import TypeVar

import torch

__all__ = ["file_sha256", "with_weights"]

Network = TypeVar("Network", bound=torch.nn.Module)


def with_weights(network: Network, path: str | Path, device: str | torch.device = "cpu") -> Network:
    """The network with weights from a file, on a device, ready to be used.

    Args:
        network: network whose parameters are replaced.
        path: file with a state dict, or with one under the key `model`; tensors alone, no pickled code.
        device: where the network goes.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file holds no weights, or those of another network.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: expected a file with trained weights, found none")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(state.get("model", state))
    except (RuntimeError, AttributeError, EOFError, ValueError, UnpicklingError) as error:
        raise ValueError(f"{path}: expected weights of {type(network).__name__}; got {str(error)[:300]}") from error
    return network.to(device).eval()


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
