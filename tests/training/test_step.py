# SPDX-License-Identifier: Apache-2.0
"""One step of training: precision, clipping, what is not taken, averages and the schedule."""

import math

import pytest
import torch
from ignite.engine import Events
from monai.losses import DiceCELoss
from monai.utils import CommonKeys

from monai_microchange.losses import ChangeLoss, DeepScalesLoss
from monai_microchange.networks.nets import MicroChangeNet
from monai_microchange.training import AllScales, TrainingStep, loss_of, ramped_average
from monai_microchange.training import step as step_module
from monai_microchange.training.step import loss_and_terms


def batch(value=1.0):
    return {"image": torch.full((2, 1, 4, 4), value), "label": torch.zeros(2, 1, 4, 4)}


def weights(parts):
    return torch.cat([p.detach().flatten().clone() for p in parts.network.parameters()])


def test_all_scales_of_the_change_network():
    net, x = MicroChangeNet(2, 2, channels=(4, 8, 8)).eval(), torch.rand(1, 2, 8, 8)
    scales = AllScales(net)(x)
    assert [s.shape[-1] for s in scales] == [8, 4]
    assert torch.equal(scales[0], net(x))


def test_steps_lower_the_loss(tmp_path, toy_run):
    parts, losses = toy_run(tmp_path), []
    parts.trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: losses.append(loss_of(e.state.output)))
    parts.run.run()
    assert len(losses) == 12
    assert losses[-1] < 0.5 * losses[0]


def test_step_runs_in_bfloat16_and_gives_what_handlers_want(tmp_path, toy_run):
    parts, seen = toy_run(tmp_path), []
    parts.network.conv.register_forward_hook(lambda module, given, out: seen.append(out.dtype))
    parts.run.run()
    assert set(seen) == {torch.bfloat16}
    output = parts.trainer.state.output
    assert {CommonKeys.IMAGE, CommonKeys.LABEL, CommonKeys.PRED, CommonKeys.LOSS} <= set(output)
    assert set(output["scalars"]) == {"loss", "learning_rate", "gradient_norm"}


def test_gradient_is_clipped_and_its_norm_told(tmp_path, toy_run):
    parts, norms = toy_run(tmp_path, loss=lambda scales, label: 1e6 * scales[0].float().square().mean()), []
    step = parts.optimizer.step

    def watch(*args, **kwargs):
        norms.append(float(torch.nn.utils.get_total_norm([p.grad for p in parts.network.parameters()])))
        return step(*args, **kwargs)

    parts.optimizer.step = watch
    output = TrainingStep(seed=0, max_gradient_norm=0.5)(parts.trainer, batch())
    assert norms == [pytest.approx(0.5, abs=1e-3)]
    assert output["scalars"]["gradient_norm"] > 100


@pytest.mark.parametrize("bad", ["loss", "gradient"])
def test_step_that_is_not_finite_is_not_taken(tmp_path, toy_run, bad):
    """The square root is finite at 0, its slope is not."""
    parts = toy_run(tmp_path, loss=lambda scales, label: (0 * scales[0].float()).sqrt().sum())
    before = weights(parts)
    output = TrainingStep(seed=0)(parts.trainer, batch(math.nan if bad == "loss" else 1.0))
    assert torch.equal(weights(parts), before)
    assert not math.isfinite(output["scalars"]["gradient_norm"])


def test_dropout_depends_on_the_step_alone(tmp_path, toy_run):
    losses = []
    for iteration in (3, 3, 4):
        parts = toy_run(tmp_path)
        torch.rand(iteration)
        parts.trainer.state.iteration = iteration
        losses.append(loss_of(TrainingStep(seed=0)(parts.trainer, batch())))
    assert losses[0] == losses[1] != losses[2]


def test_dropout_differs_between_processes(tmp_path, toy_run, monkeypatch):
    losses = []
    for rank in (0, 1):
        monkeypatch.setattr(step_module, "process_rank", lambda rank=rank: rank)
        losses.append(loss_of(TrainingStep(seed=0)(toy_run(tmp_path).trainer, batch())))
    assert losses[0] != losses[1]


def test_learning_rate_warms_up_and_falls(tmp_path, toy_run):
    """From a tenth to 0.05 in two steps, then along a cosine to 0 in ten."""
    parts, rates = toy_run(tmp_path), []
    parts.trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda e: rates.append(e.state.output["scalars"]["learning_rate"])
    )
    parts.run.run()
    assert rates[:3] == pytest.approx([0.005, 0.0275, 0.05])
    assert rates[7] == pytest.approx(0.025)
    assert rates[-1] == pytest.approx(0.025 * (1 + math.cos(math.pi * 0.9)))


def test_average_is_ramped_then_exponential():
    """After n averaged steps the decay is (1 + n) / (10 + n), at most what was asked for."""
    averaged, current = [torch.zeros(1)], [torch.ones(1)]
    ramped_average(0.5)(averaged, current, torch.tensor(0))
    assert float(averaged[0]) == pytest.approx(0.9)
    averaged = [torch.zeros(1)]
    ramped_average(0.5)(averaged, current, torch.tensor(1000))
    assert float(averaged[0]) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="decay must be from 0 to 1; got 2"):
        ramped_average(2)


def test_loss_is_the_sum_of_its_terms():
    scales = [torch.rand(1, 3, 8, 8), torch.rand(1, 3, 4, 4)]
    label = torch.randint(0, 5, (1, 1, 8, 8))
    loss, terms = loss_and_terms(DeepScalesLoss(ChangeLoss()), scales, label)
    assert float(loss) == pytest.approx(sum(terms.values()))
    assert float(loss) == pytest.approx(float(DeepScalesLoss(ChangeLoss())(scales, label)))
    plain = DiceCELoss(softmax=True, to_onehot_y=True)
    assert loss_and_terms(plain, scales[0], (label == 1).float())[1] == {}


def test_no_batch_and_no_norm_are_refused(tmp_path, toy_run):
    with pytest.raises(ValueError, match="no batch to train on"):
        TrainingStep(seed=0)(toy_run(tmp_path).trainer, None)
    with pytest.raises(ValueError, match="max_gradient_norm must be above 0; got 0"):
        TrainingStep(seed=0, max_gradient_norm=0)
