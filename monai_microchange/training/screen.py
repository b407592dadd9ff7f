# SPDX-License-Identifier: Apache-2.0
"""What a training shows on the screen: how far it is, its loss, and how long it will take."""

import time
from datetime import timedelta

from ignite.engine import Engine, Events
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from monai_microchange.training.processes import process_rank
from monai_microchange.training.step import loss_of

__all__ = ["TrainingScreen", "progress_line"]


class TrainingScreen:
    """Handler that shows a bar with epoch, step, loss and time left; without a terminal, a line from time to time.

    Of several processes only the first one shows anything.

    Args:
        every_s: seconds between two lines where there is no terminal; each epoch's end gives one too.
        console: where to; standard error by default.
    """

    def __init__(self, *, every_s: float = 60.0, console: Console | None = None):
        self.every_s = every_s
        self.console = console or Console(stderr=True)
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}  step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("loss {task.fields[loss]:.3f}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=self.console,
            speed_estimate_period=600,
        )
        self._first_step = self._shown_step = 0
        self._started_s = self._shown_s = 0.0

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        if process_rank() > 0:
            return
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._line)
        engine.add_event_handler(Events.COMPLETED | Events.EXCEPTION_RAISED, self._stop)

    def say(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        if process_rank() == 0:
            self.console.print(text, highlight=False)

    def _start(self, engine: Engine) -> None:
        self._started_s = self._shown_s = time.monotonic()
        self._first_step = engine.state.iteration
        if self.console.is_terminal:
            self._task = self._progress.add_task(
                "", total=_total_steps(engine), completed=self._first_step, epoch="", loss=0.0
            )
            self._progress.start()

    def _step(self, engine: Engine) -> None:
        if self.console.is_terminal:
            epoch = f"{engine.state.epoch}/{engine.state.max_epochs}"
            self._progress.update(
                self._task, completed=engine.state.iteration, epoch=epoch, loss=loss_of(engine.state.output)
            )
        elif time.monotonic() - self._shown_s >= self.every_s:
            self._line(engine)

    def _line(self, engine: Engine) -> None:
        if not self.console.is_terminal and engine.state.iteration != self._shown_step:
            passed_s = time.monotonic() - self._started_s
            self.say(progress_line(engine, passed_s / max(engine.state.iteration - self._first_step, 1)))
            self._shown_s, self._shown_step = time.monotonic(), engine.state.iteration

    def _stop(self, _: Engine, error: BaseException | None = None) -> None:
        if self.console.is_terminal:
            self._progress.stop()
        if error is not None:
            # a handler of this event swallows the exception otherwise
            raise error


def progress_line(engine: Engine, seconds_per_step: float) -> str:
    """How far a trainer is, in one line.

    Args:
        engine: trainer after a step.
        seconds_per_step: so far.

    Example:
        >>> from types import SimpleNamespace
        >>> state = {"epoch": 2, "max_epochs": 4, "epoch_length": 5, "iteration": 10, "output": {"loss": 0.5}}
        >>> progress_line(SimpleNamespace(state=SimpleNamespace(**state)), 6.0)
        'epoch 2/4, step 10/20, loss 0.500, 0:01:00 left'
    """
    state = engine.state
    steps = _total_steps(engine)
    left = timedelta(seconds=round((steps - state.iteration) * seconds_per_step))
    return (
        f"epoch {state.epoch}/{state.max_epochs}, step {state.iteration}/{steps}, "
        f"loss {loss_of(state.output):.3f}, {left} left"
    )


def _total_steps(engine: Engine) -> int:
    return int(engine.state.max_epochs or 0) * int(engine.state.epoch_length or 0)
