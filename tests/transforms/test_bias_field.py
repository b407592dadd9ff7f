# SPDX-License-Identifier: Apache-2.0
"""N4 of each scan by itself."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_microchange.transforms.bias_field import CorrectBiasd, n4_bias

SHAPE = (36, 40, 32)
OPTIONS = {"spacing_mm": 4.0, "shrink_factor": 2, "iterations": (20, 10)}


def tensor(array):
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))[None]


def known_field():
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    return tensor(0.25 * axes[0] - 0.2 * axes[1] + 0.15 * axes[2] ** 2)


def make_head(field=0.0):
    """Two tissues in patches under a field, and the mask."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    mask = tensor(sum(axis**2 for axis in axes) < 0.9)
    tissue = tensor(np.where(np.sin(9 * axes[0]) * np.sin(8 * axes[1]) > 0, 100.0, 140.0))
    grain = tensor(np.random.RandomState(0).standard_normal(SHAPE))
    return tissue * (1 + 0.02 * grain) * torch.exp(torch.as_tensor(field)), mask


def test_known_field_is_found():
    image, mask = make_head(known_field())
    inside = mask > 0
    wrong = n4_bias(image, mask, **OPTIONS) - n4_bias(make_head()[0], mask, **OPTIONS) - known_field()
    assert (wrong - wrong[inside].mean())[inside].abs().mean() < 0.1 * float(known_field()[inside].std())


def test_field_is_centred_and_bounded():
    image, mask = make_head(known_field())
    field, inside = n4_bias(image, mask, **OPTIONS), mask > 0
    assert field[inside].mean().abs() < 1e-4
    assert field.min() >= field[inside].min()
    assert field.max() <= field[inside].max()


def test_units_of_the_scanner_do_not_matter():
    image, mask = make_head(known_field())
    torch.testing.assert_close(
        n4_bias(1000 * image, mask, **OPTIONS), n4_bias(image, mask, **OPTIONS), atol=5e-3, rtol=0
    )


def test_what_is_dark_or_outside_the_mask_does_not_count():
    image, mask = make_head(known_field())
    image[:, 18:20, 18:20, 14:16] = 0.0
    expected = n4_bias(image, mask, **OPTIONS)
    image[:, 18:20, 18:20, 14:16] = -5.0
    other = torch.where(mask > 0, image, torch.full_like(image, 1e4))
    assert torch.equal(n4_bias(other, mask, **OPTIONS), expected)
    assert torch.isfinite(expected).all()


def test_each_visit_is_treated_alone_and_alike():
    one, mask = make_head(known_field())
    other = make_head()[0] * 3
    correct = CorrectBiasd(["baseline", "followup"], **OPTIONS)
    forth = correct({"baseline": one, "followup": other, "brain": mask})
    back = correct({"baseline": other, "followup": one, "brain": mask})
    assert torch.equal(forth["baseline"], back["followup"])
    assert torch.equal(forth["followup"], back["baseline"])


def test_result_is_the_scan_over_its_field():
    image, mask = make_head(known_field())
    affine = torch.diag(torch.tensor([4.0, 4.0, 4.0, 1.0], dtype=torch.float64))
    scan = MetaTensor(image, affine=affine)
    out = CorrectBiasd("scan", "mask", suffix="_n4", **OPTIONS)({"scan": scan, "mask": mask})
    torch.testing.assert_close(out["scan_n4"].as_tensor(), image / torch.exp(n4_bias(image, mask, **OPTIONS)))
    assert torch.equal(out["scan_n4"].affine, affine)
    assert out["scan"] is scan


def test_short_axis_is_shrunk_less():
    image, mask = make_head()
    assert n4_bias(image[..., :7], mask[..., 12:19], shrink_factor=4, iterations=(2,)).shape == (1, 36, 40, 7)


def test_empty_mask_is_refused():
    image, mask = make_head()
    with pytest.raises(ValueError, match="nothing inside the mask"):
        n4_bias(image, torch.zeros_like(mask))
    with pytest.raises(ValueError, match="nothing inside the mask"):
        n4_bias(-image, mask)


def test_grids_must_agree():
    image, mask = make_head()
    with pytest.raises(ValueError, match="on one grid"):
        n4_bias(image, mask[:, 1:])


@pytest.mark.parametrize("options", [{"spacing_mm": 0.0}, {"shrink_factor": 0}, {"iterations": ()}])
def test_options_are_checked(options):
    with pytest.raises(ValueError, match="expected spacing_mm above 0"):
        CorrectBiasd("scan", **options)
