# SPDX-License-Identifier: Apache-2.0
"""The smallest training that has all parts."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.data import DataLoader
from monai.engines import SupervisedTrainer
from monai.handlers import LrScheduleHandler
from monai.optimizers import WarmupCosineSchedule
from monai.transforms import Compose, MapTransform, Randomizable
from torch.optim.swa_utils import AveragedModel

from monai_microchange.training import (
    AllScales,
    AverageWeights,
    DrawNumbers,
    DrawSource,
    NumberedDraws,
    TrainingRun,
    TrainingStep,
    ramped_average,
)

EPOCHS, STEPS = 4, 3


class Toy(torch.nn.Module):
    """The smallest network with scales and dropout."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 8, 1)
        self.dropout = torch.nn.Dropout(0.2)
        self.head = torch.nn.Conv2d(8, 1, 1)

    def forward(self, x):
        return self.forward_scales(x)[0]

    def forward_scales(self, x):
        return [self.head(self.dropout(self.conv(x)))]


class RandDoubled(MapTransform, Randomizable):
    """Random numbers, and twice these and one more as the label."""

    def __call__(self, data):
        image = torch.from_numpy(self.R.rand(1, 4, 4).astype(np.float32))
        return {"image": image, "label": 2 * image + 1}


def make_draws(seed=0, items=2):
    return NumberedDraws(
        [DrawSource([{"n": i} for i in range(items)], Compose([]), Compose([RandDoubled("n")]))], seed=seed
    )


def make_run(folder, *, batch_size=2, loss=None, handlers=(), num_workers=0, **options):
    """A run of 4 epochs of 3 steps, and its parts."""
    torch.manual_seed(0)
    network = Toy()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.05)
    scheduler = WarmupCosineSchedule(optimizer, warmup_steps=2, t_total=EPOCHS * STEPS, warmup_multiplier=0.1)
    ema = AveragedModel(network, multi_avg_fn=ramped_average(0.9))
    numbers, draws = DrawNumbers(EPOCHS * STEPS, batch_size), make_draws()
    squared = torch.nn.MSELoss()
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=EPOCHS,
        epoch_length=STEPS,
        train_data_loader=DataLoader(
            draws, sampler=numbers, batch_size=numbers.own_batch_size, num_workers=num_workers
        ),
        network=AllScales(network),
        optimizer=optimizer,
        loss_function=loss or (lambda scales, label: squared(scales[0].float(), label)),
        iteration_update=TrainingStep(seed=5),
        train_handlers=[
            AverageWeights(ema, network),
            LrScheduleHandler(scheduler, print_lr=False, epoch_level=False),
            *handlers,
        ],
    )
    state = {"network": network, "ema": ema, "optimizer": optimizer, "scheduler": scheduler}
    options = {"inputs": {"scan.nii.gz": "00ff"}, "settings": {"seed": 5}, **options}
    run = TrainingRun(trainer, numbers, state, folder, **options)
    return SimpleNamespace(run=run, trainer=trainer, numbers=numbers, **state)


@pytest.fixture
def toy_run():
    return make_run


@pytest.fixture
def toy_draws():
    return make_draws
