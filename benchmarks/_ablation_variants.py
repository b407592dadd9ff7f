# SPDX-License-Identifier: Apache-2.0
"""The networks that the ablation compares, and the schedule that all of them are trained by."""

import bisect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.networks.nets import DynUNet, UNet

from monai_microchange.networks.nets import MicroChangeNet
from monai_microchange.networks.nets.microchange_net import NETWORK_PARTS

FULL = "full"
WITHOUT = "without_"
EARLY_FUSION = ("dynunet", "unet")
VARIANTS = (FULL, *(WITHOUT + part for part in NETWORK_PARTS), *EARLY_FUSION)

N_CLASSES = 3

MOST_DIFFERENCE = 0.05
"""In number of parameters, for an early fusion to count as equally large."""


@dataclass(frozen=True)
class TrainingRecipe:
    """What is the same for all variants.

    Attributes:
        in_channels: of both visits.
        channels: of `MicroChangeNet` at each scale; the others are as wide as gives about as many parameters.
        dropout: of `MicroChangeNet`.
        learning_rate: the highest.
        warmup_share: of the budget.
        weight_decay: of AdamW.
        ema_decay: of the running average of the weights, which is what is scored.
        max_gradient_norm: gradients are scaled down to it.
    """

    in_channels: int
    channels: tuple[int, ...]
    dropout: float
    learning_rate: float
    warmup_share: float
    weight_decay: float
    ema_decay: float
    max_gradient_norm: float

    @classmethod
    def read(cls, parser: ConfigParser) -> "TrainingRecipe":
        """That of `train.yaml`."""
        names = ("dropout", "learning_rate", "weight_decay", "ema_decay", "max_gradient_norm")
        values: dict[str, Any] = {name: parser.get_parsed_content(name) for name in names}
        steps = parser.get_parsed_content("max_epochs") * parser.get_parsed_content("steps_per_epoch")
        return cls(
            in_channels=parser.get_parsed_content("network_def#in_channels"),
            channels=tuple(parser["network_def#channels"]),
            warmup_share=parser.get_parsed_content("warmup_steps") / steps,
            **values,
        )

    def rate(self, share: float) -> float:
        """Learning rate when this share of the budget is used: a straight rise, then half a cosine down to 0.

        >>> recipe = TrainingRecipe(4, (8, 16), 0.0, 0.01, 0.2, 0.0, 0.9, 1.0)
        >>> [round(recipe.rate(share), 4) for share in (0.0, 0.2, 0.6, 1.0)]
        [0.0005, 0.01, 0.005, 0.0]
        """
        if share < self.warmup_share:
            return self.learning_rate * (0.05 + 0.95 * share / self.warmup_share)
        done = min((share - self.warmup_share) / (1 - self.warmup_share), 1.0)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def build_variant(name: str, recipe: TrainingRecipe, *, seed: int) -> torch.nn.Module:
    """A network with random weights that maps (B, in_channels, *spatial) to logits (B, 3, *spatial).

    Raises:
        ValueError: if the name is not one of `VARIANTS`, or an early fusion cannot be made as large as ours.
    """
    if name not in VARIANTS:
        raise ValueError(f"expected a variant of {', '.join(VARIANTS)}; got {name!r}")
    torch.manual_seed(seed)
    if name not in EARLY_FUSION:
        return _ours(recipe, () if name == FULL else (name.removeprefix(WITHOUT),))
    build = _dynunet if name == "dynunet" else _unet
    target = n_parameters(_ours(recipe))
    widths = _equal_widths(lambda widths: n_parameters(build(recipe.in_channels, widths)), recipe.channels, target)
    torch.manual_seed(seed)
    return build(recipe.in_channels, widths)


def _equal_widths(size: Callable[[list[int]], int], channels: Sequence[int], target: int) -> list[int]:
    """Widths, in the proportions of `channels`, whose size comes nearest to `target`.

    >>> _equal_widths(sum, (10, 20), 63)
    [21, 42]
    """
    widths = [[max(round(width * share), 1) for width in channels] for share in np.arange(0.2, 3.0, 0.01)]
    # size grows with each of them, so few need to be built
    place = bisect.bisect_left(widths, target, hi=len(widths) - 1, key=size)
    best = min(widths[max(place - 1, 0) : place + 1], key=lambda some: abs(size(some) - target))
    if abs(size(best) / target - 1) > MOST_DIFFERENCE:
        raise ValueError(f"no widths give {target} parameters within {MOST_DIFFERENCE:.0%}; {best} give {size(best)}")
    return best


def n_parameters(network: torch.nn.Module) -> int:
    """How many numbers a network learns."""
    return sum(parameter.numel() for parameter in network.parameters())


def _ours(recipe: TrainingRecipe, without: Sequence[str] = ()) -> MicroChangeNet:
    return MicroChangeNet(
        3, recipe.in_channels, N_CLASSES, channels=recipe.channels, dropout=recipe.dropout, without=without
    )


def _dynunet(in_channels: int, filters: Sequence[int]) -> DynUNet:
    """Of one scale of logits, whether it trains or not: with deep supervision it would stack them while it trains."""
    depth = len(filters)
    return DynUNet(
        spatial_dims=3,
        in_channels=in_channels,
        out_channels=N_CLASSES,
        kernel_size=[3] * depth,
        strides=[1] + [2] * (depth - 1),
        upsample_kernel_size=[2] * (depth - 1),
        filters=list(filters),
        deep_supervision=False,
    )


def _unet(in_channels: int, filters: Sequence[int]) -> UNet:
    return UNet(
        spatial_dims=3,
        in_channels=in_channels,
        out_channels=N_CLASSES,
        channels=list(filters),
        strides=[2] * (len(filters) - 1),
        num_res_units=2,
    )
