# SPDX-License-Identifier: Apache-2.0
"""Loading of trained weights, and of the record of what they were trained on."""

import hashlib
import struct
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar

import torch

__all__ = ["file_sha256", "load_weights", "start_from", "training_inputs", "training_record", "with_weights"]

Network = TypeVar("Network", bound=torch.nn.Module)


def load_weights(network: Network, path: str | Path) -> Network:
    """The network with weights from a file, otherwise as it is.

    Args:
        network: network whose parameters are replaced.
        path: file with a state dict, or with one under the key `model`; tensors and plain values, no pickled code.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file holds no weights, or those of another network.
    """
    state = _read(path, f"weights of {type(network).__name__}")
    try:
        network.load_state_dict(state.get("model", state))
    except (RuntimeError, AttributeError, TypeError) as error:
        raise ValueError(f"{path}: expected weights of {type(network).__name__}; got {str(error)[:300]}") from error
    return network


def with_weights(network: Network, path: str | Path, device: str | torch.device = "cpu") -> Network:
    """The network with weights from a file, on a device, ready to be used; `load_weights` says what can go wrong."""
    return load_weights(network, path).to(device).eval()


def start_from(network: Network, path: str | Path | None, device: str | torch.device = "cpu") -> Network:
    """The network on a device, ready to be trained, from the weights in a file; from its own where that is None."""
    return (network if path is None else load_weights(network, path)).to(device).train()


def training_record(path: str | Path) -> dict[str, Any] | None:
    """What a weights file says of its training (inputs, seed, steps, versions), or None if it says nothing.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file holds no weights.
    """
    state = _read(path, "trained weights")
    record = state.get("training")
    return record if isinstance(record, dict) else None


def training_inputs(path: str | Path) -> dict[str, str]:
    """SHA-256, by name, of every scan and label that the weights in a file learnt from.

    For tests and benchmarks, which must not score what was trained on.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file holds no weights, or does not say, or not of all its training.
    """
    record = training_record(path)
    if record is None or not record.get("inputs_complete", False):
        raise ValueError(
            f"{path}: expected the hashes of all scans and labels that these weights learnt from, got "
            f"{'no record' if record is None else 'those of a later training alone'}; train again to have them"
        )
    return dict(record["inputs"])


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: str | Path, expected: str) -> dict[str, Any]:
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: expected a file with trained weights, found none")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (
        RuntimeError,
        AttributeError,
        EOFError,
        LookupError,
        TypeError,
        ValueError,
        UnpicklingError,
        struct.error,
    ) as error:
        raise ValueError(f"{path}: expected {expected}; got {str(error)[:300]}") from error
    if not isinstance(state, dict):
        raise ValueError(f"{path}: expected {expected}; got a {type(state).__name__}")
    return state
