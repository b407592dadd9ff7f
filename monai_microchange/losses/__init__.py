# SPDX-License-Identifier: Apache-2.0
"""Losses of the change network."""

from monai_microchange.losses.change import ChangeLoss
from monai_microchange.losses.scales import DeepScalesLoss

__all__ = ["ChangeLoss", "DeepScalesLoss"]
