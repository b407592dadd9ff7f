# SPDX-License-Identifier: Apache-2.0
"""The training step of our bundles, for MONAI's `SupervisedTrainer`, and how a broken run goes on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from ignite.handlers import Checkpoint
from monai.engines import SupervisedTrainer
from monai.inferers import SimpleInferer
from monai.utils import CommonKeys

__all__ = ["AllScalesInferer", "autocast_iteration", "loss_of", "run_or_resume"]


class AllScalesInferer(SimpleInferer):
    """Ask a network for its logits at every scale (`forward_scales`), as deep supervision needs them."""

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return the list of logits, finest first, that `network.forward_scales` gives for `inputs`."""
        # what wraps a network for several devices keeps it as `module`
        module: Any = getattr(network, "module", network)
        return module.forward_scales(inputs)


def autocast_iteration(engine: SupervisedTrainer, batchdata: dict[str, torch.Tensor]) -> dict[str, Any]:
    """One step in bfloat16 autocast on whatever device the engine has (MONAI's own autocast knows CUDA alone).

    Pass it as `iteration_update` of a `SupervisedTrainer`. Gradients are clipped to norm 1; a step whose loss is not
    finite is not taken.

    Returns:
        The engine's output: image, label and loss, under MONAI's `CommonKeys`.

    Raises:
        ValueError: if there is no batch.
    """
    if batchdata is None:
        raise ValueError("no batch to train on: is the data loader empty?")
    image, label = engine.prepare_batch(batchdata, engine.state.device, engine.non_blocking)
    engine.network.train()
    engine.optimizer.zero_grad(set_to_none=True)
    with torch.autocast(engine.state.device.type, dtype=torch.bfloat16):
        prediction = engine.inferer(image, engine.network)
    loss = engine.loss_function(prediction, label)
    if torch.isfinite(loss):
        loss.backward()
        torch.nn.utils.clip_grad_norm_(engine.network.parameters(), 1.0)
        engine.optimizer.step()
    return {CommonKeys.IMAGE: image, CommonKeys.LABEL: label, CommonKeys.LOSS: loss.item()}


def loss_of(output: Any) -> float:
    """The loss in a trainer's output, for handlers that print or plot it.

    >>> loss_of([{"loss": 0.5}])
    0.5
    """
    first = output[0] if isinstance(output, list) else output
    return float(first[CommonKeys.LOSS])


def run_or_resume(trainer: SupervisedTrainer, state: dict[str, Any], ckpt_dir: str | Path) -> None:
    """Train, going on from `ckpt_dir/resume.pt` where a run broke off, and leave that file up to date after each epoch.

    Args:
        trainer: the trainer to run.
        state: objects with a `state_dict`, by name: network, optimizer, scheduler.
        ckpt_dir: folder of the checkpoint. The file is removed when training is complete.
    """
    path = Path(ckpt_dir) / "resume.pt"
    everything = {**state, "trainer": trainer}
    if path.exists():
        Checkpoint.load_objects(everything, torch.load(path, map_location="cpu", weights_only=True))

    def save(_: SupervisedTrainer) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        torch.save({name: part.state_dict() for name, part in everything.items()}, unfinished)
        unfinished.replace(path)

    trainer.add_event_handler(Events.EPOCH_COMPLETED, save)
    trainer.run()
    path.unlink(missing_ok=True)
