# SPDX-License-Identifier: Apache-2.0
"""What a training leaves for TensorBoard and MLflow."""

import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
from ignite.engine import Engine, Events
from monai.handlers import MLFlowHandler

from monai_microchange.training.processes import process_rank

__all__ = ["TrainingLog", "mlflow_handler", "scalars_of"]


class TrainingLog:
    """Handler that writes what `TrainingStep` calls "scalars", and the share of time spent waiting for data.

    Others put their numbers and pictures into the same files through `scalars` and `image`, once the trainer runs. A
    resumed run takes the place of what its folder holds of later steps. Of several processes only the first one writes.

    Args:
        log_dir: folder of the TensorBoard files; None writes none.
        every_steps: how often the step's numbers are written.

    Raises:
        ValueError: if `every_steps` is not positive.
        ImportError: if files are wanted and TensorBoard is not installed.

    Example:
        >>> log = TrainingLog(None)
        >>> log.scalars({"loss": 1.0}, 1)
    """

    def __init__(self, log_dir: str | Path | None, *, every_steps: int = 10):
        if every_steps < 1:
            raise ValueError(f"every_steps must be at least 1; got {every_steps}")
        if log_dir is not None and find_spec("tensorboard") is None:
            raise ImportError(
                "TensorBoard is not installed: pip install 'monai-microchange[train]', or set tensorboard_dir to null"
            )
        self.every_steps = every_steps
        self.log_dir = log_dir if process_rank() == 0 else None
        self.writer: Any = None
        self._waited_s = self._asked_s = 0.0
        self._since_s = time.perf_counter()

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.GET_BATCH_STARTED, self._ask)
        engine.add_event_handler(Events.GET_BATCH_COMPLETED, self._got)
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.every_steps), self._write_step)
        engine.add_event_handler(Events.COMPLETED, self._close)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write numbers of a step, by name."""
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(name, value, step)

    def image(self, name: str, picture: np.ndarray, step: int) -> None:
        """Write a picture (3, height, width), uint8."""
        if self.writer is not None:
            self.writer.add_image(name, picture, step)

    def _start(self, engine: Engine) -> None:
        if self.log_dir is not None:
            # an extra: not there unless asked for
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(self.log_dir), purge_step=engine.state.iteration + 1)
        self._waited_s, self._since_s = 0.0, time.perf_counter()

    def _ask(self, _: Engine) -> None:
        self._asked_s = time.perf_counter()

    def _got(self, _: Engine) -> None:
        self._waited_s += time.perf_counter() - self._asked_s

    def _write_step(self, engine: Engine) -> None:
        now = time.perf_counter()
        waiting = self._waited_s / max(now - self._since_s, 1e-9)
        self.scalars(
            {**scalars_of(cast(dict[str, Any], engine.state.output)), "data_wait_share": waiting},
            engine.state.iteration,
        )
        self._waited_s, self._since_s = 0.0, now

    def _close(self, _: Engine) -> None:
        if self.writer is not None:
            self.writer.close()


def mlflow_handler(tracking_uri: str, *, experiment_name: str = "ms_lesion_change") -> MLFlowHandler:
    """MONAI's handler for MLflow, with the numbers of `TrainingStep`.

    Args:
        tracking_uri: of a server, or `sqlite:///path/to/file.db`.
        experiment_name: under which the run appears.

    Raises:
        ImportError: if MLflow is not installed.
    """
    if find_spec("mlflow") is None:
        raise ImportError("MLflow is not installed: pip install 'monai-microchange[mlflow]', or set mlflow_uri to null")
    return MLFlowHandler(
        tracking_uri,
        # the default logger of epochs wants metrics, which there are none of
        epoch_log=False,
        output_transform=scalars_of,
        experiment_name=experiment_name,
        close_on_complete=True,
    )


def scalars_of(output: Mapping[str, Any]) -> dict[str, float]:
    """The numbers to plot in a trainer's output.

    >>> scalars_of({"scalars": {"loss": 0.5}})
    {'loss': 0.5}
    """
    return dict(output["scalars"])
