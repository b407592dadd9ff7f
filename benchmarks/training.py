# SPDX-License-Identifier: Apache-2.0
"""Time the training step of the change network against MONAI's `DynUNet`, and how long the training waits for data.

Both networks have as many parameters, get the same batches from the loader of `train.yaml`, the same loss with deep
supervision, and take their steps in turn in one process, on a GPU if there is one. The folder of real scans comes from
--data or the environment variable MICROCHANGE_DATA:

    python benchmarks/training.py --steps 20
"""

import argparse
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.engines import SupervisedTrainer
from monai.networks.nets import DynUNet

from monai_microchange._shipped import shipped_bundle
from monai_microchange.training import AllScales, TrainingStep, local_device

MOST_DIFFERENCE = 0.05
"""In number of parameters, for two networks to count as equally large."""


class DynUNetScales(torch.nn.Module):
    """MONAI's `DynUNet`, whose stacked outputs become a list as deep supervision of ours has it.

    Args:
        in_channels: of both visits.
        filters: at each scale, finest first; each halves the grid.
        n_scales: that get a head, the finest among them.
    """

    def __init__(self, in_channels: int, filters: Sequence[int], n_scales: int):
        super().__init__()
        depth = len(filters)
        self.network = DynUNet(
            spatial_dims=3,
            in_channels=in_channels,
            out_channels=3,
            kernel_size=[3] * depth,
            strides=[1] + [2] * (depth - 1),
            upsample_kernel_size=[2] * (depth - 1),
            filters=list(filters),
            deep_supervision=n_scales > 1,
            deep_supr_num=max(n_scales - 1, 1),
        )

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Logits (B, 3, *spatial) of each scale; `DynUNet` enlarges the coarser ones."""
        logits = self.network(x)
        return list(logits.unbind(1)) if logits.ndim == 6 else [logits]


@dataclass
class Timed:
    """A network that is trained, and how many seconds each of its steps took."""

    name: str
    trainer: SupervisedTrainer
    seconds: list[float] = field(default_factory=list)

    @property
    def parameters(self) -> int:
        """How many numbers it learns."""
        return n_parameters(self.trainer.network)

    def step(self, batch: dict[str, torch.Tensor]) -> float:
        """Learn from a batch; return the seconds that took."""
        started = time.perf_counter()
        self.trainer.state.iteration += 1
        self.trainer.iteration(self.trainer, batch)
        if self.trainer.state.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.data is None:
        print("Skipped: neither --data nor MICROCHANGE_DATA names the folder of real scans.")
        return 0
    device = torch.device(options.device) if options.device else local_device()
    config = read_config(options)
    ours, other = networks(config, device)
    loader = config.get_parsed_content("train#dataloader")
    patches = take_turns([ours, other], loader, warm_up=options.warm_up)
    waiting = waiting_share(ours, loader, warm_up=options.warm_up)
    print(f"{device}, {torch.get_num_threads()} threads, {options.steps} steps of {patches} patches each\n")
    print(table([ours, other], patches))
    print(f"\nwaiting for data, {options.workers} worker(s), network alone: {waiting:.1%} of the time")
    return 0


def read_config(options: argparse.Namespace) -> ConfigParser:
    """The configuration of the training, over a few scans and as many steps as are timed."""
    bundle, parser = shipped_bundle(), ConfigParser()
    parser.read_config(str(bundle / "configs" / "train.yaml"))
    parser["bundle_root"], parser["data_root"] = str(bundle), options.data
    parser["scans"] = parser["scans"][: options.scans]
    parser["max_epochs"], parser["steps_per_epoch"] = 1, options.steps + options.warm_up
    parser["num_workers"], parser["cache_dir"] = options.workers, options.cache_dir
    return parser


def networks(config: ConfigParser, device: torch.device) -> tuple[Timed, Timed]:
    """Ours, and one of MONAI's that is as large."""
    network = config.get_parsed_content("network_def")
    channels, n_scales = config.get_parsed_content("network_def#channels"), len(network.heads)
    in_channels = config.get_parsed_content("network_def#in_channels")
    other = equally_large(
        lambda filters: DynUNetScales(in_channels, filters, n_scales), channels, target=n_parameters(network)
    )
    loss = config.get_parsed_content("train#loss_function")
    return (
        Timed("MicroChangeNet", trainer_of(AllScales(network), loss, device)),
        Timed("MONAI DynUNet", trainer_of(other, loss, device)),
    )


