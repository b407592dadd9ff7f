# SPDX-License-Identifier: Apache-2.0
"""How alike two sets of grey values are, whatever the contrast: normalised mutual information with its gradient."""

from typing import Any

import torch
from torch.nn import functional

__all__ = ["joint_histogram", "normalized_mutual_information"]

QUANTA = 2.0**30
"""Weights are counted in such parts of 1: whole numbers in float64 add exactly, in any order and on any device."""


class _JointHistogram(torch.autograd.Function):
    """Each sample is shared among the four bins around it (order-1 B-splines)."""

    @staticmethod
    def forward(ctx: Any, one: torch.Tensor, other: torch.Tensor, weight: torch.Tensor, bins: int) -> torch.Tensor:
        (i, u), (j, v) = _place(one, bins), _place(other, bins)
        poses = torch.arange(len(one), device=one.device)[:, None] * bins**2
        corner = poses + i * bins + j
        counts = torch.zeros(len(one) * bins**2, dtype=torch.float64, device=one.device)
        for step_i, share_i in ((0, 1 - u), (1, u)):
            for step_j, share_j in ((0, 1 - v), (1, v)):
                share = (weight * (share_i * share_j)).double().mul_(QUANTA).round_()
                counts += torch.bincount((corner + step_i * bins + step_j).view(-1), share.view(-1), len(counts))
        ctx.save_for_backward(corner, u, v, weight)
        ctx.bins = bins
        return (counts / QUANTA).view(len(one), bins, bins)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[Any, ...]:
        corner, u, v, weight = ctx.saved_tensors
        table, bins = gradients[0].to(weight.dtype).reshape(-1), ctx.bins
        low_low, low_high, high_low, high_high = (table[corner + step] for step in (0, 1, bins, bins + 1))
        along_one = (high_low - low_low) * (1 - v) + (high_high - low_high) * v
        along_other = (low_high - low_low) * (1 - u) + (high_high - high_low) * u
        # summed so that exchanging the images changes no bit
        at = low_low * ((1 - u) * (1 - v)) + high_high * (u * v)
        at = at + (low_high * ((1 - u) * v) + high_low * (u * (1 - v)))
        return weight * along_one * (bins - 1), weight * along_other * (bins - 1), at, None


def _place(values: torch.Tensor, bins: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Lower bin of each value and how far it lies towards the next."""
    position = values.detach() * (bins - 1)
    index = position.floor().clamp_(0, bins - 2)
    return index.long(), position - index


def joint_histogram(one: torch.Tensor, other: torch.Tensor, weight: torch.Tensor, bins: int = 32) -> torch.Tensor:
    """Joint distribution of grey values, smooth in them.

    Samples are shared among neighbouring bins and the table is smoothed once more, which together is a Parzen window
    of about two bins' width. Exchanging the images gives exactly the transposed table.

    Args:
        one: grey values (K, N) from 0 to 1, of K poses.
        other: the same of the other image.
        weight: of each sample (K, N).
        bins: along each axis.

    Returns:
        (K, bins, bins), float64, sum 1 (all 0 if all weights are).
    """
    counts = _JointHistogram.apply(one, other, weight, bins)
    # sums in either order, so that rounding is the same whichever image comes first
    return (_smooth(counts) + _smooth(counts.mT.contiguous()).mT) / 2


def _smooth(counts: torch.Tensor) -> torch.Tensor:
    kernel = counts.new_tensor([0.25, 0.5, 0.25])
    padded = functional.pad(counts[:, None], (1, 1, 1, 1), mode="replicate")
    smooth = functional.conv2d(padded, (kernel[:, None] * kernel)[None, None])[:, 0]
    return smooth / smooth.sum((1, 2), keepdim=True).clamp(min=1e-12)


def normalized_mutual_information(
    one: torch.Tensor, other: torch.Tensor, weight: torch.Tensor, bins: int = 32
) -> torch.Tensor:
    """Normalised mutual information of each pose (K,): 1 if the images tell nothing of each other, at most 2.

    Args as `joint_histogram`. All weights 0 gives 1.

    Example:
        >>> ramp = torch.linspace(0, 1, 1000)[None]
        >>> same = normalized_mutual_information(ramp, 1 - ramp, torch.ones_like(ramp))
        >>> noise = normalized_mutual_information(ramp, ramp[:, torch.randperm(1000)], torch.ones_like(ramp))
        >>> bool(same > 1.3), bool(noise < 1.1)
        (True, True)

    Source: Studholme et al., 1999, doi 10.1016/S0031-3203(98)00091-0.
    """
    table = joint_histogram(one, other, weight, bins)
    turned = table.mT.contiguous()
    apart = _entropy(table.sum(2)) + _entropy(turned.sum(2))
    together = (_entropy(table.flatten(1)) + _entropy(turned.flatten(1))) / 2
    return torch.where(together > 1e-9, apart / together.clamp(min=1e-9), torch.ones_like(together))


def _entropy(probability: torch.Tensor) -> torch.Tensor:
    return -(probability * probability.clamp(min=1e-12).log()).sum(1)
