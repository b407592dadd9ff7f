# SPDX-License-Identifier: Apache-2.0
"""What every effect promises: deterministic, harmless to its input, nothing at severity 0, and picklable."""

import inspect
import pickle

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

import monai_microchange.transforms.effects as package
from monai_microchange.transforms.effects import AnatomyEffect, Effect, RandEffectd

EFFECTS = [
    value
    for value in vars(package).values()
    if inspect.isclass(value) and issubclass(value, Effect) and not inspect.isabstract(value)
]
SEEDS = (0, 1, 2)


@pytest.fixture(params=EFFECTS, ids=lambda effect: effect.__name__)
def effect_class(request):
    return request.param


def draw(effect_class, seed, severity=1.0):
    return effect_class.draw(np.random.RandomState(seed), severity=severity)


def test_there_are_effects():
    assert len(EFFECTS) >= 9


@pytest.mark.parametrize("seed", SEEDS)
def test_keeps_the_shape_and_the_input_and_stays_finite(effect_class, head, seed):
    image, anatomy = head
    before = image.clone()
    out = draw(effect_class, seed)(image, anatomy=anatomy)
    assert torch.equal(image, before)
    assert out.data_ptr() != image.data_ptr()
    assert out.shape == image.shape
    assert out.dtype == torch.float32
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_leaves_no_negative_brightness(effect_class, head, seed):
    image, anatomy = head
    # the ringing of sharpness and of a truncated k-space goes below 0, until the magnitude is taken
    ringing = 0.2 if effect_class is package.SliceProtocol else 0.0
    assert draw(effect_class, seed)(image, anatomy=anatomy).min() >= -ringing


def test_does_the_same_twice_and_pickled(effect_class, head):
    image, anatomy = head
    effect = draw(effect_class, 4)
    copy = pickle.loads(pickle.dumps(effect))
    assert copy == effect
    out = effect(image, anatomy=anatomy)
    assert torch.equal(out, effect(image, anatomy=anatomy))
    assert torch.equal(out, copy(image, anatomy=anatomy))


def test_is_drawn_from_the_seed_alone(effect_class):
    assert draw(effect_class, 5) == draw(effect_class, 5)
    assert draw(effect_class, 5) != draw(effect_class, 6)


@pytest.mark.parametrize("seed", SEEDS)
def test_does_next_to_nothing_at_severity_0(effect_class, head, seed):
    image, anatomy = head
    torch.testing.assert_close(draw(effect_class, seed, 0.0)(image, anatomy=anatomy), image, atol=1e-3, rtol=0)


def test_does_something_at_severity_1(effect_class, head):
    image, anatomy = head
    # not quite black outside, so that what is cut there shows
    image = image + 0.05
    outs = [draw(effect_class, seed)(image, anatomy=anatomy) for seed in SEEDS]
    assert any((out - image).abs().max() > 0.02 for out in outs)


def test_keeps_the_type_and_the_affine(effect_class, head):
    image, anatomy = head
    scan = MetaTensor(image, affine=torch.diag(torch.tensor([1.0, 1.0, 1.0, 1.0])))
    out = draw(effect_class, 1)(scan, anatomy=MetaTensor(anatomy))
    assert isinstance(out, MetaTensor)
    assert torch.equal(out.affine, scan.affine)
    assert torch.equal(out.as_tensor(), draw(effect_class, 1)(image, anatomy=anatomy))


def test_moves_several_channels_alike_or_refuses_them(effect_class, head):
    image, anatomy = head
    effect = draw(effect_class, 1)
    two = torch.cat([image, image])
    if effect_class.moves:
        out = effect(two, anatomy=anatomy)
        torch.testing.assert_close(out[:1], out[1:])
        torch.testing.assert_close(out[:1], effect(image, anatomy=anatomy))
    else:
        with pytest.raises(ValueError, match=r"needs .*\(1, I, J, K\).*\(2, 40, 44, 36\)"):
            effect(two, anatomy=anatomy)


def test_says_what_it_lacks(effect_class, head):
    image, _ = head
    with pytest.raises(ValueError, match="I, J, K"):
        draw(effect_class, 1)(image[0], anatomy=image)
    if issubclass(effect_class, AnatomyEffect):
        with pytest.raises(ValueError, match="needs the anatomy"):
            draw(effect_class, 1)(image)
        with pytest.raises(ValueError, match="anatomy must have"):
            draw(effect_class, 1)(image, anatomy=image[..., 1:])


def test_goes_through_the_dictionary_transform(effect_class, head):
    image, anatomy = head
    data = {"baseline": image, "followup": image, "anatomy": anatomy}
    transform = RandEffectd(["baseline", "followup"], effect_class, prob=1.0)
    one = pickle.loads(pickle.dumps(transform)).set_random_state(3)(data)
    random = np.random.RandomState(3)
    for key in ("baseline", "followup"):
        assert random.random_sample() < 1
        assert torch.equal(one[key], effect_class.draw(random)(image, anatomy=anatomy))
    assert data["baseline"] is image
