# SPDX-License-Identifier: Apache-2.0
"""Training of our bundles on top of MONAI's `SupervisedTrainer`: draws, step, checkpoints, and what it shows."""

from monai_microchange.training.draws import DrawNumbers, DrawSource, NumberedDraws
from monai_microchange.training.inputs import hash_inputs, merge_inputs
from monai_microchange.training.log import TrainingLog, mlflow_handler
from monai_microchange.training.panels import change_panel
from monai_microchange.training.processes import join_processes, leave_processes, local_device
from monai_microchange.training.run import TrainingRun
from monai_microchange.training.screen import TrainingScreen
from monai_microchange.training.step import AllScales, AverageWeights, TrainingStep, loss_of, ramped_average
from monai_microchange.training.validation import ChangeValidation

__all__ = [
    "AllScales",
    "AverageWeights",
    "ChangeValidation",
    "DrawNumbers",
    "DrawSource",
    "NumberedDraws",
    "TrainingLog",
    "TrainingRun",
    "TrainingScreen",
    "TrainingStep",
    "change_panel",
    "hash_inputs",
    "join_processes",
    "leave_processes",
    "local_device",
    "loss_of",
    "merge_inputs",
    "mlflow_handler",
    "ramped_average",
]
