# SPDX-License-Identifier: Apache-2.0
"""One step of training, for MONAI's `SupervisedTrainer`."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer
from monai.utils import CommonKeys
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from monai_microchange.training.processes import mean_over_processes, process_rank

__all__ = ["AllScales", "AverageWeights", "TrainingStep", "loss_and_terms", "loss_of", "ramped_average"]


class AllScales(torch.nn.Module):
    """A network that gives its logits at every scale, as deep supervision needs them.

    A module of its own, so that what wraps networks for several processes can wrap it.

    Args:
        network: has `forward_scales`.
    """

    def __init__(self, network: torch.nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Logits (B, C, *spatial / 2**i), finest first, of `x` (B, channels, *spatial)."""
        return self.network.forward_scales(x)  # type: ignore[operator]


def ramped_average(decay: float) -> Callable[[Any, Any, Any], None]:
    """How `torch.optim.swa_utils.AveragedModel` averages: exponentially, over few steps in the beginning.

    After n steps the decay is at most (1 + n) / (10 + n), so that a short run does not drag its first weights along.

    Args:
        decay: in the long run, from 0 to 1.

    Raises:
        ValueError: if `decay` is outside 0 to 1.
    """
    if not 0 <= decay <= 1:
        raise ValueError(f"decay must be from 0 to 1; got {decay}")

    def average(averaged: Any, current: Any, count: Any) -> None:
        done = int(count)
        get_ema_multi_avg_fn(min(decay, (1 + done) / (10 + done)))(averaged, current, count)

    return average


class TrainingStep:
    """Forward and backward in bfloat16 autocast on whatever device the trainer has, and clipped.

    Pass it as `iteration_update` of a `SupervisedTrainer`. Torch's random numbers (dropout) are seeded by step and
    process, so that a run goes on in the middle as if it had not stopped. A step whose loss or gradient is not finite
    is not taken, in none of the processes.

    Args:
        seed: of torch's random numbers.
        max_gradient_norm: gradients are scaled down to this norm.

    Returns:
        The trainer's output: under MONAI's `CommonKeys` image, label, pred (finest logits) and loss, the mean over all
        processes; under "scalars" numbers to plot: the loss, its terms if the loss function has a method `terms`, the
        learning rate and the norm of the gradient before clipping.

    Raises:
        ValueError: if `max_gradient_norm` is not positive; when called, if there is no batch.
    """

    def __init__(self, *, seed: int, max_gradient_norm: float = 1.0):
        if max_gradient_norm <= 0:
            raise ValueError(f"max_gradient_norm must be above 0; got {max_gradient_norm}")
        self.seed = seed
        self.max_gradient_norm = max_gradient_norm

    def __call__(self, engine: SupervisedTrainer, batch: dict[str, torch.Tensor] | None) -> dict[str, Any]:
        """Take one step of `engine` with `batch`: image (B, channels, *spatial) and label (B, 1, *spatial)."""
        if batch is None:
            raise ValueError("no batch to train on: is the data loader empty?")
        entropy = np.random.SeedSequence([self.seed, engine.state.iteration, process_rank()])
        torch.manual_seed(int(entropy.generate_state(1)[0]))
        image, label = engine.prepare_batch(batch, engine.state.device, engine.non_blocking)
        engine.network.train()
        engine.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(engine.state.device.type, dtype=torch.bfloat16):
            prediction = engine.inferer(image, engine.network)
        loss, terms = loss_and_terms(engine.loss_function, prediction, label)
        shown = mean_over_processes(loss)
        norm = self._learn(engine, loss) if bool(torch.isfinite(shown)) else math.nan
        finest = prediction if isinstance(prediction, torch.Tensor) else prediction[0]
        scalars = {"loss": float(shown), **{f"loss_{name}": term for name, term in terms.items()}}
        scalars |= {"learning_rate": engine.optimizer.param_groups[0]["lr"], "gradient_norm": norm}
        return {
            CommonKeys.IMAGE: image,
            CommonKeys.LABEL: label,
            CommonKeys.PRED: finest.detach(),
            CommonKeys.LOSS: scalars["loss"],
            "scalars": scalars,
        }

    def _learn(self, engine: SupervisedTrainer, loss: torch.Tensor) -> float:
        """Change the weights, unless the gradient is not finite; return its norm."""
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(engine.network.parameters(), self.max_gradient_norm))
        if math.isfinite(norm):
            engine.optimizer.step()
        return norm


class AverageWeights:
    """Handler that keeps a running average of a network's weights, updated after each step.

    Args:
        ema: the average.
        network: what is averaged, as it was when `ema` was made of it.
    """

    def __init__(self, ema: AveragedModel, network: torch.nn.Module):
        self.ema = ema
        self.network = network

    def attach(self, engine: Engine) -> None:
        """Register with an engine."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda _: self.ema.update_parameters(self.network))


def loss_and_terms(
    loss_function: Callable[..., torch.Tensor], prediction: Any, label: torch.Tensor
) -> tuple[torch.Tensor, dict[str, float]]:
    """A loss, and its summands where the loss function has a method `terms` that gives them.

    >>> loss_and_terms(torch.nn.MSELoss(), torch.tensor([2.0]), torch.tensor([0.0]))
    (tensor(4.), {})
    """
    if not hasattr(loss_function, "terms"):
        return loss_function(prediction, label), {}
    terms = loss_function.terms(prediction, label)
    return torch.stack(list(terms.values())).sum(), {name: float(term.detach()) for name, term in terms.items()}


def loss_of(output: Any) -> float:
    """The loss in a trainer's output, for handlers that print or plot it.

    >>> loss_of({"loss": 0.5})
    0.5
    """
    return float(output[CommonKeys.LOSS])
