# SPDX-License-Identifier: Apache-2.0
"""The loss of the change network: labels may be signed, unsigned ("changed, direction unknown") or missing."""

import torch
from torch import nn

from monai_microchange.enums import ChangeLabel
from monai_microchange.losses._processes import sum_over_processes

__all__ = ["ChangeLoss"]

_SMOOTH = 1e-5  # keeps a Dice of small sums finite, as in MONAI's DiceLoss


class ChangeLoss(nn.Module):
    """Cross-entropy and soft Dice of logits {none, gain, loss} against labels that need not tell the direction.

    A voxel costs the negative logarithm of the probability of all that its label allows: of its own class where the
    label is NONE, GAIN or LOSS, of gain or loss together where it is CHANGED, and nothing where it is UNKNOWN. Where
    the batch holds both GAIN and LOSS, and neither CHANGED nor UNKNOWN, this is MONAI's
    `DiceCELoss(softmax=True, to_onehot_y=True, include_background=False, batch=True)`.

    Dice is taken of three regions, each over the whole batch, and averaged over those regions that the labels hold:

    - gain, and loss, over the voxels labelled NONE, GAIN or LOSS;
    - change (gain or loss), over all labelled voxels of the samples whose label has CHANGED voxels.

    ================================  ==========================================================
    region: labelled / predicted      its Dice term
    ================================  ==========================================================
    neither                           left out of the mean, no gradient
    predicted only                    left out of the mean, no gradient; cross-entropy punishes it
    labelled only                     1
    both, without a common voxel      1
    ================================  ==========================================================

    So a batch without labelled change has a Dice term of 0, and one that is empty or all UNKNOWN a loss of 0 whose
    gradient is zero, not missing. (MONAI's Dice charges an absent class a constant near 1, whose gradient is steep
    where the prediction nearly vanishes.)

    *What unsigned labels can teach.* Exchanging gain and loss in the prediction leaves the cost of NONE, CHANGED and
    UNKNOWN labels as it is. So they teach where something changed; which way stays open, for each group of cases that
    a network can tell apart. A network that is antisymmetric in time, as `MicroChangeNet`, does choose one sign, but
    starting weights of the other sign fit such labels equally well. Signed labels of some cases (simulated ones, say)
    decide it, and the others follow so far as the network reads both alike.

    Under `torch.distributed` the sums behind both terms run over the samples of all processes. All processes must call
    the loss equally often, and what `DistributedDataParallel` averages is the gradient of one process with the whole
    batch. With gradients disabled each process answers for its own samples.

    Args:
        dice_weight: factor of Dice; cross-entropy has 1.
        change_weight: how much more a changed voxel counts in cross-entropy than an unchanged one.

    Raises:
        ValueError: if a weight is negative or `change_weight` is 0; when called, if logits are not (B, 3, *spatial),
            the label is not (B, 1, *spatial) of the same grid, or holds anything but `ChangeLabel` codes.

    Example:
        >>> logits = torch.tensor([[[0.0], [2.0], [1.0]]])  # none, gain, loss; one sample of one voxel
        >>> loss = ChangeLoss(dice_weight=0)
        >>> [round(float(loss(logits, torch.tensor([[[code]]]))), 3) for code in ChangeLabel]
        [2.408, 0.408, 1.408, 0.094, 0.0]

    Source: Jin and Ghahramani, 2002, Learning with Multiple Labels, NIPS 15, 921-928 (likelihood of a set of labels);
    Fidon et al., 2021, Label-Set Loss Functions for Partial Supervision, doi 10.1007/978-3-030-87196-3_60 (the same for
    segmentation); Milletari et al., 2016, V-Net, doi 10.1109/3DV.2016.79 (Dice; here, as in MONAI, with probabilities
    that are not squared in the denominator).
    """

    def __init__(self, *, dice_weight: float = 1.0, change_weight: float = 1.0):
        super().__init__()
        if dice_weight < 0:
            raise ValueError(f"dice_weight must not be negative; got {dice_weight}")
        if change_weight <= 0:
            raise ValueError(f"change_weight must be positive; got {change_weight}")
        self.dice_weight = dice_weight
        self.change_weight = change_weight

    def forward(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Loss, a scalar, of logits (B, 3, *spatial) against `ChangeLabel` codes (B, 1, *spatial) of any dtype.

        Half precision is reckoned in float32.
        """
        return torch.stack(list(self.terms(logits, label).values())).sum()

    def terms(self, logits: torch.Tensor, label: torch.Tensor) -> dict[str, torch.Tensor]:
        """The summands of the loss, weighed, as "cross_entropy" and "dice": to log them, call this and add them up."""
        _check_logits(logits, label)
        likelihood, overlap = _class_sums(logits, _codes(label[:, 0]))
        # one message for all
        sums = sum_over_processes(torch.cat([likelihood.flatten(), overlap.flatten()]))
        likelihood, overlap = sums[:4].view(2, 2), sums[4:].view(3, 3)
        return {
            "cross_entropy": self._cross_entropy(likelihood),
            "dice": self.dice_weight * _mean_dice_loss(overlap),
        }

    def _cross_entropy(self, likelihood: torch.Tensor) -> torch.Tensor:
        log_likelihood, voxels = (likelihood[0] + self.change_weight * likelihood[1]).unbind()
        return -log_likelihood / torch.where(voxels > 0, voxels, 1)


def _class_sums(logits: torch.Tensor, codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums over batch and space from which cross-entropy and Dice follow.

    Args:
        logits: (B, 3, *spatial).
        codes: (B, *spatial), uint8.

    Returns:
        (2, 2), log-likelihood and number of voxels that are labelled as unchanged, as changed; and (3, 3), overlap,
        predicted sum and labelled voxels of gain, loss, change.
    """
    if logits.dtype != torch.float64:
        logits = logits.float()
    log_none, log_gain, log_loss = torch.log_softmax(logits, dim=1).unbind(1)
    none, gain, loss, unsigned = ((codes == code).to(logits.dtype) for code in list(ChangeLabel)[:4])
    change = gain + loss + unsigned
    log_change = torch.logaddexp(log_gain, log_loss)
    likelihood = [
        torch.stack([(log_none * none).sum(), none.sum()]),
        torch.stack([(log_gain * gain + log_loss * loss + log_change * unsigned).sum(), change.sum()]),
    ]
    p_gain, p_loss = log_gain.exp(), log_loss.exp()
    signed = none + gain + loss
    # (B, 1, ...): whether the sample's label has voxels without direction
    holds_unsigned = (codes == ChangeLabel.CHANGED).flatten(1).any(1).view(-1, *[1] * (codes.ndim - 1))
    change, labelled = change * holds_unsigned, (none + change) * holds_unsigned
    regions = ((p_gain, gain, signed), (p_loss, loss, signed), (p_gain + p_loss, change, labelled))
    overlap = [torch.stack([(p * here).sum(), (p * seen).sum(), here.sum()]) for p, here, seen in regions]
    return torch.stack(likelihood), torch.stack(overlap)


def _mean_dice_loss(overlap: torch.Tensor) -> torch.Tensor:
    """Mean over the regions that are labelled anywhere of 1 - Dice, from (3, 3) overlap, predicted, labelled sums."""
    common, predicted, labelled = overlap.unbind(1)
    present = (labelled > 0).to(overlap.dtype)
    dice = (2 * common + _SMOOTH) / (predicted + labelled + _SMOOTH)
    return ((1 - dice) * present).sum() / present.sum().clamp(min=1)


def _check_logits(logits: torch.Tensor, label: torch.Tensor) -> None:
    if logits.ndim < 3 or logits.shape[1] != 3:
        raise ValueError(f"logits must be (B, 3, *spatial) for none, gain, loss; got {tuple(logits.shape)}")
    expected = (logits.shape[0], 1, *logits.shape[2:])
    if tuple(label.shape) != expected:
        raise ValueError(f"label must be (B, 1, *spatial) as the logits, {expected}; got {tuple(label.shape)}")


def _codes(label: torch.Tensor) -> torch.Tensor:
    codes = label.to(torch.uint8)
    wrong = (codes != label) | (codes > max(ChangeLabel))
    if wrong.any():
        known = ", ".join(f"{code.value} {code.name}" for code in ChangeLabel)
        raise ValueError(
            f"label holds {label[wrong][0].item():g}; it must hold codes of ChangeLabel: {known}. "
            "Were labels interpolated? Use the nearest voxel instead."
        )
    return codes
