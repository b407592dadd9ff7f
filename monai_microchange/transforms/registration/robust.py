# SPDX-License-Identifier: Apache-2.0
"""What changed between the visits must not pull the alignment: weights that leave it out."""

import torch

from monai_microchange.transforms.registration.likeness import joint_histogram

__all__ = ["biweight", "change_weight", "expected_grey", "unexplained"]

CUTOFF = 8.0
"""Places whose mean residual is beyond so many robust standard deviations count for nothing."""
MIN_SPREAD = 0.02
"""Least spread of grey values that is taken for noise, as a share of their range."""
ROUNDS = 2


def change_weight(
    one: torch.Tensor, other: torch.Tensor, weight: torch.Tensor, place: torch.Tensor, *, bins: int = 32
) -> torch.Tensor:
    """Weight (K, N) of samples, from 1 down to 0 where the scans differ more than their grey values explain.

    Each grey value of one scan is expected to look in the other as it mostly does; the residual from that, in units of
    its spread, is averaged over all samples of a place, so that a misaligned edge, which differs to either side, stays,
    and a lesion, which differs to one side, goes. Places are weighted by Tukey's biweight of that, both ways round;
    exchanging the scans changes nothing.

    Args:
        one: grey values (K, N) from 0 to 1.
        other: the same of the other scan.
        weight: of each sample (K, N).
        place: which place (N,) each sample belongs to, counted from 0.
        bins: of grey values.

    Source: Reuter et al., 2010, doi 10.1016/j.neuroimage.2010.07.020; there the residual is that of the grey values
    themselves and of each voxel alone, which needs equal contrasts, and takes some edges for change.
    """
    keep = torch.ones_like(one)
    for _ in range(ROUNDS):
        table = joint_histogram(one, other, weight * keep, bins)
        forth = _by_place(unexplained(table, one, other), weight, place)
        back = _by_place(unexplained(table.mT.contiguous(), other, one), weight, place)
        keep = (biweight(forth) * biweight(back)).to(one.dtype)[:, place]
    return keep


def expected_grey(table: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
    """What the one scan mostly shows (K, N) where the other shows `given` (K, N): the mean of each row of the table.

    Args:
        table: joint distribution (K, bins, bins) of the given grey values (rows) and the expected ones.
        given: grey values from 0 to 1.
    """
    return _read(_moments(table)[0], given)


def unexplained(table: torch.Tensor, given: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """How far `seen` (K, N) is from what is expected where the other scan shows `given`, in standard deviations."""
    mean, spread = _moments(table)
    return (seen - _read(mean, given)) / _read(spread, given)


def _moments(table: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation (K, bins) of each row."""
    grey = torch.linspace(0, 1, table.shape[1], dtype=table.dtype, device=table.device)
    total = table.sum(2).clamp(min=1e-9)
    mean = table @ grey / total
    return mean, (table @ grey.square() / total - mean.square()).clamp(min=MIN_SPREAD**2).sqrt()


def _read(curve: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Values of curves (K, bins) over 0 to 1, at (K, N)."""
    position = at * (curve.shape[1] - 1)
    index = position.floor().clamp(0, curve.shape[1] - 2).long()
    share, curve = position - index, curve.to(at.dtype)
    return curve.gather(1, index) * (1 - share) + curve.gather(1, index + 1) * share


def _by_place(residual: torch.Tensor, weight: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """Weighted mean residual of each place (K, places)."""
    count = int(place.max()) + 1
    sums = [
        torch.zeros(len(residual), count, dtype=torch.float64, device=place.device).index_add_(1, place, part.double())
        for part in (residual * weight, weight)
    ]
    return sums[0] / sums[1].clamp(min=1e-6)


def biweight(residual: torch.Tensor) -> torch.Tensor:
    """Tukey's biweight of residuals (K, places): from 1 down to 0 at `CUTOFF` robust standard deviations."""
    middle = residual.median(1, keepdim=True).values
    spread = 1.4826 * (residual - middle).abs().median(1, keepdim=True).values.clamp(min=1e-6)
    return (1 - ((residual - middle) / (CUTOFF * spread)).square()).clamp(min=0).square()
