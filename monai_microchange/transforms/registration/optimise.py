# SPDX-License-Identifier: Apache-2.0
"""Minimise several small problems side by side: BFGS, as one batch."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

__all__ = ["Minimum", "minimise"]

MAX_HALVINGS = 5
"""How often a step that leads uphill is shortened before it is given up."""


@dataclass(frozen=True)
class Minimum:
    """Where a batch of minimisations ended.

    Attributes:
        point: (K, P).
        value: (K,).
        curvature: estimate (K, P, P) of the inverse of the second derivatives; a good start for a similar problem.
        evaluations: how often the function was asked.
    """

    point: torch.Tensor
    value: torch.Tensor
    curvature: torch.Tensor
    evaluations: int


def minimise(
    function: Callable[[torch.Tensor], torch.Tensor],
    start: torch.Tensor,
    *,
    max_step: float,
    tolerance: float,
    iterations: int,
    curvature: torch.Tensor | None = None,
) -> Minimum:
    """Minimise K independent functions of P variables from K starting points.

    Args:
        function: (K, P) to values (K,), each of its own row only; asked with gradients.
        start: (K, P), float64.
        max_step: longest step, in units of the variables.
        tolerance: a problem is solved when its step is shorter than this.
        iterations: at most so many.
        curvature: (K, P, P), of an earlier `Minimum`; without it the first step has length `max_step`.

    Source: Nocedal and Wright, Numerical Optimization, 2006, algorithm 6.1 and 3.1 (backtracking).
    """
    problems, variables = start.shape
    identity = torch.eye(variables, dtype=start.dtype, device=start.device).expand(problems, -1, -1)
    point, (value, slope), evaluations = start, _ask(function, start), 1
    if curvature is None:
        curvature = identity * (max_step / slope.norm(dim=1).clamp(min=1e-12))[:, None, None]
    active = torch.ones(problems, dtype=torch.bool, device=start.device)
    for _ in range(iterations):
        step = -(curvature @ slope[..., None])[..., 0]
        downhill = (step * slope).sum(1) < 0
        step = torch.where(downhill[:, None], step, -slope)
        step = step * (max_step / step.norm(dim=1).clamp(min=1e-12)).clamp(max=1.0)[:, None] * active[:, None]
        gain = (step * slope).sum(1)
        length = torch.ones(problems, dtype=start.dtype, device=start.device)
        for _ in range(MAX_HALVINGS):
            new_value, new_slope = _ask(function, point + length[:, None] * step)
            evaluations += 1
            worse = active & (new_value > value + 1e-4 * length * gain)
            if not worse.any():
                break
            # the parabola through both values and the slope at the start has its lowest point here
            lowest = -gain * length / (2 * ((new_value - value) / length - gain)).clamp(min=1e-12)
            length = torch.where(worse, torch.clamp(lowest, 0.1 * length, 0.5 * length), length)
        moved = (active & ~worse)[:, None]
        moved_by = torch.where(moved, length[:, None] * step, torch.zeros_like(step))
        bend = new_slope - slope
        curvature = _update(curvature, moved_by, bend)
        point = point + moved_by
        value, slope = torch.where(moved[:, 0], new_value, value), torch.where(moved, new_slope, slope)
        active = active & moved[:, 0] & (moved_by.norm(dim=1) > tolerance)
        if not active.any():
            break
    return Minimum(point, value, curvature, evaluations)


def _ask(function: Callable[[torch.Tensor], torch.Tensor], point: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.enable_grad():
        variables = point.detach().clone().requires_grad_()
        values = function(variables)
        (slope,) = torch.autograd.grad(values.sum(), variables)
    return values.detach(), slope


def _update(curvature: torch.Tensor, step: torch.Tensor, bend: torch.Tensor) -> torch.Tensor:
    """The BFGS update of the inverse second derivatives, left out where the function does not bend upwards."""
    inner = (step * bend).sum(1)
    good = inner > 1e-10 * step.norm(dim=1) * bend.norm(dim=1) + 1e-30
    scale = torch.where(good, 1 / inner.clamp(min=1e-30), torch.zeros_like(inner))[:, None, None]
    left = torch.eye(step.shape[1], dtype=step.dtype, device=step.device) - scale * step[:, :, None] * bend[:, None, :]
    updated = left @ curvature @ left.transpose(1, 2) + scale * step[:, :, None] * step[:, None, :]
    return torch.where(good[:, None, None], updated, curvature)
