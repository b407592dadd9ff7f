# SPDX-License-Identifier: Apache-2.0
"""What every dictionary transform of the package promises: the input is left alone, it pickles, a seed repeats it."""

import pickle

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Randomizable, Transform

from monai_microchange.enums import Anatomy
from monai_microchange.transforms import (
    AlignMidSpaced,
    AssessRegiond,
    BalanceBiasd,
    CorrectBiasd,
    HarmonizeVisitsd,
    MergeAnatomyd,
    MidSpace,
    RandInsertChanged,
    RandPaintLabelsd,
    RandSimulateChanged,
    ReadChangeLabeld,
    ReadUserMasksd,
    SegmentAnatomyd,
    StandardizeLocallyd,
    StandardizeTissuesd,
)

from .conftest import GRIDS, scan_head

VISITS = ["baseline", "followup"]


class BoxBank:
    """A stand-in for the bank of lesions."""

    def draw(self, random, volume_mm3=None):
        return np.ones(random.randint(3, 6, 3), bool)


class ByBrightness(torch.nn.Module):
    """A stand-in for the anatomy network."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.arange(float(len(Anatomy))))

    def forward(self, x):
        return 9 * (x - 0.3) * self.scale.view(1, -1, 1, 1, 1)


TRANSFORMS = {
    "AlignMidSpaced": AlignMidSpaced(spacing_mm=3.0),
    "AssessRegiond": AssessRegiond(),
    "BalanceBiasd": BalanceBiasd(),
    "CorrectBiasd": CorrectBiasd(VISITS),
    "HarmonizeVisitsd": HarmonizeVisitsd(VISITS),
    "MergeAnatomyd": MergeAnatomyd(VISITS),
    "RandInsertChanged": RandInsertChanged(VISITS, BoxBank()),
    "RandPaintLabelsd": RandPaintLabelsd("labels", "painted", 2, [0.0, 0.5], 1, [1]),
    "RandSimulateChanged": RandSimulateChanged("image", BoxBank()),
    "ReadChangeLabeld": ReadChangeLabeld(),
    "ReadUserMasksd": ReadUserMasksd(),
    "SegmentAnatomyd": SegmentAnatomyd(VISITS, ByBrightness()),
    "StandardizeLocallyd": StandardizeLocallyd(VISITS),
    "StandardizeTissuesd": StandardizeTissuesd(),
}


@pytest.fixture(scope="module")
def data():
    """All that any of the transforms reads."""
    scans = {"image": scan_head(GRIDS["isotropic"])}
    scans |= {visit: scan_head(GRIDS["isotropic"], noise=1.0, seed=i) for i, visit in enumerate(VISITS)}
    inside = MetaTensor((scans["image"].as_tensor() > 20).to(torch.uint8), affine=scans["image"].affine)
    masks = {key: inside.clone() for key in ("brain", "anatomy", "labels", "field_of_view")}
    # front, middle and back of the head
    bands = torch.tensor([Anatomy.OUTER_CSF, Anatomy.WHITE_MATTER, Anatomy.CORTEX], dtype=torch.uint8)
    third = torch.arange(inside.shape[2]) * 3 // inside.shape[2]
    masks["anatomy"] = inside * bands[third].view(1, 1, -1, 1)
    segmented = SegmentAnatomyd(VISITS, ByBrightness())({visit: scans[visit] for visit in VISITS})
    affine, shape = scans["image"].affine.numpy(), tuple(scans["image"].shape[1:])
    return {**segmented, **scans, **masks, "mid_space": MidSpace(affine, shape, np.eye(4), np.eye(4))}


def tensors(data):
    return {key: value for key, value in data.items() if isinstance(value, torch.Tensor)}


@pytest.fixture(params=TRANSFORMS)
def transform(request):
    return TRANSFORMS[request.param]


def run(transform, data, seed=1):
    if isinstance(transform, Randomizable):
        transform.set_random_state(seed)
    return transform(data)


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.allclose(torch.as_tensor(one).float(), torch.as_tensor(other).float(), atol=1e-3)
    return type(one) is type(other)


def test_all_dictionary_transforms_are_here():
    import monai_microchange.transforms as package

    public = {name: getattr(package, name) for name in package.__all__}
    assert {n for n, kind in public.items() if isinstance(kind, type) and issubclass(kind, Transform)} == set(
        TRANSFORMS
    )


def test_input_is_left_as_it_was(transform, data):
    before = {key: value.as_tensor().clone() for key, value in tensors(data).items()}
    affines = {key: value.affine.clone() for key, value in tensors(data).items()}
    given = dict(data)
    run(transform, given)
    assert list(given) == list(data)
    for key, value in tensors(data).items():
        assert given[key] is value
        assert torch.equal(value.as_tensor(), before[key]), key
        assert torch.equal(value.affine, affines[key]), key
        assert not value.applied_operations


def test_pickled_copy_does_the_same(transform, data):
    copy = pickle.loads(pickle.dumps(transform))
    one, other = run(transform, data), run(copy, data)
    assert list(one) == list(other)
    assert all(same(one[key], other[key]) for key in one)


def test_repeats_inside_a_compose(transform, data):
    """Which hands the seed on to what is random."""
    results = []
    for _ in range(2):
        pipeline = Compose([transform])
        pipeline.set_random_state(7)
        results.append(pipeline(data))
    assert all(same(results[0][key], results[1][key]) for key in results[0])


@pytest.mark.parametrize("name", [n for n, t in TRANSFORMS.items() if isinstance(t, Randomizable)])
def test_another_seed_gives_another_result(data, name):
    added = "painted" if name == "RandPaintLabelsd" else "followup"
    one, other = (run(TRANSFORMS[name], data, seed)[added] for seed in (1, 2))
    assert not same(one, other)
