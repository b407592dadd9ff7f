# SPDX-License-Identifier: Apache-2.0
"""The training step, and that a broken run goes on as if it had not broken."""

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.handlers import LrScheduleHandler
from monai.losses import DiceCELoss
from monai.utils import CommonKeys

from monai_microchange.losses import DeepScalesLoss
from monai_microchange.networks.nets import MicroChangeNet
from monai_microchange.training import AllScalesInferer, autocast_iteration, loss_of, run_or_resume

EPOCHS = 4


class Toy(torch.nn.Module):
    """The smallest network with scales."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 1, 1)

    def forward(self, x):
        return self.forward_scales(x)[0]

    def forward_scales(self, x):
        return [self.conv(x)]


def make_batches(count=3):
    """Images of which the label is twice the value and one more."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, 2, 1, 4, 4, generator=generator)
    return [{"image": image, "label": 2 * image + 1} for image in images]


def make_trainer(batches=None, network=None, loss=None, learning_rate=0.05, **options):
    torch.manual_seed(0)
    network = Toy() if network is None else network
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate)
    batches = make_batches() if batches is None else batches
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=EPOCHS * len(batches))
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=EPOCHS,
        train_data_loader=batches,
        network=network,
        optimizer=optimizer,
        loss_function=DeepScalesLoss(torch.nn.MSELoss()) if loss is None else loss,
        inferer=AllScalesInferer(),
        iteration_update=autocast_iteration,
        train_handlers=[LrScheduleHandler(scheduler, print_lr=False, epoch_level=False)],
        **options,
    )
    return trainer, {"model": network, "optimizer": optimizer, "scheduler": scheduler}


def record_losses(trainer):
    losses = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: losses.append(loss_of(engine.state.output)))
    return losses


def test_inferer_asks_for_all_scales():
    net, x = MicroChangeNet(2, 2, channels=(4, 8, 8)).eval(), torch.rand(1, 2, 8, 8)
    scales = AllScalesInferer()(x, net)
    assert [s.shape[-1] for s in scales] == [8, 4]
    assert torch.equal(scales[0], net(x))


def test_inferer_looks_inside_a_wrapper():
    net, x = Toy(), torch.rand(1, 1, 4, 4)
    assert torch.equal(AllScalesInferer()(x, torch.nn.DataParallel(net))[0], net(x))


def test_steps_lower_the_loss():
    trainer, _ = make_trainer(learning_rate=0.3)
    losses = record_losses(trainer)
    trainer.run()
    assert len(losses) == EPOCHS * 3
    assert losses[-1] < 0.7 * losses[0]


def test_steps_lower_the_loss_of_the_change_network():
    image = torch.rand(2, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    label = (image[:, 1:] - image[:, :1] > 0.5).float()
    loss = DeepScalesLoss(DiceCELoss(softmax=True, to_onehot_y=True, include_background=False, batch=True))
    trainer, _ = make_trainer([{"image": image, "label": label}] * 4, MicroChangeNet(2, 2, channels=(4, 8, 8)), loss)
    losses = record_losses(trainer)
    trainer.run()
    assert losses[-1] < 0.9 * losses[0]


def test_step_runs_in_bfloat16_and_gives_what_handlers_want():
    trainer, state = make_trainer()
    seen = []
    state["model"].conv.register_forward_hook(lambda module, given, out: seen.append(out.dtype))
    trainer.run()
    assert set(seen) == {torch.bfloat16}
    output = trainer.state.output[0] if isinstance(trainer.state.output, list) else trainer.state.output
    assert {CommonKeys.IMAGE, CommonKeys.LABEL, CommonKeys.LOSS} <= set(output)


def test_gradient_is_clipped():
    trainer, state = make_trainer(make_batches(1))
    trainer.loss_function = lambda prediction, label: 1e6 * (prediction[0] - label).square().mean()
    norms = []
    step = state["optimizer"].step

    def watch(*args, **kwargs):
        norms.append(float(torch.nn.utils.get_total_norm([p.grad for p in state["model"].parameters()])))
        return step(*args, **kwargs)

    state["optimizer"].step = watch
    autocast_iteration(trainer, make_batches(1)[0])
    assert norms == [pytest.approx(1.0, abs=1e-3)]


def test_step_whose_loss_is_not_finite_is_not_taken():
    trainer, state = make_trainer()
    before = {name: value.clone() for name, value in state["model"].state_dict().items()}
    batch = make_batches(1)[0]
    batch["image"][0, 0, 0, 0] = torch.nan
    autocast_iteration(trainer, batch)
    for name, value in state["model"].state_dict().items():
        assert torch.equal(value, before[name])


def test_no_batch_is_refused():
    with pytest.raises(ValueError, match="no batch to train on"):
        autocast_iteration(make_trainer()[0], None)


def test_loss_is_found_in_either_form_of_output():
    assert loss_of({"loss": 2.0}) == loss_of([{"loss": 2.0}]) == 2.0


class Broken(Exception):
    """The power went."""


def break_at(trainer, iteration):
    def fail(engine):
        if engine.state.iteration == iteration:
            raise Broken

    trainer.add_event_handler(Events.ITERATION_STARTED, fail)


def test_uninterrupted_run_leaves_no_checkpoint(tmp_path):
    trainer, state = make_trainer()
    epochs = []
    trainer.add_event_handler(
        Events.EPOCH_STARTED,
        lambda engine: epochs.append((engine.state.epoch, (tmp_path / "a" / "resume.pt").exists())),
    )
    run_or_resume(trainer, state, tmp_path / "a")
    assert epochs == [(1, False), (2, True), (3, True), (4, True)]
    assert list((tmp_path / "a").iterdir()) == []


@pytest.mark.parametrize("iteration", [5, 7, 11])
def test_resumed_run_equals_an_uninterrupted_one(tmp_path, iteration):
    """Broken in the second, third and last epoch of three steps each."""
    whole, whole_state = make_trainer()
    run_or_resume(whole, whole_state, tmp_path)

    first, first_state = make_trainer()
    break_at(first, iteration)
    with pytest.raises(Broken):
        run_or_resume(first, first_state, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["resume.pt"]

    second, second_state = make_trainer()
    losses = record_losses(second)
    run_or_resume(second, second_state, tmp_path)
    done = (iteration - 1) // 3
    assert len(losses) == 3 * (EPOCHS - done)
    assert second.state.epoch == EPOCHS
    assert second_state["scheduler"].last_epoch == whole_state["scheduler"].last_epoch
    for name, value in whole_state["model"].state_dict().items():
        assert torch.equal(second_state["model"].state_dict()[name], value)
    assert list(tmp_path.iterdir()) == []


def test_run_broken_in_its_first_epoch_starts_again(tmp_path):
    first, first_state = make_trainer()
    break_at(first, 2)
    with pytest.raises(Broken):
        run_or_resume(first, first_state, tmp_path)
    assert list(tmp_path.iterdir()) == []
    second, second_state = make_trainer()
    losses = record_losses(second)
    run_or_resume(second, second_state, tmp_path)
    assert len(losses) == 3 * EPOCHS
