# SPDX-License-Identifier: Apache-2.0
"""Distributed training: two processes with one sample each take the step of one process with both.

Run as a script, `test_processes.py FOLDER RANK`, this file is one of the two processes.
"""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from monai_microchange.losses import ChangeLoss, DeepScalesLoss

RANKS = 2
SEED = 0


def new_net():
    torch.manual_seed(SEED)
    return torch.nn.Conv2d(2, 3, 3, padding=1, dtype=torch.float64)


def draw_samples():
    """Two samples unlike in all that is summed: the first is signed, the second unsigned and half of it unknown."""
    torch.manual_seed(SEED + 1)
    image = torch.randn(RANKS, 2, 8, 8, dtype=torch.float64)
    label = torch.zeros(RANKS, 1, 8, 8)
    label[0, 0, :3, :3], label[0, 0, 5:, 5:] = 1, 2
    label[1, 0, :2], label[1, 0, 4:] = 3, 4
    return image, label


def step(net, image, label):
    """Gradients of the weights and the loss's terms, over two scales."""
    logits = net(image)
    terms = DeepScalesLoss(ChangeLoss()).terms([logits, torch.nn.functional.avg_pool2d(logits, 2)], label)
    net.zero_grad()
    sum(terms.values()).backward()
    with torch.no_grad():
        alone = ChangeLoss()(logits, label)
    return {
        "grad": [weight.grad for weight in net.parameters()],
        "terms": {name: term.detach() for name, term in terms.items()},
        "alone": alone,
    }


def run_rank(folder, rank):
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=RANKS, timeout=timedelta(seconds=90)
    )
    image, label = (part[rank : rank + 1] for part in draw_samples())
    torch.save(step(DistributedDataParallel(new_net()), image, label), Path(folder) / f"rank{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def by_rank(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    ranks = [subprocess.Popen([sys.executable, __file__, str(folder), str(rank)]) for rank in range(RANKS)]
    assert [process.wait(timeout=120) for process in ranks] == [0] * RANKS
    return [torch.load(folder / f"rank{rank}.pt") for rank in range(RANKS)]


def test_gradients_are_those_of_one_process_with_the_whole_batch(by_rank):
    whole = step(new_net(), *draw_samples())
    for part in by_rank:
        torch.testing.assert_close(part["grad"], whole["grad"], rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(part["terms"], whole["terms"], rtol=1e-12, atol=0)


def test_averaging_the_gradients_of_each_sample_would_not_do():
    """Else the test above would show nothing."""
    image, label = draw_samples()
    whole = step(new_net(), image, label)["grad"][0]
    apart = [step(new_net(), image[[i]], label[[i]])["grad"][0] for i in range(RANKS)]
    assert (sum(apart) / RANKS - whole).abs().max() > 0.01 * whole.abs().max()


def test_without_gradients_each_process_answers_for_itself(by_rank):
    image, label = draw_samples()
    for rank, part in enumerate(by_rank):
        expected = ChangeLoss()(new_net()(image[[rank]]), label[[rank]])
        torch.testing.assert_close(part["alone"], expected.detach())


if __name__ == "__main__":
    run_rank(sys.argv[1], int(sys.argv[2]))
