# SPDX-License-Identifier: Apache-2.0
"""The random transform over any effect."""

import pytest
import torch
from monai.transforms import Compose

from monai_microchange.transforms.effects import FlowArtefact, RandEffectd, RicianNoise


def test_happens_as_often_as_told():
    image = torch.ones(1, 2, 2, 2)
    transform = RandEffectd("image", RicianNoise, prob=0.3).set_random_state(0)
    changed = sum(not torch.equal(transform({"image": image})["image"], image) for _ in range(1000))
    # binomial: 300, deviation 14.5
    assert 255 < changed < 345


def test_never_and_always():
    image = torch.ones(1, 2, 2, 2)
    assert RandEffectd("image", RicianNoise, prob=0.0)({"image": image})["image"] is image
    always = RandEffectd(["a", "b"], RicianNoise, prob=1.0).set_random_state(0)({"a": image, "b": image})
    assert not torch.equal(always["a"], image)
    assert not torch.equal(always["a"], always["b"])


def test_seed_of_a_compose_reaches_it():
    image = torch.ones(1, 2, 2, 2)
    runs = [
        Compose([RandEffectd("image", RicianNoise, prob=1.0)]).set_random_state(7)({"image": image})["image"]
        for _ in range(2)
    ]
    assert torch.equal(*runs)


def test_missing_keys():
    image = torch.ones(1, 2, 2, 2)
    lenient = RandEffectd(["image", "other"], RicianNoise, prob=1.0, allow_missing_keys=True)
    assert list(lenient({"image": image})) == ["image"]
    with pytest.raises(KeyError, match="other"):
        RandEffectd(["image", "other"], RicianNoise)({"image": image})


def test_anatomy_is_taken_from_its_key(head):
    image, anatomy = head
    transform = RandEffectd("image", FlowArtefact, prob=1.0, anatomy_key="labels").set_random_state(0)
    assert not torch.equal(transform({"image": image, "labels": anatomy})["image"], image)
    with pytest.raises(ValueError, match="needs the anatomy"):
        transform({"image": image})


def test_probability_is_one():
    with pytest.raises(ValueError, match=r"prob must lie in \[0, 1\], got 2"):
        RandEffectd("image", RicianNoise, prob=2)
