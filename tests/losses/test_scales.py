# SPDX-License-Identifier: Apache-2.0
"""Deep supervision: labels on coarser grids, and the weighed sum over scales."""

import numpy as np
import pytest
import torch
from monai.losses import DiceCELoss

from monai_microchange.enums import ChangeLabel
from monai_microchange.losses import ChangeLoss, DeepScalesLoss
from monai_microchange.losses.scales import coarsen_labels

NONE, GAIN, LOSS, CHANGED, UNKNOWN = ChangeLabel


class MeanDifference(torch.nn.Module):
    """Mean of logits of class 1 less the labels: easy to reckon by hand."""

    def forward(self, logits, labels):
        return (logits[:, 1:2] - labels).mean()


@pytest.mark.parametrize(("shape", "size"), [((8, 6), (4, 3)), ((9, 7, 5), (5, 4, 3)), ((9, 7, 5), (3, 2, 2))])
def test_every_single_voxel_survives(shape, size):
    """Wherever it lies, and where the coarse grid is rounded up too."""
    for place in np.ndindex(*shape):
        labels = torch.zeros(1, 1, *shape)
        labels[(0, 0, *place)] = 2.0
        coarse = coarsen_labels(labels, size)
        assert coarse.shape == (1, 1, *size)
        assert coarse.max() == 2.0


def test_what_a_coarse_voxel_says():
    """Every pair of codes in a coarse voxel of two."""
    expected = torch.tensor(
        [
            [NONE, GAIN, LOSS, CHANGED, UNKNOWN],
            [GAIN, GAIN, CHANGED, CHANGED, GAIN],
            [LOSS, CHANGED, LOSS, CHANGED, LOSS],
            [CHANGED, CHANGED, CHANGED, CHANGED, CHANGED],
            [UNKNOWN, GAIN, LOSS, CHANGED, UNKNOWN],
        ]
    )
    pairs = torch.cartesian_prod(torch.arange(5), torch.arange(5)).view(1, 1, 5, 10)
    assert torch.equal(coarsen_labels(pairs, (5, 5))[0, 0], expected.float())


def coarse_code(codes):
    """What a set of codes says together."""
    if CHANGED in codes or {GAIN, LOSS} <= codes:
        return CHANGED
    return next(code for code in (GAIN, LOSS, UNKNOWN, NONE) if code in codes)


def test_coarse_labels_agree_with_loops():
    labels = torch.from_numpy(np.random.RandomState(0).choice(5, (2, 1, 8, 6, 10), p=[0.6, 0.1, 0.1, 0.1, 0.1]))
    coarse = coarsen_labels(labels, (4, 3, 5))
    for place in np.ndindex(2, 1, 4, 3, 5):
        inside = tuple(slice(2 * i, 2 * i + 2) for i in place[2:])
        assert coarse[place] == coarse_code(set(labels[place[0], 0][inside].flatten().tolist()))


def test_labels_of_the_same_size_are_kept():
    labels = torch.randint(0, 3, (2, 1, 5, 4), dtype=torch.uint8)
    coarse = coarsen_labels(labels, (5, 4))
    assert coarse.dtype == torch.float32
    assert torch.equal(coarse, labels.float())


def test_sum_by_hand():
    labels = torch.zeros(1, 1, 4, 4)
    labels[..., :2, :2] = 1.0
    scales = [torch.full((1, 3, n, n), value) for n, value in ((4, 1.0), (2, 2.0), (1, 3.0))]
    # a quarter of the voxels is 1 at 4 x 4 and at 2 x 2, and the only one at 1 x 1; weights are 1, 1/2 and 1/4
    expected = (1 * (1 - 0.25) + 0.5 * (2 - 0.25) + 0.25 * (3 - 1)) / 1.75
    assert float(DeepScalesLoss(MeanDifference())(scales, labels)) == pytest.approx(expected)


def test_a_single_tensor_is_one_scale():
    loss = DeepScalesLoss(MeanDifference())
    logits, labels = torch.rand(2, 3, 4, 4), torch.zeros(2, 1, 4, 4)
    assert float(loss(logits, labels)) == pytest.approx(float(loss([logits], labels)))
    assert float(loss(logits, labels)) == pytest.approx(float(logits[:, 1].mean()))


def test_terms_are_named_by_the_inner_loss_and_add_up():
    scales = [torch.randn(2, 3, n, n) for n in (8, 4)]
    labels = torch.randint(0, 5, (2, 1, 8, 8))
    loss = DeepScalesLoss(ChangeLoss())
    terms = loss.terms(scales, labels)
    assert list(terms) == ["cross_entropy", "dice"]
    torch.testing.assert_close(sum(terms.values()), loss(scales, labels))
    assert list(DeepScalesLoss(MeanDifference()).terms(scales, labels)) == ["loss"]


@pytest.mark.parametrize("dims", [2, 3])
def test_gradient_reaches_every_scale(dims):
    scales = [torch.zeros(2, 3, *[n] * dims, requires_grad=True) for n in (8, 4, 2)]
    labels = torch.zeros(2, 1, *[8] * dims, dtype=torch.uint8)
    labels[(0, 0, *[3] * dims)] = 1
    loss = DeepScalesLoss(DiceCELoss(softmax=True, to_onehot_y=True, include_background=False, batch=True))
    loss(scales, labels).backward()
    assert all(scale.grad.abs().sum() > 0 for scale in scales)


def test_right_logits_cost_less_than_wrong_ones():
    loss = DeepScalesLoss(DiceCELoss(softmax=True, to_onehot_y=True))
    labels = torch.zeros(1, 1, 8, 8)
    labels[..., 2:4, 2:4] = 1
    labels[..., 6:, 6:] = 2  # a class that is absent would cost its whole Dice
    right = []
    for n in (8, 4):
        coarse = coarsen_labels(labels, (n, n))[:, 0].long()
        right.append(10 * torch.nn.functional.one_hot(coarse, 3).movedim(-1, 1).float())
    wrong = [scale[:, [1, 0, 2]] for scale in right]
    assert loss(right, labels) < 0.05
    assert loss(wrong, labels) > 0.5
