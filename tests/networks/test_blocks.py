# SPDX-License-Identifier: Apache-2.0
"""Building blocks: shapes, what they must not see, and naive references."""

import numpy as np
import pytest
import torch
from scipy import ndimage as ndi

from monai_microchange.networks.blocks import (
    AdditiveAttentionGate,
    ChannelAttentionResBlock,
    GridSelfAttention,
    PyramidPooling,
    SharedDropout,
    TemporalDifference,
)

SIZES = {2: (9, 6), 3: (7, 6, 5)}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("stride", "halved"), [(1, lambda n: n), (2, lambda n: (n + 1) // 2)])
def test_residual_block_halves_rounding_up(dims, stride, halved):
    block = ChannelAttentionResBlock(dims, 3, 8, stride=stride)
    assert block(torch.rand(2, 3, *SIZES[dims])).shape == (2, 8, *map(halved, SIZES[dims]))


def test_residual_block_treats_each_image_by_itself():
    block, x = ChannelAttentionResBlock(2, 3, 8).train(), torch.rand(3, 3, 8, 8)
    torch.testing.assert_close(block(x)[1:2], block(x[1:2]), atol=1e-5, rtol=1e-5)


def test_residual_block_without_channel_attention_has_no_weights_for_it():
    with_it, without = (ChannelAttentionResBlock(2, 4, 8, channel_attention=on) for on in (True, False))
    assert sum(p.numel() for p in with_it.parameters()) > sum(p.numel() for p in without.parameters())
    assert isinstance(without.attention, torch.nn.Identity)


def test_channel_weights_depend_on_the_image():
    block = ChannelAttentionResBlock(2, 3, 8).eval()
    torch.nn.init.uniform_(block.attention.fc[0].bias, 0.5, 1.0)  # or its ReLU may let nothing pass
    passed = []
    block.attention.register_forward_hook(lambda _, given, weighed: passed.append(weighed / given[0]))
    block(torch.rand(1, 3, 8, 8))
    block(torch.rand(1, 3, 8, 8) ** 4)
    assert not torch.allclose(passed[0].nanmean((2, 3)), passed[1].nanmean((2, 3)), atol=1e-4)


@pytest.mark.parametrize("dims", [2, 3])
def test_gate_weighs_each_voxel_of_the_skip(dims):
    gate = AdditiveAttentionGate(dims, 4, 6)
    skip, coarse = torch.rand(2, 4, *SIZES[dims]), torch.rand(2, 6, *SIZES[dims])
    weights = gate.weights(skip, coarse)
    assert weights.shape == (2, 1, *SIZES[dims])
    assert ((weights > 0) & (weights < 1)).all()
    torch.testing.assert_close(gate(skip, coarse), skip * weights)


def test_gate_whose_weights_are_zero_lets_half_pass():
    gate = AdditiveAttentionGate(2, 4, 6)
    torch.nn.init.zeros_(gate.to_weight.weight)
    torch.nn.init.zeros_(gate.to_weight.bias)
    skip = torch.rand(1, 4, 5, 5)
    torch.testing.assert_close(gate(skip, torch.rand(1, 6, 5, 5)), skip / 2)


@pytest.mark.parametrize("dims", [2, 3])
def test_self_attention_is_softmax_over_all_voxels(dims):
    block, x = GridSelfAttention(dims, 8, heads=2).eval(), torch.rand(2, 8, *SIZES[dims])
    torch.nn.init.ones_(block.gain)
    query, key, value = block.to_qkv(x).flatten(2).chunk(3, dim=1)
    heads = []
    for head in (slice(0, 4), slice(4, 8)):
        likeness = torch.einsum("bcn,bcm->bnm", query[:, head], key[:, head]) / np.sqrt(4)
        heads.append(torch.einsum("bnm,bcm->bcn", likeness.softmax(dim=2), value[:, head]))
    expected = x + block.to_out(torch.cat(heads, dim=1).reshape(x.shape))
    torch.testing.assert_close(block(x), expected, atol=1e-5, rtol=1e-4)


def test_self_attention_refuses_heads_that_do_not_divide():
    with pytest.raises(ValueError, match="multiple of heads; got 6 channels and 4 heads"):
        GridSelfAttention(2, 6)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("window", [3, 5, 9])
def test_pooling_averages_over_what_is_inside(dims, window):
    """Also where the window is larger than the image."""
    branch = PyramidPooling(dims, 3, windows=(window,)).branches[0]
    branch.squeeze = torch.nn.Identity()
    x = torch.rand(1, 3, *SIZES[dims])
    inside = ndi.uniform_filter(np.ones(SIZES[dims]), window, mode="constant")
    expected = [ndi.uniform_filter(c.double().numpy(), window, mode="constant") / inside for c in x[0]]
    np.testing.assert_allclose(branch(x)[0].numpy(), np.stack(expected), atol=1e-5)


def test_pooling_does_not_depend_on_how_large_the_patch_is():
    block, x = PyramidPooling(2, 6, windows=(3, 5)), torch.rand(1, 6, 21, 23)
    torch.testing.assert_close(block(x)[..., 4:-4, 4:-4], block(x[..., 2:-2, 2:-2])[..., 2:-2, 2:-2])


@pytest.mark.parametrize("windows", [(3, 4), (0,), (-1,)])
def test_pooling_refuses_windows_that_are_not_odd(windows):
    with pytest.raises(ValueError, match="windows must be odd"):
        PyramidPooling(2, 6, windows=windows)


def test_dropout_drops_whole_channels_in_both_halves_alike():
    out = SharedDropout(0.5)(torch.ones(6, 32, 3, 4))
    assert torch.equal(out[:3], out[3:])
    assert set(out.unique().tolist()) == {0.0, 2.0}  # kept channels are scaled by 1 / (1 - rate)
    assert torch.equal(out, out[..., :1, :1].expand_as(out))
    assert 0.3 < (out[:3, :, 0, 0] == 0).float().mean() < 0.7


@pytest.mark.parametrize("dropout", [SharedDropout(0.5).eval(), SharedDropout(0.0).train()], ids=["eval", "rate 0"])
def test_dropout_that_is_off_does_nothing(dropout):
    x = torch.rand(4, 8, 3, 3, 3)
    assert torch.equal(dropout(x), x)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_dropout_refuses_other_rates(rate):
    with pytest.raises(ValueError, match="at least 0 and below 1"):
        SharedDropout(rate)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("difference", [True, False])
def test_temporal_difference_keeps_the_shape_and_knows_the_direction(dims, difference):
    block = TemporalDifference(dims, 4, difference=difference)
    one, other = torch.rand(2, 2, 4, *SIZES[dims]).unbind()
    assert block(one, other).shape == one.shape
    assert not torch.allclose(block(one, other), block(other, one))


def test_temporal_difference_sees_where_it_goes_and_the_difference():
    block = TemporalDifference(2, 1)
    with torch.no_grad():
        block.fuse[0].weight.copy_(torch.tensor([1.0, 10.0]).view(1, 2, 1, 1))
    one, other = torch.rand(2, 1, 1, 4, 4).unbind()
    mixed = other + 10 * (other - one)
    expected = torch.nn.functional.leaky_relu(torch.nn.functional.instance_norm(mixed), 0.01)
    torch.testing.assert_close(block(one, other), expected, atol=1e-4, rtol=1e-4)
