# SPDX-License-Identifier: Apache-2.0
"""What the change network promises whatever its weights: symmetry in time, none for equal scans, and its exports."""

import io

import pytest
import torch

from monai_microchange.networks.nets import NETWORK_PARTS, MicroChangeNet
from monai_microchange.networks.nets.microchange_net import antisymmetric_logits

SIZES = {2: (19, 14), 3: (13, 10, 7)}
"""Odd, so that no scale is half of the next finer one."""
EXCHANGED = [0, 2, 1]
"""Classes none, gain, loss with the visits exchanged."""


def make_net(dims=2, in_channels=2, channels=(4, 8, 8), **options):
    """A small network with random weights everywhere, the gain of the self-attention included."""
    torch.manual_seed(3)
    net = MicroChangeNet(dims, in_channels, channels=channels, **options)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return net.eval()


def make_pair(dims=2, visit_channels=1, batch=2, seed=0):
    """Both visits (B, C, *spatial)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, batch, visit_channels, *SIZES[dims], generator=generator)


def join(first, second):
    return torch.cat([first, second], dim=1)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("visit_channels", [1, 2, 3])
def test_swapped_visits_exchange_gain_and_loss(dims, visit_channels):
    net = make_net(dims, 2 * visit_channels)
    baseline, followup = make_pair(dims, visit_channels)
    forth, back = net(join(baseline, followup)), net(join(followup, baseline))
    assert forth.shape == (2, 3, *SIZES[dims])
    assert forth.std() > 0.01
    torch.testing.assert_close(back[:, EXCHANGED], forth, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("without", [(), *[(part,) for part in NETWORK_PARTS], NETWORK_PARTS], ids="-".join)
def test_swap_holds_with_each_part_left_out(without):
    net = make_net(without=without)
    baseline, followup = make_pair()
    scales = zip(
        net.forward_scales(join(baseline, followup)), net.forward_scales(join(followup, baseline)), strict=True
    )
    for forth, back in scales:
        torch.testing.assert_close(back[:, EXCHANGED], forth, atol=1e-4, rtol=1e-4)


def test_swap_holds_while_training_with_dropout():
    net = make_net(dropout=0.5).train()
    baseline, followup = make_pair()
    logits = []
    for x in (join(baseline, followup), join(followup, baseline)):
        torch.manual_seed(5)
        logits.append(net(x))
    torch.testing.assert_close(logits[1][:, EXCHANGED], logits[0], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(net(join(baseline, followup)), logits[0])


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("training", [False, True])
def test_identical_visits_give_none(dims, dropout, training):
    net = make_net(dims, dropout=dropout).train(training)
    scan, _ = make_pair(dims)
    logits = net(join(scan, scan))
    assert (logits.argmax(dim=1) == 0).all()
    score = (logits[:, 1] - logits[:, 2]) / 2
    assert score.abs().max() < 1e-5  # zero but for rounding, which may differ between the halves of a batch


@pytest.mark.parametrize("part", NETWORK_PARTS)
def test_each_part_can_be_left_out_and_matters(part):
    x = join(*make_pair())
    whole, reduced = make_net(), make_net(without=(part,))
    assert reduced(x).shape == whole(x).shape
    if part != "deep_supervision":  # that one only concerns the coarser scales
        assert not torch.allclose(reduced(x), whole(x))


def test_parts_left_out_have_no_weights():
    bare = make_net(without=NETWORK_PARTS)
    assert not any("self_attention" in n or "pyramid" in n for n, _ in bare.named_parameters())
    assert len(bare.bottleneck) == 1
    assert bare.attention_maps(join(*make_pair())) == []


@pytest.mark.parametrize("size", [(5, 1), (8, 8), (17, 5)])
def test_any_size_will_do_above_one_voxel_of_the_coarsest_scale(size):
    assert make_net()(torch.rand(1, 2, *size)).shape == (1, 3, *size)


def test_an_image_of_one_coarse_voxel_is_refused():
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        make_net()(torch.rand(1, 2, 4, 3))


@pytest.mark.parametrize("dims", [2, 3])
def test_scales_are_halves_rounded_up_finest_first(dims):
    net, x = make_net(dims), join(*make_pair(dims))
    scales = net.forward_scales(x)
    assert [tuple(s.shape[2:]) for s in scales] == [SIZES[dims], tuple((n + 1) // 2 for n in SIZES[dims])]
    torch.testing.assert_close(net(x), scales[0])


def test_without_deep_supervision_only_the_finest_scale_is_given():
    net, x = make_net(without=["deep_supervision"]), join(*make_pair())
    (only,) = net.forward_scales(x)
    torch.testing.assert_close(net(x), only)


def test_attention_maps_belong_to_both_directions():
    net, (baseline, followup) = make_net(3), make_pair(3)
    maps = net.attention_maps(join(baseline, followup))
    # two visits' batch of two, one map for each gate
    assert [tuple(m.shape) for m in maps] == [(4, 1, *SIZES[3]), (4, 1, *((n + 1) // 2 for n in SIZES[3]))]
    for here, there in zip(maps, net.attention_maps(join(followup, baseline)), strict=True):
        assert ((here >= 0) & (here <= 1)).all()
        torch.testing.assert_close(here, there.roll(2, dims=0), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dims", [2, 3])
def test_gradient_reaches_every_parameter(dims):
    net = make_net(dims).train()
    for name, parameter in net.named_parameters():
        if name.endswith("attention.fc.0.bias"):  # or the ReLU behind it may let nothing pass
            torch.nn.init.ones_(parameter)
    sum(scale.square().mean() for scale in net.forward_scales(join(*make_pair(dims)))).backward()
    idle = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []


def test_images_of_a_batch_do_not_see_each_other():
    net, x = make_net().train(), join(*make_pair(batch=3))
    torch.testing.assert_close(net(x)[1:2], net(x[1:2]), atol=1e-4, rtol=1e-4)


def test_state_dict_survives_a_file_read_with_weights_only():
    net, x = make_net(), join(*make_pair())
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    other = MicroChangeNet(2, 2, channels=(4, 8, 8)).eval()
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(x), net(x))


def test_logits_on_paper():
    # s = 3 - 1 = 2; m = softplus(0.5 + 0.5) = log(1 + e) = 1.3133
    both = torch.tensor([[3.0, 0.5], [1.0, 0.5]]).view(2, 2, 1)
    torch.testing.assert_close(
        antisymmetric_logits(both).flatten(), torch.tensor([0.0, 0.6867, -3.3133]), atol=1e-4, rtol=0
    )


def test_logits_are_float_even_of_halves():
    assert antisymmetric_logits(torch.rand(4, 2, 3, 3).bfloat16()).dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_channels": 3}, "in_channels must be even.*got 3"),
        ({"in_channels": 0}, "in_channels must be even.*got 0"),
        ({"out_channels": 2}, "out_channels must be 3.*got 2"),
        ({"channels": (8,)}, "at least two scales"),
        ({"without": ["attention"]}, r"unknown parts \['attention'\]; known are"),
        ({"dropout": 1.0}, "rate must be"),
        ({"channels": (8, 6)}, "multiple of heads"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MicroChangeNet(2, **arguments)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("without", [(), NETWORK_PARTS], ids=["whole", "bare"])
def test_torchscript_gives_the_same(without):
    net = make_net(3, without=without)
    scripted = torch.jit.script(net)
    for x in (join(*make_pair(3)), torch.rand(1, 2, 9, 8, 12)):
        torch.testing.assert_close(scripted(x), net(x), atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def exported():
    """A network, a batch, and the network as `torch.export` gives it for batches of this shape."""
    net, x = make_net(channels=(4, 8)), join(*make_pair(batch=1))
    return net, x, torch.export.export(net, (x,))


def test_torch_export_gives_the_same(exported):
    net, x, program = exported
    torch.testing.assert_close(program.module()(x), net(x), atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings(r"ignore:.*isinstance\(treespec, LeafSpec\):FutureWarning")  # torch's own, of itself
def test_onnx_gives_the_same(exported, tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    net, x, program = exported
    torch.onnx.export(program, (x,), tmp_path / "net.onnx", dynamo=True, verbose=False)
    session = runtime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), net(x).detach(), atol=1e-4, rtol=1e-4)
