# SPDX-License-Identifier: Apache-2.0
"""Scores during training, worked out by hand, and the pictures that go with them."""

import io
import math

import numpy as np
import pytest
import torch
from monai.transforms import Compose
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from monai_microchange.enums import ChangeLabel
from monai_microchange.training import (
    ChangeValidation,
    DrawSource,
    NumberedDraws,
    TrainingLog,
    TrainingScreen,
    change_panel,
)
from monai_microchange.training.validation import overlap_counts

LABEL = torch.tensor([0.0, 1.0, 1.0, 2.0, 3.0, 4.0]).view(1, 1, 1, 6).expand(1, 2, 2, 6).clone()


class SeesGain(torch.nn.Module):
    """Finds a gain in the first three columns, and loss nowhere."""

    def forward(self, x):
        logits = torch.zeros(len(x), 3, *x.shape[2:])
        logits[:, 0] = 1
        logits[:, 1, ..., :3] = 5
        return logits


def validation(log, screen, network=None, **options):
    sample = {"image": torch.rand(2, 2, 2, 6), "label": LABEL}
    draws = NumberedDraws([DrawSource([sample], Compose([]), Compose([]))], seed=1)
    return ChangeValidation(network or SeesGain(), draws, torch.nn.L1Loss(), log, screen, n_draws=2, **options)


@pytest.fixture
def mean_loss():
    return lambda logits, label: logits.mean()


def test_scores_are_those_worked_out_by_hand():
    """Of gain 2 of 2 labelled columns and one more are found: 2 * 2 / (3 + 2); of loss none."""
    handler = validation(TrainingLog(None), TrainingScreen())
    handler.loss_function = lambda logits, label: logits[:, 0].mean()
    scores, pictures = handler.score(torch.device("cpu"))
    assert scores == {"loss": 1.0, "dice_gain": pytest.approx(0.8), "dice_loss": 0.0}
    assert len(pictures) == 2


def test_undirected_and_unjudged_voxels_do_not_count():
    found = torch.ones(1, 1, 2, 2, 6)
    assert overlap_counts(found, LABEL[None]).tolist() == [[8, 24], [0, 4]]


def test_without_any_change_there_is_no_dice():
    handler = validation(TrainingLog(None), TrainingScreen(), torch.nn.Identity())
    handler.network.forward = lambda x: torch.stack([torch.ones(len(x), 2, 2, 6), *torch.zeros(2, len(x), 2, 2, 6)], 1)
    handler.loss_function = lambda logits, label: logits.mean()
    handler.draws.sources[0].prepared.data[0]["label"] = torch.zeros(1, 2, 2, 6)
    handler.draws.sources[0].prepared.set_data([{"image": torch.rand(2, 2, 2, 6), "label": torch.zeros(1, 2, 2, 6)}])
    scores, _ = handler.score(torch.device("cpu"))
    assert math.isnan(scores["dice_gain"])


def test_scores_and_pictures_are_written_every_other_epoch(tmp_path, toy_run):
    text = io.StringIO()
    log, screen = TrainingLog(tmp_path / "log"), TrainingScreen(console=Console(file=text, width=200))
    handler = validation(log, screen, every_epochs=3, n_pictures=1)
    handler.loss_function = lambda logits, label: logits.mean()
    toy_run(tmp_path, handlers=[log, handler]).run.run()
    events = EventAccumulator(str(tmp_path / "log")).Reload()
    assert {"validation/loss", "validation/dice_gain", "validation/dice_loss"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("validation/dice_gain")] == [9, 12]
    assert [event.step for event in events.Images("validation/patch_0")] == [9, 12]
    assert "validation after epoch 3: loss" in text.getvalue()
    assert "dice of gain 0.800" in text.getvalue()


def test_a_panel_shows_the_slice_with_most_change():
    """Slice 3 holds a gained and a lost voxel, slice 1 a single one; UNKNOWN does not count."""
    image, label, probability = torch.zeros(4, 6, 5, 4), torch.zeros(1, 6, 5, 4), torch.zeros(3, 6, 5, 4)
    label[0, :, :, 0] = ChangeLabel.UNKNOWN
    label[0, 0, 0, 1] = ChangeLabel.GAIN
    label[0, 2, 1, 3] = ChangeLabel.GAIN
    label[0, 4, 1, 3] = ChangeLabel.LOSS
    image[2, 5, 4, 3] = 1.0
    probability[1, 2, 1, 3] = 1.0
    panel = change_panel(image, label, probability)
    assert panel.shape == (3, 5, 34)
    baseline, followup, labels, gain, loss = (panel[:, :, 7 * part : 7 * part + 6] for part in range(5))
    assert baseline.max() == 0
    # the second axis points up, so its last row is the first of the picture
    assert followup[:, 0, 5].tolist() == [255] * 3
    assert labels[:, 3, 2].tolist() == [213, 94, 0]
    assert labels[:, 3, 4].tolist() == [0, 114, 178]
    assert (np.count_nonzero(gain.any(axis=0)), np.count_nonzero(loss)) == (1, 0)


def test_counts_are_checked():
    with pytest.raises(ValueError, match="n_draws and every_epochs must be at least 1; got 2 and 0"):
        validation(TrainingLog(None), TrainingScreen(), every_epochs=0)
