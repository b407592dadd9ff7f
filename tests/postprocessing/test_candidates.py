# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from scipy import ndimage as ndi

from monai_microchange.postprocessing import CANDIDATE_FEATURES, describe_candidates

SHAPE = (16, 15, 14)


@pytest.fixture
def pair():
    rng = np.random.default_rng(3)
    labels = np.zeros(SHAPE, dtype=np.int32)
    labels[3:5, 3:6, 3:5], labels[9, 9, 9:12], labels[12, 3, 3] = 1, 2, 3
    scans = rng.normal(size=(2, 2, *SHAPE))
    scans[1][:, labels > 0] += 3.0
    probability = np.where(labels > 0, rng.uniform(0.4, 0.999, SHAPE), 0.1)
    depth = ndi.distance_transform_edt(np.pad(np.ones(SHAPE), 1))[1:-1, 1:-1, 1:-1]
    return labels, probability, scans[0], scans[1], depth


def naive(labels, probability, darker, brighter, depth, number):
    """The same measures by loops over all voxels."""
    own = [v for v in np.ndindex(SHAPE) if labels[v] == number]
    around = [
        v
        for v in np.ndindex(SHAPE)
        if labels[v] == 0 and depth[v] > 0 and min(sum(abs(a - b) for a, b in zip(v, w, strict=True)) for w in own) <= 3
    ]
    rise = brighter[1] - darker[1]
    inside = rise[depth > 0]
    middle = np.median(inside)
    spread = 1.4826 * np.median(np.abs(inside - middle))
    odds = [np.log(probability[v] / (1 - probability[v])) for v in own]
    sides = np.ptp(np.array(own), axis=0) + 1

    def mean(image, voxels):
        return np.mean([image[v] for v in voxels])

    return [
        np.log(len(own)),
        max(odds),
        np.mean(odds),
        (mean(rise, own) - middle) / spread,
        (mean(rise, own) - mean(rise, around)) / spread,
        mean(brighter[0], own),
        mean(brighter[0], own) - mean(brighter[0], around),
        np.log(max(depth[v] for v in own)),
        len(own) / np.prod(sides),
    ]


def test_agrees_with_loops_over_voxels(pair):
    table = describe_candidates(*pair, spacing_mm=1.0)
    assert table.shape == (3, len(CANDIDATE_FEATURES))
    for number, row in enumerate(table, start=1):
        np.testing.assert_allclose(row, naive(*pair, number), rtol=1e-6, err_msg=str(number))


def test_sure_voxels_keep_finite_odds(pair):
    labels, probability, *rest = pair
    table = describe_candidates(labels, np.where(labels > 0, 1.0, probability), *rest, spacing_mm=1.0)
    assert (table[:, 1:3] == 12.0).all()


def test_no_component_gives_no_row(pair):
    labels, *rest = pair
    assert describe_candidates(np.zeros_like(labels), *rest, spacing_mm=1.0).shape == (0, len(CANDIDATE_FEATURES))


def test_volume_is_in_cubic_millimetres(pair):
    fine = describe_candidates(*pair, spacing_mm=0.5)
    assert fine[0, 0] == pytest.approx(np.log(12 / 8))


def test_scans_of_one_channel_are_refused(pair):
    labels, probability, darker, brighter, depth = pair
    with pytest.raises(ValueError, match="of two channels"):
        describe_candidates(labels, probability, darker[0], brighter[0], depth, spacing_mm=1.0)
