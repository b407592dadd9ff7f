# SPDX-License-Identifier: Apache-2.0
"""The smooth ratio of two visits: found, taken out by halves, and what changed left alone."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_microchange.transforms.differential_bias import BalanceBiasd, differential_bias

SHAPE = (30, 34, 26)
SPACING_MM = 5.0


def places():
    """Coordinates from -1 to 1 along each axis."""
    return np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")


def tensor(array):
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))[None]


def known_field():
    x, y, z = places()
    return 0.3 * x - 0.25 * y**2 + 0.15 * np.sin(3 * z)


def make_visits(field=0.0, *, noise=0.03):
    """A head of two tissues and dark fluid in the middle, seen twice, and its mask."""
    x, y, z = places()
    radius = np.sqrt(x**2 + y**2 + z**2)
    tissue = np.where(np.sin(7 * x) * np.sin(9 * y) > 0, 100.0, 120.0)
    tissue[radius < 0.2] = 4.0
    tissue[radius > 0.95] = 0.0
    draw = np.random.RandomState(0)
    scans = [tissue * np.exp(noise * draw.standard_normal(SHAPE)) * bias for bias in (1.0, np.exp(field))]
    return tensor(scans[0]), tensor(scans[1]), tensor(radius < 0.95)


def find(baseline, followup, mask, **options):
    return differential_bias(baseline, followup, mask, spacing_mm=SPACING_MM, **options)


def test_constant_ratio_on_paper():
    baseline, _, mask = make_visits()
    field = find(baseline, 5 * baseline, mask)
    torch.testing.assert_close(field, torch.full_like(field, np.log(5)))


def test_known_field_is_found():
    baseline, followup, mask = make_visits(known_field())
    error = (find(baseline, followup, mask) - tensor(known_field()))[mask > 0].abs()
    assert error.mean() < 0.01
    assert error.max() < 0.06


def test_plain_least_squares_agrees_where_there_are_no_outliers():
    """Noise that is Gaussian in the logarithm: a polynomial fit of all voxels finds much the same field."""
    baseline, followup, mask = make_visits(known_field())
    bright = (mask[0] > 0).numpy() & (baseline[0] > 20).numpy() & (followup[0] > 20).numpy()
    ratio = np.log(followup[0].numpy()[bright]) - np.log(baseline[0].numpy()[bright])
    x, y, z = (axis[bright] for axis in places())
    terms = np.stack([x**i * y**j * z**k for i in range(4) for j in range(4) for k in range(4) if i + j + k < 4], 1)
    naive = terms @ np.linalg.lstsq(terms, ratio, rcond=None)[0]
    assert np.abs(find(baseline, followup, mask)[0].numpy()[bright] - naive).mean() < 0.015


@pytest.mark.parametrize(("radius_mm", "contrast"), [(5, 0.25), (12, 0.3), (12, -0.4)])
def test_lesion_keeps_its_contrast(radius_mm, contrast):
    baseline, followup, mask = make_visits(known_field())
    index = np.indices(SHAPE) - np.array([20, 13, 16])[:, None, None, None]
    lesion = tensor((index**2).sum(axis=0) * SPACING_MM**2 <= radius_mm**2) > 0
    changed = torch.where(lesion, followup * (1 + contrast), followup)
    moved = (find(baseline, changed, mask) - find(baseline, followup, mask))[lesion].mean()
    assert abs(float(moved) / np.log1p(contrast)) < 0.05


def test_resection_does_not_pull_the_field():
    baseline, followup, mask = make_visits(known_field())
    followup[:, 17:24, 9:17, 9:17] = 0.0
    error = (find(baseline, followup, mask) - tensor(known_field()))[mask > 0].abs()
    assert error.mean() < 0.01


def test_darkness_tells_nothing():
    """Zeros and negative values inside the mask are left out, not logarithms of nothing."""
    baseline, followup, mask = make_visits(known_field())
    expected = find(baseline, followup, mask)
    baseline[:, 8:11, 16:19, 12:15], followup[:, 8:11, 16:19, 12:15] = 0.0, -3.0
    field = find(baseline, followup, mask)
    assert torch.isfinite(field).all()
    assert (field - expected).abs().max() < 0.02


def test_outside_the_mask_the_field_stays_within_its_range():
    field = find(*make_visits(known_field()))
    inside = field[make_visits()[2] > 0]
    assert field.min() >= inside.min() - 0.02
    assert field.max() <= inside.max() + 0.02


def test_exchange_turns_the_sign_exactly():
    baseline, followup, mask = make_visits(known_field())
    assert torch.equal(find(baseline, followup, mask), -find(followup, baseline, mask))


def test_exchange_exchanges_the_results_exactly():
    baseline, followup, mask = make_visits(known_field())
    balance = BalanceBiasd(spacing_mm=SPACING_MM)
    forth = balance({"baseline": baseline, "followup": followup, "brain": mask})
    back = balance({"baseline": followup, "followup": baseline, "brain": mask})
    assert torch.equal(forth["baseline"], back["followup"])
    assert torch.equal(forth["followup"], back["baseline"])


def test_identical_visits_stay_as_they_are():
    baseline, _, mask = make_visits()
    out = BalanceBiasd(spacing_mm=SPACING_MM)({"baseline": baseline, "followup": baseline, "brain": mask})
    torch.testing.assert_close(out["baseline"], baseline)
    assert torch.equal(out["baseline"], out["followup"])


def test_each_visit_gives_half():
    baseline, followup, mask = make_visits(known_field(), noise=0.0)
    data = {"baseline": baseline, "followup": followup, "brain": mask}
    out = BalanceBiasd(spacing_mm=SPACING_MM, field_key="field", suffix="_even")(data)
    half = torch.exp(out["field"] / 2)
    torch.testing.assert_close(out["baseline_even"], baseline * half)
    torch.testing.assert_close(out["followup_even"], followup / half)
    assert torch.equal(out["baseline"], baseline)


def test_other_modalities_and_affine():
    baseline, followup, mask = make_visits(known_field())
    affine = torch.diag(torch.tensor([5.0, 5.0, 5.0, 1.0], dtype=torch.float64))
    data = {"baseline+T1": MetaTensor(baseline, affine=affine), "followup+T1": MetaTensor(followup, affine=affine)}
    out = BalanceBiasd(["baseline+T1", "followup+T1"], spacing_mm=SPACING_MM, field_key="field")(
        {**data, "brain": mask}
    )
    for key in ("baseline+T1", "followup+T1", "field"):
        assert torch.equal(out[key].affine, affine)


@pytest.mark.parametrize("keys", ["baseline", ["a", "b", "c"]])
def test_keys_come_in_pairs(keys):
    with pytest.raises(ValueError, match="expected the keys of the baseline, then as many of the follow-up"):
        BalanceBiasd(keys)


@pytest.mark.parametrize("options", [{"knots_mm": 0.0}, {"spacing_mm": -1.0}])
def test_options_above_zero(options):
    with pytest.raises(ValueError, match="must be above 0"):
        BalanceBiasd(**options)
    with pytest.raises(ValueError, match="must be above 0"):
        differential_bias(*make_visits(), **options)


def test_grids_must_agree():
    baseline, followup, mask = make_visits()
    with pytest.raises(ValueError, match="on one grid"):
        find(baseline, followup[:, 1:], mask)


def test_several_modalities_are_balanced_each_by_itself():
    baseline, followup, mask = make_visits()
    data = {"a": baseline, "b": 2 * baseline, "c": followup, "d": 6 * followup, "brain": mask}
    out = BalanceBiasd(["a", "b", "c", "d"], spacing_mm=SPACING_MM)(data)
    for first, second in (("a", "c"), ("b", "d")):
        alone = BalanceBiasd([first, second], spacing_mm=SPACING_MM)(data)
        assert torch.equal(out[first], alone[first])
        assert torch.equal(out[second], alone[second])


def test_few_blocks_have_one_ratio_and_none_has_none():
    baseline, _, mask = make_visits()
    small = torch.zeros_like(mask)
    small[:, 8:12, 8:12, 8:12] = 1  # 64 voxels, each a block
    np.testing.assert_allclose(find(baseline, 3 * baseline, small), np.log(3), rtol=1e-5)
    assert not find(baseline, 3 * baseline, torch.zeros_like(mask)).any()
