# SPDX-License-Identifier: Apache-2.0
"""The loss for signed, unsigned and missing labels: by hand, voxel by voxel, against MONAI, and at its edges."""

import math
import pickle

import pytest
import torch
from monai.losses import DiceCELoss

from monai_microchange.enums import ChangeLabel
from monai_microchange.losses import ChangeLoss, DeepScalesLoss

NONE, GAIN, LOSS, CHANGED, UNKNOWN = ChangeLabel
SMOOTH = 1e-5
SWAPPED = torch.tensor([NONE, LOSS, GAIN, CHANGED, UNKNOWN])  # each code as seen with the visits exchanged


def draw(codes, shape=(2, 3, 4, 5, 3), seed=0, dtype=torch.float32):
    """Logits of `shape` and a label that holds some of `codes` in each sample."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(shape, generator=generator, dtype=dtype)
    picks = torch.randint(len(codes), (shape[0], 1, *shape[2:]), generator=generator)
    return logits, torch.tensor(codes)[picks]


def gradient(loss, logits, label):
    logits = logits.detach().requires_grad_()
    loss(logits, label).backward()
    return logits.grad


def one_voxel(probabilities, code):
    """Logits (1, 3, 1) with these probabilities, and their label."""
    return torch.tensor(probabilities, dtype=torch.float64).log().view(1, 3, 1), torch.tensor([[[int(code)]]])


@pytest.mark.parametrize(
    ("code", "cost", "slope"),
    [
        (NONE, math.log(2), (-1 / 2, 3 / 8, 1 / 8)),
        (GAIN, math.log(8 / 3), (1 / 2, -5 / 8, 1 / 8)),
        (LOSS, math.log(8), (1 / 2, 3 / 8, -7 / 8)),
        (CHANGED, math.log(2), (1 / 2, -3 / 8, -1 / 8)),
        (UNKNOWN, 0.0, (0.0, 0.0, 0.0)),
    ],
)
def test_cross_entropy_of_a_voxel_on_paper(code, cost, slope):
    """Let z be the logits and p = softmax(z) = (1/2, 3/8, 1/8) for none, gain, loss.

    Signed, class c: L = -log p_c, so dL/dz_k = p_k - [k = c].
    CHANGED: L = -log(p_gain + p_loss) = log(sum of all exp(z)) - log(exp(z_gain) + exp(z_loss)), so
        dL/dz_none = p_none                                           = 1/2
        dL/dz_gain = p_gain - p_gain / (p_gain + p_loss)
                   = -p_none * p_gain / (p_gain + p_loss) = -1/2 * 3/4 = -3/8
        dL/dz_loss = -p_none * p_loss / (p_gain + p_loss) = -1/2 * 1/4 = -1/8
    What is likelier already is raised more; where gain and loss are equal, both are raised alike.
    UNKNOWN: L = 0.
    """
    logits, label = one_voxel((1 / 2, 3 / 8, 1 / 8), code)
    loss = ChangeLoss(dice_weight=0)
    assert float(loss(logits, label)) == pytest.approx(cost)
    torch.testing.assert_close(gradient(loss, logits, label).flatten(), torch.tensor(slope, dtype=torch.float64))


def test_toy_volume_on_paper():
    """Four voxels in a row: NONE, GAIN, CHANGED, UNKNOWN, each with p = (1/2, 1/4, 1/4).

    Cross-entropy: (log 2 + log 4 + log 2) / 3 labelled voxels = 4/3 log 2.
    Dice of gain, over the first two: 1 - (2 * 1/4) / (1/4 + 1/4 + 1) = 2/3. Loss is labelled nowhere: left out.
    Dice of change, over the first three: q = p_gain + p_loss = 1/2, two labelled: 1 - (2 * 1) / (3/2 + 2) = 3/7.
    Mean of both: 23/42.

    Gradient of each Dice with respect to p of a voxel, with overlap I and sum S: -(2 [labelled] S - 2 I) / S^2.
    Gain: S = 3/2, 2 I = 1/2: 2/9 at NONE, -10/9 at GAIN. Change: S = 7/2, 2 I = 2: 8/49 at NONE, -20/49 at the others.
    dp_gain/dz = p_gain ([gain] - p) = (-1/8, 3/16, -1/16), dq/dz = -dp_none/dz = (-1/4, 1/8, 1/8).
    Cross-entropy, as in the case of one voxel, a third of: NONE (-1/2, 1/4, 1/4), GAIN (1/2, -3/4, 1/4),
    CHANGED (1/2, -1/4, -1/4).
    """
    logits = torch.tensor([1 / 2, 1 / 4, 1 / 4], dtype=torch.float64).log().view(1, 3, 1).repeat(1, 1, 4)
    label = torch.tensor([[[int(code) for code in (NONE, GAIN, CHANGED, UNKNOWN)]]])
    terms = ChangeLoss().terms(logits, label)
    assert float(terms["cross_entropy"]) == pytest.approx(4 / 3 * math.log(2))
    assert float(terms["dice"]) == pytest.approx(23 / 42, abs=SMOOTH)

    of_gain = torch.tensor([-1 / 8, 3 / 16, -1 / 16], dtype=torch.float64)
    of_change = torch.tensor([-1 / 4, 1 / 8, 1 / 8], dtype=torch.float64)
    cross_entropy = torch.tensor([[-2, 1, 1], [2, -3, 1], [2, -1, -1], [0, 0, 0]], dtype=torch.float64) / 12
    dice = [
        2 / 9 * of_gain + 8 / 49 * of_change,
        -10 / 9 * of_gain - 20 / 49 * of_change,
        -20 / 49 * of_change,
        0 * of_change,
    ]
    expected = cross_entropy + torch.stack(dice) / 2
    torch.testing.assert_close(gradient(ChangeLoss(), logits, label)[0].T, expected, atol=2 * SMOOTH, rtol=0)


def naive_loss(logits, label, dice_weight, change_weight):
    """The definition in loops over voxels, in plain Python numbers."""
    shares = logits.double().softmax(1).movedim(1, -1)
    cost = weight = 0.0
    sums = {region: [0.0, 0.0, 0.0] for region in ("gain", "loss", "change")}

    def count(region, probability, labelled):
        for i, value in enumerate((probability * labelled, probability, labelled)):
            sums[region][i] += value

    for share, codes in zip(shares, label, strict=True):
        codes = [int(code) for code in codes.flatten()]
        for (p_none, p_gain, p_loss), code in zip(share.reshape(-1, 3).tolist(), codes, strict=True):
            if code == UNKNOWN:
                continue
            allowed = {NONE: p_none, GAIN: p_gain, LOSS: p_loss, CHANGED: p_gain + p_loss}[code]
            of_voxel = 1.0 if code == NONE else change_weight
            cost, weight = cost - of_voxel * math.log(allowed), weight + of_voxel
            if code != CHANGED:
                count("gain", p_gain, code == GAIN)
                count("loss", p_loss, code == LOSS)
            if CHANGED in codes:
                count("change", p_gain + p_loss, code != NONE)
    dice = [1 - (2 * i + SMOOTH) / (p + n + SMOOTH) for i, p, n in sums.values() if n > 0]
    return cost / max(weight, 1e-9) + dice_weight * sum(dice) / max(len(dice), 1)


@pytest.mark.parametrize(
    "codes", [(0, 1, 2), (0, 3), (0, 1, 4), (2, 3), (3,), (4,), (0,), (0, 1, 2, 3, 4), (1, 2, 4, 0, 0, 0)]
)
@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.3, 4.0)])
def test_agrees_with_loops_over_voxels(codes, weights):
    logits, label = draw(codes)
    label[0, :, 0] = codes[0]  # samples that differ in what they hold
    loss = ChangeLoss(dice_weight=weights[0], change_weight=weights[1])
    assert float(loss(logits, label)) == pytest.approx(naive_loss(logits, label, *weights), rel=1e-5)


def test_only_samples_with_unsigned_voxels_count_for_the_dice_of_change():
    logits, label = draw((NONE, CHANGED), shape=(2, 3, 6, 6))
    label[1] = NONE
    before = ChangeLoss().terms(logits, label)["dice"]
    logits[1] = logits[1].flip(1)
    assert torch.equal(ChangeLoss().terms(logits, label)["dice"], before)


@pytest.mark.parametrize("shape", [(1, 3, 7, 6), (3, 3, 5, 4, 6)])
def test_agrees_with_monai_on_signed_labels(shape):
    logits, label = draw((NONE, GAIN, LOSS), shape=shape)
    reference = DiceCELoss(softmax=True, to_onehot_y=True, include_background=False, batch=True)
    torch.testing.assert_close(ChangeLoss()(logits, label), reference(logits, label))
    torch.testing.assert_close(gradient(ChangeLoss(), logits, label), gradient(reference, logits, label))


def test_swapping_time_changes_nothing():
    logits, label = draw(tuple(ChangeLabel))
    loss = ChangeLoss(change_weight=3.0)
    torch.testing.assert_close(loss(logits[:, [0, 2, 1]], SWAPPED[label]), loss(logits, label))


def test_direction_does_not_matter_to_unsigned_labels():
    logits, label = draw((NONE, CHANGED, UNKNOWN))
    torch.testing.assert_close(ChangeLoss()(logits[:, [0, 2, 1]], label), ChangeLoss()(logits, label))


@pytest.mark.parametrize("codes", [(0, 1, 2, 3, 4), (0, 3), (4,)])
def test_gradient_agrees_with_finite_differences(codes):
    logits, label = draw(codes, shape=(2, 3, 3, 2), dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: ChangeLoss(change_weight=2.0)(z, label), logits.requires_grad_())


@pytest.mark.parametrize("size", [1e3, 1e30])
@pytest.mark.parametrize("code", list(ChangeLabel))
def test_stays_finite_where_probabilities_vanish(size, code):
    """-log(p_gain + p_loss) taken literally would be infinite."""
    logits = torch.tensor([[[size], [-size], [-size / 2]]])
    loss, slope = ChangeLoss(), gradient(ChangeLoss(), logits, torch.full((1, 1, 1), int(code)))
    assert torch.isfinite(loss(logits, torch.full((1, 1, 1), int(code))))
    assert torch.isfinite(slope).all()
    if code == CHANGED:
        assert slope[0, 0, 0] == pytest.approx(1.0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_reckoned_in_float32(dtype):
    """Sums over thousands of voxels would overflow or stall in half precision."""
    logits, label = draw(tuple(ChangeLabel), shape=(1, 3, 64, 64, 48))
    half = logits.to(dtype)
    assert ChangeLoss()(half, label).dtype == torch.float32
    assert torch.equal(ChangeLoss()(half, label), ChangeLoss()(half.float(), label))
    assert gradient(ChangeLoss(), half, label).dtype == dtype


def test_works_inside_autocast():
    logits, label = draw(tuple(ChangeLabel))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = ChangeLoss()(logits, label)
    torch.testing.assert_close(inside, ChangeLoss()(logits, label))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32, torch.bfloat16])
def test_labels_of_any_dtype(dtype):
    logits, label = draw(tuple(ChangeLabel))
    assert torch.equal(ChangeLoss()(logits, label.to(dtype)), ChangeLoss()(logits, label))


# what is labelled and predicted, as in the table of ChangeLoss: the term of Dice, and whether it has a gradient
@pytest.mark.parametrize(
    ("labelled", "predicted", "dice", "moves"),
    [
        ((NONE, NONE), (NONE, NONE), 0.0, False),
        ((NONE, NONE), (GAIN, NONE), 0.0, False),
        ((GAIN, NONE), (NONE, NONE), 1.0, True),
        ((GAIN, NONE), (NONE, GAIN), 1.0, True),
    ],
    ids=["neither", "predicted only", "labelled only", "no common voxel"],
)
def test_table_of_dice(labelled, predicted, dice, moves):
    logits = 9 * torch.nn.functional.one_hot(torch.tensor([predicted]), 3).movedim(-1, 1).float()
    logits.requires_grad_()
    term = ChangeLoss().terms(logits, torch.tensor([[labelled]]))["dice"]
    assert term.item() == pytest.approx(dice, abs=2e-3)
    term.backward()
    assert bool(logits.grad.abs().sum() > 0) == moves


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (0, 3, 4, 4)], ids=["all unknown", "empty"])
def test_nothing_labelled_costs_nothing(shape):
    """The gradient is zero and not missing: every process of a distributed training has to have one."""
    logits = torch.randn(shape, requires_grad=True)
    loss = ChangeLoss()(logits, torch.full((shape[0], 1, 4, 4), int(UNKNOWN)))
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad.shape == shape
    assert not logits.grad.any()


def test_unknown_voxels_count_for_nothing():
    logits, label = draw(tuple(ChangeLabel))
    other = torch.where(label == UNKNOWN, logits + torch.tensor([5.0, -3.0, 1.0]).view(3, 1, 1, 1), logits)
    torch.testing.assert_close(ChangeLoss()(other, label), ChangeLoss()(logits, label))
    assert not gradient(ChangeLoss(), logits, label)[(label == UNKNOWN).expand_as(logits)].any()


def test_terms_add_up_to_the_loss():
    logits, label = draw(tuple(ChangeLabel))
    terms = ChangeLoss(dice_weight=0.5).terms(logits, label)
    assert list(terms) == ["cross_entropy", "dice"]
    torch.testing.assert_close(sum(terms.values()), ChangeLoss(dice_weight=0.5)(logits, label))
    torch.testing.assert_close(terms["dice"], 0.5 * ChangeLoss().terms(logits, label)["dice"])


def test_under_deep_supervision():
    logits, label = draw(tuple(ChangeLabel), shape=(2, 3, 8, 8))
    scales = [logits.requires_grad_(), torch.zeros(2, 3, 4, 4, requires_grad=True)]
    DeepScalesLoss(ChangeLoss())(scales, label).backward()
    assert all(scale.grad.abs().sum() > 0 for scale in scales)


def test_pickles():
    logits, label = draw(tuple(ChangeLabel))
    loss = ChangeLoss(change_weight=2.0)
    assert torch.equal(pickle.loads(pickle.dumps(loss))(logits, label), loss(logits, label))


@pytest.mark.parametrize(
    ("logits", "label", "message"),
    [
        ((2, 2, 4, 4), (2, 1, 4, 4), r"logits must be \(B, 3, \*spatial\) for none, gain, loss; got \(2, 2, 4, 4\)"),
        ((2, 3), (2, 1), r"logits must be .* got \(2, 3\)"),
        ((2, 3, 4, 4), (2, 1, 4, 5), r"label must be .* \(2, 1, 4, 4\); got \(2, 1, 4, 5\)"),
        ((2, 3, 4, 4), (2, 3, 4, 4), r"label must be .* \(2, 1, 4, 4\); got \(2, 3, 4, 4\)"),
        ((2, 3, 4, 4), (2, 4, 4), r"label must be .* got \(2, 4, 4\)"),
    ],
)
def test_wrong_shapes(logits, label, message):
    with pytest.raises(ValueError, match=message):
        ChangeLoss()(torch.zeros(logits), torch.zeros(label))


@pytest.mark.parametrize("value", [5, 255, 0.5, -1.0, math.nan])
def test_wrong_codes(value):
    label = torch.tensor([[[0, 1, value]]])
    with pytest.raises(ValueError, match=rf"label holds {value:g}; it must hold codes of ChangeLabel: 0 NONE"):
        ChangeLoss()(torch.zeros(1, 3, 3), label)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"dice_weight": -0.1}, "dice_weight must not be negative; got -0.1"), ({"change_weight": 0}, "must be positive")],
)
def test_wrong_weights(options, message):
    with pytest.raises(ValueError, match=message):
        ChangeLoss(**options)
