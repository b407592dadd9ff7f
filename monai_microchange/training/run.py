# SPDX-License-Identifier: Apache-2.0
"""A training run that can break off anywhere and go on, and the weights that it leaves."""

import struct
import time
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import monai
import torch
from ignite.engine import Events
from ignite.handlers import Checkpoint
from monai.engines import SupervisedTrainer

import monai_microchange
from monai_microchange.networks.weights import file_sha256, training_record
from monai_microchange.training.draws import DrawNumbers
from monai_microchange.training.inputs import merge_inputs
from monai_microchange.training.processes import from_first_process, process_rank

__all__ = ["TrainingRun", "save_atomically"]


def save_atomically(content: Any, path: Path) -> None:
    """Save with `torch.save` so that the file is never there half written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.part")
    torch.save(content, unfinished)
    unfinished.replace(path)


class TrainingRun:
    """Train to the end, going on from `resume.pt` where an earlier run of the same settings broke off.

    `resume.pt` in `ckpt_dir` is renewed after each epoch, and within long ones after `save_every_s` seconds. At the end
    `model.pt` takes its place: {"model": weights, "training": record}, which `networks.weights` reads. The record holds
    the hashes of all files that were learnt from, those of the weights that the run started from among them.

    With several processes the first one reads and writes these files.

    Args:
        trainer: what is run, over `numbers`, with an `epoch_length`.
        numbers: the draws' numbers that the trainer's data loader takes.
        state: objects with a `state_dict`, by name: "network", "optimizer", "scheduler", and "ema" if there is one,
            whose weights are then the result.
        ckpt_dir: folder of both files.
        inputs: SHA-256 of each file that is learnt from, by name.
        settings: plain values, kept in the record; a run goes on only if these, its inputs and the weights that it
            started from are the same.
        started_from: file of the weights that the network began with, None for random ones.
        save_every_s: seconds.

    Raises:
        ValueError: when run, if `resume.pt` is of another run or network, or damaged.
    """

    def __init__(
        self,
        trainer: SupervisedTrainer,
        numbers: DrawNumbers,
        state: Mapping[str, Any],
        ckpt_dir: str | Path,
        *,
        inputs: Mapping[str, str],
        settings: Mapping[str, Any],
        started_from: str | Path | None = None,
        save_every_s: float = 600.0,
    ):
        self.trainer = trainer
        self.numbers = numbers
        self.state = {**state, "trainer": trainer}
        self.folder = Path(ckpt_dir)
        self.inputs = dict(inputs)
        self.settings = dict(settings)
        self._started_sha256 = None if started_from is None else file_sha256(started_from)
        self._started_record = None if started_from is None else training_record(started_from)
        self.save_every_s = save_every_s
        self._began_s = self._saved_s = time.monotonic()

    def run(self) -> None:
        """Train what is left to train, and write `model.pt`."""
        self._began_s = self._saved_s = time.monotonic()
        self._resume()
        self.trainer.add_event_handler(Events.ITERATION_COMPLETED, self._save_if_long_ago)
        self.trainer.add_event_handler(Events.EPOCH_COMPLETED, self._save)
        if self.numbers.first_step < self.numbers.steps:
            self.trainer.run()
        if process_rank() == 0:
            save_atomically({"model": self._weights(), "training": self.record()}, self.folder / "model.pt")
            (self.folder / "resume.pt").unlink(missing_ok=True)

    def record(self) -> dict[str, Any]:
        """What there is to know about the weights; plain values alone."""
        before = self._started_record
        complete = self._started_sha256 is None or (before is not None and before.get("inputs_complete", False))
        return {
            "inputs": merge_inputs(self.inputs, before["inputs"] if before else {}),
            "inputs_complete": complete,
            "started_from_sha256": self._started_sha256,
            "settings": self.settings,
            "steps": self.trainer.state.iteration,
            "seconds": time.monotonic() - self._began_s,
            "device": str(self.trainer.state.device),
            "versions": {
                "monai_microchange": monai_microchange.__version__,
                "monai": monai.__version__,
                "torch": str(torch.__version__),
            },
        }

    def _weights(self) -> dict[str, torch.Tensor]:
        network = self.state["ema"].module if "ema" in self.state else self.state["network"]
        return {name: value.detach().cpu() for name, value in network.state_dict().items()}

    def _resume(self) -> None:
        path = self.folder / "resume.pt"
        found = path.is_file() and process_rank() == 0
        saved: Any = from_first_process(_read(path) if found else None)
        if saved is None:
            return
        was, now = saved["facts"], self._facts()
        other = [f"{key} was {was.get(key)} and is {now.get(key)}" for key in was | now if was.get(key) != now.get(key)]
        if other or set(saved["state"]) != set(self.state):
            raise ValueError(
                f"{path}: expected this run to go on with, got another ({', '.join(other[:5]) or 'other parts'}); "
                "give the same settings, inputs and start, or another ckpt_dir, or delete the file"
            )
        try:
            Checkpoint.load_objects(self.state, saved["state"])
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"{path}: expected a run of this network, got {str(error)[:300]}") from error
        self.numbers.first_step = self.trainer.state.iteration
        self._began_s -= saved["seconds"]

    def _facts(self) -> dict[str, Any]:
        """What must be the same for a run to go on."""
        return {**self.settings, "start": self._started_sha256, **self.inputs}

    def _save_if_long_ago(self, _: SupervisedTrainer) -> None:
        if time.monotonic() - self._saved_s >= self.save_every_s:
            self._save(_)

    def _save(self, _: SupervisedTrainer) -> None:
        self._saved_s = time.monotonic()
        if process_rank() == 0:
            state = {name: part.state_dict() for name, part in self.state.items()}
            seconds = time.monotonic() - self._began_s
            save_atomically({"state": state, "facts": self._facts(), "seconds": seconds}, self.folder / "resume.pt")


def _read(path: Path) -> dict[str, Any]:
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        return {key: saved[key] for key in ("state", "facts", "seconds")}
    # all that torch.load raises on damaged bytes
    except (
        *(RuntimeError, EOFError, UnpicklingError, struct.error),
        *(AttributeError, LookupError, TypeError, ValueError),
    ) as error:
        raise ValueError(
            f"{path}: expected what a run leaves when it breaks off, got {type(error).__name__}: {str(error)[:300]}; "
            "delete the file to start again"
        ) from error
