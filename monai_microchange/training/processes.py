# SPDX-License-Identifier: Apache-2.0
"""Several processes that train one network together, as `torchrun` starts them; or one alone."""

import os

import torch
from torch import distributed

__all__ = ["join_processes", "leave_processes", "local_device", "mean_over_processes", "process_count", "process_rank"]


def local_device() -> torch.device:
    """The GPU of this process, or the CPU where there is none.

    Example:
        >>> local_device().type in ("cpu", "cuda")
        True
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))


def join_processes() -> None:
    """Join the group of processes that `torchrun` started: over NCCL on GPUs, over Gloo on CPUs.

    Raises:
        RuntimeError: if this process was not started by `torchrun`.
    """
    if "RANK" not in os.environ:
        raise RuntimeError(
            "expected to be one of several processes; start them with "
            "`torchrun --nproc_per_node=2 -m monai.bundle run ...`, or leave multi_gpu_train.yaml out"
        )
    device = local_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")


def leave_processes() -> None:
    """Leave the group of processes, if this one is in one."""
    if _together():
        distributed.destroy_process_group()


def process_rank() -> int:
    """Number of this process, from 0.

    >>> process_rank()
    0
    """
    return distributed.get_rank() if _together() else 0


def process_count() -> int:
    """How many processes train together.

    >>> process_count()
    1
    """
    return distributed.get_world_size() if _together() else 1


def mean_over_processes(value: torch.Tensor) -> torch.Tensor:
    """Mean of a tensor over all processes, without gradient; NaN if it is NaN in any of them.

    >>> float(mean_over_processes(torch.tensor(2.0)))
    2.0
    """
    mean = value.detach().clone()
    if _together():
        distributed.all_reduce(mean)
        mean = mean / process_count()
    return mean


def from_first_process(value: object) -> object:
    """What the first process has, in every process."""
    if not _together():
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
