# SPDX-License-Identifier: Apache-2.0
"""Sums over all processes of a distributed training, through which gradients flow."""

import torch
from torch import distributed

__all__ = ["sum_over_processes"]


def sum_over_processes(local: torch.Tensor) -> torch.Tensor:
    """Add up `local` over the processes, so that a ratio of sums is that of the whole batch and not of one's own part.

    If every process reckons the same loss from these sums, its gradient with respect to the total is the same
    everywhere, and the backward pass needs no communication: each process's own part gets it times the number of
    processes, which the averaging in `DistributedDataParallel` takes back.

    With one process, or where gradients are disabled (so that processes may validate unequal numbers of batches),
    `local` is returned as it is.

    Args:
        local: sums over this process's own samples, the same shape in every process, with history.

    Returns:
        The total, the shape of `local`.

    Example:
        >>> sum_over_processes(torch.tensor([1.0, 2.0]))
        tensor([1., 2.])
    """
    if not (distributed.is_available() and distributed.is_initialized() and torch.is_grad_enabled()):
        return local
    total = local.detach().clone()
    distributed.all_reduce(total)
    # the value of the total, the history of the own part
    return total + distributed.get_world_size() * (local - local.detach())
