# SPDX-License-Identifier: Apache-2.0
"""Training of one variant of the ablation until its share of processor time is used up."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from _ablation_variants import TrainingRecipe, n_parameters
from monai.engines import SupervisedTrainer
from torch.optim.swa_utils import AveragedModel

from monai_microchange.losses import ChangeLoss, DeepScalesLoss
from monai_microchange.training import AllScales, TrainingStep, ramped_average


@dataclass(frozen=True)
class Trained:
    """The running average of a variant's weights, ready to be scored, and what it took."""

    network: torch.nn.Module
    steps: int
    cpu_s: float
    last_loss: float

    @property
    def parameters(self) -> int:
        """How many numbers it learnt."""
        return n_parameters(self.network)


def train_within(
    budget_s: float,
    network: torch.nn.Module,
    batches: Iterator[dict[str, torch.Tensor]],
    recipe: TrainingRecipe,
    *,
    seed: int,
    watch: Callable[[float], object] = lambda used_s: None,
) -> Trained:
    """Train on the processor until the process has used `budget_s` seconds of it, reading the batches among them.

    The last step may run past the budget. A network of one scale gets the loss of that scale alone.

    Args:
        budget_s: processor time, of all threads together.
        network: is changed.
        batches: image (B, in_channels, *spatial) and label (B, 1, *spatial), without end.
        recipe: how it is trained.
        seed: of dropout.
        watch: called after each step with the seconds used.

    Raises:
        ValueError: if the budget is not positive.
    """
    if budget_s <= 0:
        raise ValueError(f"budget_s must be above 0; got {budget_s}")
    step = TrainingStep(seed=seed, max_gradient_norm=recipe.max_gradient_norm)
    trainer = _trainer(network, recipe)
    ema = AveragedModel(network, multi_avg_fn=ramped_average(recipe.ema_decay))
    started, used, loss = time.process_time(), 0.0, float("nan")
    while used < budget_s:
        for group in trainer.optimizer.param_groups:
            group["lr"] = recipe.rate(used / budget_s)
        trainer.state.iteration += 1
        loss = step(trainer, next(batches))["scalars"]["loss"]
        ema.update_parameters(network)
        used = time.process_time() - started
        watch(used)
    return Trained(ema.module.eval(), trainer.state.iteration, used, loss)


def _trainer(network: torch.nn.Module, recipe: TrainingRecipe) -> SupervisedTrainer:
    """What a step of our training needs to know; it is never run itself."""
    return SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=[],
        epoch_length=1,
        network=AllScales(network) if hasattr(network, "forward_scales") else network,
        optimizer=torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay),
        loss_function=DeepScalesLoss(ChangeLoss()),
    )
