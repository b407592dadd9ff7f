# SPDX-License-Identifier: Apache-2.0
"""Label maps painted with random contrast."""

import numpy as np
import pytest
import torch
from scipy import ndimage as ndi

from monai_microchange.transforms import RandPaintLabelsd, paint_labels

MEANS = [0.0, 0.5, 0.6, 0.2]
"""Air, white matter, cortex, scalp."""


def make_labels(shape=(12, 14, 10)):
    labels = torch.zeros(1, *shape)
    labels[:, 1:-1, 1:-1, 1:-1] = 3
    labels[:, 2:-2, 2:-2, 2:-2] = 2
    labels[:, 4:-4, 4:-4, 3:-3] = 1
    return labels


def make_transform(seed=0, **options):
    transform = RandPaintLabelsd(
        "label", "image", n_labels=4, flair_means=MEANS, lesion_site=1, brain_labels=[1, 2], **options
    )
    transform.set_random_state(seed)
    return transform


def test_each_label_has_its_grey_value():
    labels = make_labels()
    image = paint_labels(labels, np.array(MEANS), np.zeros(4), torch.randn(labels.shape))
    assert image.dtype == torch.float32
    for label, mean in enumerate(MEANS):
        torch.testing.assert_close(image[labels == label].unique(), torch.tensor([mean]))


def test_each_label_has_its_graininess():
    labels = torch.arange(4.0).repeat_interleave(20_000).view(1, 80, 100, 10)
    noise = torch.randn(labels.shape, generator=torch.Generator().manual_seed(0))
    image = paint_labels(labels, np.zeros(4), np.array([0.0, 0.1, 1.0, 3.0]), noise)
    for label, deviation in enumerate([0.0, 0.1, 1.0, 3.0]):
        assert float(image[labels == label].std()) == pytest.approx(deviation, rel=0.03)


def test_label_without_a_grey_value_is_refused():
    with pytest.raises(ValueError, match="label 3 has no grey value: got 3 means"):
        paint_labels(make_labels(), np.zeros(3), np.zeros(3), torch.zeros(1, 12, 14, 10))


def test_wrong_number_of_typical_values_is_refused():
    with pytest.raises(ValueError, match="needs 4 values, one for each label; got 3"):
        RandPaintLabelsd("label", "image", 4, MEANS[:3], 1, [1, 2])


def test_typical_images_are_near_flair():
    out = make_transform(typical_prob=1.0, strip_prob=0.0)({"label": make_labels()})
    assert out["image"].shape == out["label"].shape
    for label in (0, 2):
        assert float(out["image"][out["label"] == label].mean()) == pytest.approx(MEANS[label], abs=0.15)


def test_other_images_are_of_any_contrast():
    draws = [make_transform(seed, typical_prob=0.0, strip_prob=0.0)({"label": make_labels()}) for seed in range(20)]
    darker = [bool(d["image"][d["label"] == 2].mean() < d["image"][d["label"] == 3].mean()) for d in draws]
    assert 4 <= sum(darker) <= 16


@pytest.mark.parametrize("seed", range(6))
def test_stripped_images_keep_the_brain_and_a_margin(seed):
    labels = make_labels()
    transform = make_transform(seed, strip_prob=1.0)
    image = transform({"label": labels})["image"]
    kept = np.isin(labels[0].numpy(), [1, 2])
    if transform._strip_margin:
        kept = ndi.binary_dilation(kept, iterations=transform._strip_margin)
    assert (image[0][torch.from_numpy(kept)] != 0).all()
    assert (image[0][torch.from_numpy(~kept)] == 0).all()


def test_lesions_are_painted_into_their_site_alone():
    """All else is as without lesions."""
    labels = make_labels((24, 24, 24))
    transform = make_transform(strip_prob=0.0)
    image = transform({"label": labels})["image"]
    plain = paint_labels(labels, transform._means, transform._deviations, torch.from_numpy(transform._noise))
    changed = image != plain
    assert changed.any()
    assert (labels[changed] == 1).all()
    torch.testing.assert_close(image[changed].unique(), torch.tensor([transform._lesion_grey], dtype=torch.float32))


def test_same_seed_same_image():
    one, other, third = (make_transform(seed)({"label": make_labels()})["image"] for seed in (1, 1, 2))
    assert torch.equal(one, other)
    assert not torch.equal(one, third)
