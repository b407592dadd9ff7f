# SPDX-License-Identifier: Apache-2.0
"""What a network learns from labels that do not tell the direction, alone and beside signed ones of other cases.

Simulated cases are sharp discs in little noise, with signed labels. Scanned cases are smaller, hollow and fainter, in
more noise, on tissue that brightens across the image and fades between the visits; their labels say "changed" alone.
"""

import pytest
import torch

from monai_microchange.enums import ChangeLabel
from monai_microchange.losses import ChangeLoss, DeepScalesLoss
from monai_microchange.networks.nets import MicroChangeNet

SIZE = 20
CASES = 48
STEPS = 50
BATCH = 8


def draw_cases(seed, *, scanned, count=CASES):
    """Images (count, 2, SIZE, SIZE) and signed labels: in each case one lesion gained, one lost and one that stays."""
    generator = torch.Generator().manual_seed(seed)
    grid = torch.stack(torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")).float()
    # centres (count, lesion, axis, 1, 1) to distances (count, lesion, SIZE, SIZE)
    centres = torch.rand(count, 3, 2, 1, 1, generator=generator) * (SIZE - 6) + 3
    distance = (grid - centres).norm(dim=2)
    radius, noise = (2.0, 0.25) if scanned else (2.5, 0.1)
    inside = (distance < radius).float()
    brightness = inside * (0.3 + 0.2 * distance if scanned else 1.0)
    gained, lost, stays = brightness.unbind(1)
    image = torch.stack([lost + stays, gained + stays], dim=1)
    image = image + noise * torch.randn(image.shape, generator=generator)
    if scanned:
        image = (image + 0.8 * grid[1] / SIZE) * torch.tensor([1.0, 0.8])[:, None, None]
    signs = inside[:, :1] * ChangeLabel.GAIN + inside[:, 1:2] * ChangeLabel.LOSS
    return image, torch.where(signs > ChangeLabel.LOSS, 0.0, signs)  # gained and lost at once is no change


def without_direction(label):
    return torch.where(label > 0, float(ChangeLabel.CHANGED), 0.0)


def flip_direction(net):
    """Exchange gain and loss in all that `net` says: each head's score changes its sign, the margin stays."""
    with torch.no_grad():
        for head in net.heads:
            head.weight[0].neg_()
    return net


def new_net():
    torch.manual_seed(2)
    return MicroChangeNet(spatial_dims=2, in_channels=2, channels=(4, 8, 8))


def train(net, *kinds):
    """Train on batches that hold equal parts of each kind of case, `(images, labels)`."""
    loss = DeepScalesLoss(ChangeLoss())
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    share = BATCH // len(kinds)
    for step in range(STEPS):
        rows = (torch.arange(share) + step * share) % CASES
        image, label = (torch.cat([part[rows] for part in parts]) for parts in zip(*kinds, strict=True))
        optimizer.zero_grad()
        loss(net.forward_scales(image), label).backward()
        optimizer.step()
    return net.eval()


@torch.no_grad()
def direction_and_dice(net, image, label):
    """Share of changed voxels with the right direction, and Dice of change without regard to direction."""
    none, gain, loss = net(image).unbind(1)
    changed = label[:, 0] > 0
    right = (gain > loss) == (label[:, 0] == ChangeLabel.GAIN)
    found = torch.logaddexp(gain, loss) > none
    dice = 2 * (found & changed).sum() / (found.sum() + changed.sum())
    return float(right[changed].float().mean()), float(dice)


@pytest.fixture(scope="module")
def simulated():
    return draw_cases(1, scanned=False)


@pytest.fixture(scope="module")
def scanned():
    image, label = draw_cases(2, scanned=True)
    return image, without_direction(label)


@pytest.fixture(scope="module")
def held_out():
    return draw_cases(3, scanned=True)


def test_direction_comes_from_simulated_and_change_from_unsigned_labels(simulated, scanned, held_out):
    """No signed label of a scanned case was seen, yet their direction is right; without theirs, change is missed."""
    direction, dice = direction_and_dice(train(new_net(), simulated, scanned), *held_out)
    _, dice_of_simulated_alone = direction_and_dice(train(new_net(), simulated), *held_out)
    assert direction > 0.9
    assert dice > dice_of_simulated_alone + 0.1


def test_unsigned_labels_alone_leave_the_direction_to_the_starting_weights(scanned, held_out):
    """Two trainings from mirrored starting weights find change equally well, and one gets nearly every direction wrong.

    From other starting weights the sign differs between parts of the image, and the accuracy lies in between.
    """
    one, dice_of_one = direction_and_dice(train(new_net(), scanned), *held_out)
    other, dice_of_other = direction_and_dice(train(flip_direction(new_net()), scanned), *held_out)
    assert max(one, other) > 0.8
    assert min(one, other) < 0.2
    assert dice_of_one == pytest.approx(dice_of_other, abs=0.15)


def test_unsigned_labels_cannot_tell_a_network_from_its_mirror_image(scanned, held_out):
    """Whatever the weights: exchanging gain and loss costs nothing, and right directions turn wrong."""
    image, unsigned = scanned
    net, loss = new_net().eval(), DeepScalesLoss(ChangeLoss())
    with torch.no_grad():
        cost = loss(net.forward_scales(image), unsigned)
    direction, dice = direction_and_dice(net, *held_out)
    flip_direction(net)
    with torch.no_grad():
        torch.testing.assert_close(loss(net.forward_scales(image), unsigned), cost)
    assert direction_and_dice(net, *held_out) == pytest.approx((1 - direction, dice), abs=1e-6)
