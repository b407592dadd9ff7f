# SPDX-License-Identifier: Apache-2.0
"""How good the averaged network is while it trains, on draws that it never learns from."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data.utils import list_data_collate

from monai_microchange.enums import ChangeLabel
from monai_microchange.training.draws import NumberedDraws
from monai_microchange.training.log import TrainingLog
from monai_microchange.training.panels import change_panel
from monai_microchange.training.processes import mean_over_processes, process_count, process_rank
from monai_microchange.training.screen import TrainingScreen

__all__ = ["ChangeValidation", "overlap_counts"]


class ChangeValidation:
    """Handler that scores a network every few epochs on the same draws: loss, and Dice of gain and of loss.

    Dice is pooled over all patches, so that patches without change count too; voxels that are labelled CHANGED or
    UNKNOWN do not. It is NaN where neither labels nor network have any change. The draws are shared among processes,
    and made once.

    Args:
        network: the one that is scored, such as the running average; gives logits (B, 3, *spatial).
        draws: seeded unlike the training's own.
        loss_function: takes logits and labels (B, 1, *spatial).
        log: gets the numbers, under "validation/", and pictures of the patches with most change.
        screen: gets a line.
        n_draws: how many draws.
        every_epochs: how often; the last epoch is always scored.
        n_pictures: how many pictures.

    Raises:
        ValueError: if a count is not positive.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        draws: NumberedDraws,
        loss_function: Callable[..., torch.Tensor],
        log: TrainingLog,
        screen: TrainingScreen,
        *,
        n_draws: int = 8,
        every_epochs: int = 1,
        n_pictures: int = 3,
    ):
        if min(n_draws, every_epochs) < 1 or n_pictures < 0:
            raise ValueError(f"n_draws and every_epochs must be at least 1; got {n_draws} and {every_epochs}")
        self.network = network
        self.draws = draws
        self.loss_function = loss_function
        self.log = log
        self.screen = screen
        self.n_draws = n_draws
        self.every_epochs = every_epochs
        self.n_pictures = n_pictures
        self._batches: list[dict[str, torch.Tensor]] = []

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._if_due)

    def score(self, device: torch.device) -> tuple[dict[str, float], list[np.ndarray]]:
        """Loss, Dice of gain and Dice of loss of the network as it is, and pictures of what it sees."""
        if not self._batches:
            numbers = range(process_rank(), self.n_draws, process_count())
            self._batches = [list_data_collate(_patches(self.draws[number])) for number in numbers]
        self.network.eval()
        sums = torch.zeros(2 + 2 * 2, dtype=torch.float64)
        patches: list[tuple[torch.Tensor, ...]] = []
        for batch in self._batches:
            label = batch["label"].to(device)
            with torch.no_grad():
                with torch.autocast(device.type, dtype=torch.bfloat16):
                    logits = self.network(batch["image"].to(device)).float()
                loss = self.loss_function(logits, label)
            counts = overlap_counts(logits.argmax(dim=1, keepdim=True), label)
            sums += torch.tensor([float(loss), 1.0, *counts.flatten().tolist()], dtype=torch.float64)
            shown = zip(batch["image"], batch["label"], logits.softmax(dim=1).cpu(), strict=True)
            patches = sorted([*patches, *shown], key=_least_change_last)[: self.n_pictures]
        means = mean_over_processes(sums.to(device)).cpu()
        dice = 2 * means[2::2] / means[3::2]
        scores = {"loss": float(means[0] / means[1]), "dice_gain": float(dice[0]), "dice_loss": float(dice[1])}
        return scores, [change_panel(*patch) for patch in patches]

    def _if_due(self, engine: Engine) -> None:
        state: Any = engine.state
        if state.epoch % self.every_epochs and state.epoch != state.max_epochs:
            return
        scores, pictures = self.score(state.device)
        self.log.scalars({f"validation/{name}": value for name, value in scores.items()}, state.iteration)
        for number, picture in enumerate(pictures):
            self.log.image(f"validation/patch_{number}", picture, state.iteration)
        said = ", ".join(f"{name.replace('_', ' of ')} {value:.3f}" for name, value in scores.items())
        self.screen.say(f"validation after epoch {state.epoch}: {said}")


def overlap_counts(found: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """What pooled Dice is made of: for gain and for loss the common voxels, and the sum of found and labelled ones.

    Args:
        found: 0 none, 1 gain, 2 loss; any shape.
        label: `ChangeLabel` codes, the same shape; CHANGED and UNKNOWN are left out.

    Returns:
        (2, 2), int64.

    Example:
        >>> overlap_counts(torch.tensor([1, 1, 2, 1]), torch.tensor([1, 0, 0, 3])).tolist()
        [[1, 3], [0, 1]]
    """
    judged = label <= ChangeLabel.LOSS
    rows = []
    for code in (ChangeLabel.GAIN, ChangeLabel.LOSS):
        hit, true = (found == code) & judged, label == code
        rows.append(torch.stack([(hit & true).sum(), hit.sum() + true.sum()]))
    return torch.stack(rows)


def _patches(drawn: Any) -> list[Any]:
    return drawn if isinstance(drawn, list) else [drawn]


def _least_change_last(patch: tuple[torch.Tensor, ...]) -> int:
    label = patch[1]
    return -int(((label > ChangeLabel.NONE) & (label < ChangeLabel.UNKNOWN)).sum())