def equally_large(
    build: Callable[[list[int]], torch.nn.Module], channels: Sequence[int], *, target: int
) -> torch.nn.Module:
    """The network whose widths, in the proportions of `channels`, give nearest to `target` parameters.

    Raises:
        ValueError: if none comes near enough.
    """
    widths = [[max(round(width * share), 1) for width in channels] for share in np.arange(0.2, 3.0, 0.02)]
    best = min((build(filters) for filters in widths), key=lambda network: abs(n_parameters(network) - target))
    if abs(n_parameters(best) / target - 1) > MOST_DIFFERENCE:
        raise ValueError(f"no widths give {target} parameters within {MOST_DIFFERENCE:.0%}; got {n_parameters(best)}")
    return best


def n_parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def trainer_of(network: torch.nn.Module, loss: Any, device: torch.device) -> SupervisedTrainer:
    """A trainer that takes our step, on a network of either kind."""
    network = network.to(device)
    step = TrainingStep(seed=0)
    trainer = SupervisedTrainer(
        device=device,
        max_epochs=1,
        train_data_loader=[],
        epoch_length=1,
        network=network,
        optimizer=torch.optim.AdamW(network.parameters(), lr=1e-3),
        loss_function=loss,
        iteration_update=step,
    )
    trainer.iteration = step
    return trainer


def take_turns(timed: Sequence[Timed], batches: Iterable[dict[str, torch.Tensor]], *, warm_up: int) -> int:
    """Let each network learn from each batch, the order changing; return how many patches a batch has."""
    patches = 0
    for number, batch in enumerate(batches):
        patches = len(batch["label"])
        for one in timed if number % 2 else reversed(timed):
            seconds = one.step(batch)
            if number >= warm_up:
                one.seconds.append(seconds)
    return patches


def waiting_share(timed: Timed, batches: Iterable[dict[str, torch.Tensor]], *, warm_up: int) -> float:
    """Share of the time that a training of one network alone waits for its next batch."""
    waited, started = 0.0, time.perf_counter()
    loader: Iterator[dict[str, torch.Tensor]] = iter(batches)
    number = 0
    while True:
        if number == warm_up:
            waited, started = 0.0, time.perf_counter()
        asked = time.perf_counter()
        batch = next(loader, None)
        if batch is None:
            return waited / (time.perf_counter() - started)
        waited += time.perf_counter() - asked
        timed.step(batch)
        number += 1


def table(timed: Sequence[Timed], patches: int) -> str:
    """Parameters, seconds and patches per second of each network, and ratios to the last one."""
    rows = ["| network | parameters | seconds per step, median | patches per second | ratio |", "|---|---|---|---|---|"]
    reference = patches / float(np.median(timed[-1].seconds))
    for one in timed:
        median = float(np.median(one.seconds))
        speed = patches / median
        rows.append(f"| {one.name} | {one.parameters} | {median:.3f} | {speed:.2f} | {speed / reference:.2f} |")
    return "\n".join(rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("MICROCHANGE_DATA"), help="folder of the real scans")
    parser.add_argument("--steps", type=int, default=20, help="that are timed")
    parser.add_argument("--warm-up", type=int, default=3, help="steps before, that are not")
    parser.add_argument("--scans", type=int, default=2, help="how many scans of train.yaml to draw from")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw")
    parser.add_argument("--device", help="cpu or cuda; the GPU if there is one by default")
    parser.add_argument("--cache-dir", help="folder that keeps the prepared scans")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
