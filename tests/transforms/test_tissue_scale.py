# SPDX-License-Identifier: Apache-2.0
"""One scale of grey values, fixed at the tissues of both visits."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_microchange.enums import Anatomy
from monai_microchange.transforms.tissue_scale import (
    StandardizeTissuesd,
    common_tissue_scale,
    map_grey_values,
    tissue_levels,
)

FLUID, WHITE, GREY = 30.0, 100.0, 130.0
GREYS = {
    Anatomy.BACKGROUND: 5.0,
    Anatomy.WHITE_MATTER: WHITE,
    Anatomy.CORTEX: GREY,
    Anatomy.DEEP_GREY: GREY,
    Anatomy.VENTRICLE: FLUID,
    Anatomy.INFRATENTORIAL: 110.0,
    Anatomy.OUTER_CSF: FLUID,
}


def make_scan(noise=0.0, seed=0):
    """A scan (1, 14, 16, 18), a slab of each label, and the labels."""
    labels = torch.arange(7).repeat_interleave(2).view(1, 14, 1, 1).expand(1, 14, 16, 18)
    grey = torch.tensor([GREYS[Anatomy(i)] for i in range(7)])[labels]
    draw = np.random.RandomState(seed).standard_normal(grey.shape)
    return grey + noise * torch.from_numpy(draw).float(), labels.to(torch.uint8)


def test_levels_on_paper():
    image, anatomy = make_scan()
    assert tissue_levels(image, anatomy).tolist() == [FLUID, WHITE, GREY]


def test_lesions_do_not_move_the_levels():
    image, anatomy = make_scan()
    image[:, 2, :10] = 300.0
    assert tissue_levels(image, anatomy).tolist() == [FLUID, WHITE, GREY]


def test_a_tissue_too_small_has_no_level():
    image, anatomy = make_scan()
    anatomy[(anatomy == Anatomy.VENTRICLE) | (anatomy == Anatomy.OUTER_CSF)] = Anatomy.BACKGROUND
    levels = tissue_levels(image, anatomy)
    assert np.isnan(levels[0])
    assert levels[1:].tolist() == [WHITE, GREY]


def test_scale_is_exactly_symmetric():
    one, other = np.array([10.0, 48.0, 71.0]), np.array([0.1, 0.73, 0.91])
    forth, back = common_tissue_scale(one, other), common_tissue_scale(other, one)
    assert np.array_equal(forth[0], back[1])
    assert np.array_equal(forth[1], back[0])
    assert np.array_equal(forth[2], back[2])


def test_other_units_give_the_same_picture():
    one = np.array([10.0, 50.0, 70.0])
    *_, target = common_tissue_scale(one, 9 * one)
    np.testing.assert_allclose(target, 3 * one)


def test_dark_fluid_is_no_problem():
    *_, target = common_tissue_scale(np.array([0.0, 50.0, 70.0]), np.array([-5.0, 45.0, 65.0]))
    np.testing.assert_allclose(target, [-2.5, 47.5, 67.5])


def test_t1_order_is_kept():
    """Fluid, grey, white."""
    source, _, target = common_tissue_scale(np.array([10.0, 90.0, 60.0]), np.array([10.0, 90.0, 50.0]))
    assert source.tolist() == [10.0, 60.0, 90.0]
    np.testing.assert_allclose(target, [10.0, 55.0, 90.0])


def test_tissues_in_no_common_order_are_one():
    source, other, target = common_tissue_scale(np.array([10.0, 60.0, 70.0]), np.array([10.0, 80.0, 50.0]))
    assert source.tolist() == [10.0, 65.0]
    assert other.tolist() == [10.0, 65.0]
    assert target.tolist() == [10.0, 65.0]


def test_tissues_too_close_are_one():
    source, _, _ = common_tissue_scale(np.array([10.0, 60.0, 61.0]), np.array([10.0, 50.0, 70.0]))
    assert source.tolist() == [10.0, 60.5]


def test_opposite_contrasts_are_refused():
    with pytest.raises(ValueError, match="do not agree on which tissue"):
        common_tissue_scale(np.array([10.0, 60.0]), np.array([60.0, 10.0]))


def test_missing_tissues_are_refused():
    with pytest.raises(ValueError, match="at least two of cerebrospinal fluid"):
        common_tissue_scale(np.array([np.nan, 60.0, 70.0]), np.array([10.0, 60.0, np.nan]))


def test_constant_scan_is_refused():
    with pytest.raises(ValueError, match="all have one brightness"):
        common_tissue_scale(np.array([5.0, 5.0, 5.0]), np.array([1.0, 2.0, 3.0]))


def test_mapping_agrees_with_loops():
    source, target = np.array([1.0, 2.0, 4.0]), np.array([10.0, 30.0, 40.0])
    values = torch.linspace(-3, 8, 45).view(1, 45)

    def naive(value):
        if value <= 1:
            return 10 + 10 * (value - 1)
        if value <= 2:
            return 10 + 20 * (value - 1)
        if value <= 4:
            return 30 + 5 * (value - 2)
        return 40 + 10 * (value - 4)

    expected = torch.tensor([[naive(float(value)) for value in values[0]]])
    torch.testing.assert_close(map_grey_values(values, source, target), expected)


def test_mapping_keeps_the_order():
    mapped = map_grey_values(torch.linspace(-50, 300, 500)[None], np.array([10.0, 95, 100]), np.array([10.0, 60, 90]))
    assert (mapped.diff() > 0).all()


@pytest.mark.parametrize("source", [[1.0], [2.0, 1.0], [1.0, 2.0, 3.0]])
def test_levels_must_rise(source):
    with pytest.raises(ValueError, match="expected rising levels"):
        map_grey_values(torch.zeros(1, 3), np.array(source), np.array([1.0, 2.0]))


def test_two_contrasts_become_one():
    """The follow-up has other units and a brighter cortex; a bright lesion stays the brightest."""
    baseline, anatomy = make_scan()
    followup = map_grey_values(baseline, np.array([FLUID, WHITE, GREY]), np.array([70.0, 205.0, 290.0]))
    baseline[:, 3, 4, 5] = followup[:, 3, 4, 5] = 400.0
    out = StandardizeTissuesd()({"baseline": baseline, "followup": followup, "anatomy": anatomy})
    apart = (out["baseline"] - out["followup"]).abs()
    apart[:, 3, 4, 5] = 0
    assert apart[anatomy > 0].max() < 3
    assert out["followup"].argmax() == followup.argmax()


def test_exchange_exchanges_the_results_exactly():
    one, anatomy = make_scan(noise=4.0)
    other = 2 * make_scan(noise=5.0, seed=1)[0]
    standardize = StandardizeTissuesd()
    forth = standardize({"baseline": one, "followup": other, "anatomy": anatomy})
    back = standardize({"baseline": other, "followup": one, "anatomy": anatomy})
    assert torch.equal(forth["baseline"], back["followup"])
    assert torch.equal(forth["followup"], back["baseline"])


def test_suffix_and_affine():
    image, anatomy = make_scan()
    affine = torch.diag(torch.tensor([-1.0, 2.0, 3.0, 1.0], dtype=torch.float64))
    data = {"a": MetaTensor(image, affine=affine), "b": 3 * image, "labels": anatomy}
    out = StandardizeTissuesd(["a", "b"], "labels", suffix="_scaled")(data)
    assert torch.equal(out["a_scaled"].affine, affine)
    assert out["a"] is data["a"]
    assert out["b_scaled"].dtype == torch.float32


def test_two_keys_are_needed():
    with pytest.raises(ValueError, match="expected the keys of baseline and follow-up"):
        StandardizeTissuesd("baseline")


def test_anatomy_is_needed():
    image, _ = make_scan()
    with pytest.raises(KeyError, match="anatomy"):
        StandardizeTissuesd()({"baseline": image, "followup": image})
