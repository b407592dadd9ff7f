# SPDX-License-Identifier: Apache-2.0
"""Lesion-wise scores, on paper and against the independent scorer."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy import ndimage

from monai_microchange._frames import affine_from_image, array_from_image, spacing_from_affine
from monai_microchange.metrics import LesionF1Metric, compute_lesion_f1, score_lesions

MM = (1.0, 1.0, 1.0)
NAN = float("nan")


def mask(*boxes):
    """Mask (12, 12, 12) of boxes, each given as its first corner and its extent."""
    out = np.zeros((12, 12, 12), dtype=bool)
    for (i, j, k), (a, b, c) in boxes:
        out[i : i + a, j : j + b, k : k + c] = True
    return out


EMPTY = mask()
ONE = mask(((0, 0, 0), (2, 2, 2)))
ELSEWHERE = mask(((6, 6, 6), (2, 2, 2)))
# case: prediction, reference; sensitivity, precision, F1, Dice, volume ratio
TABLE = {
    "both empty": (EMPTY, EMPTY, NAN, NAN, NAN, NAN, NAN),
    "prediction empty": (EMPTY, ONE, 0, NAN, 0, 0, 0),
    "reference empty": (ONE, EMPTY, NAN, 0, 0, 0, NAN),
    "no match": (ELSEWHERE, ONE, 0, 0, 0, 0, 1),
}


def batch(*volumes):
    return torch.as_tensor(np.stack(volumes))[:, None]


@pytest.mark.parametrize("case", TABLE)
def test_empty_table_of_scores(case):
    y_pred, y, *expected = TABLE[case]
    s = score_lesions(y_pred, y, spacing_mm=MM)
    np.testing.assert_equal([s.sensitivity, s.precision, s.f1, s.dice, s.volume_ratio], expected)


@pytest.mark.parametrize("case", TABLE)
def test_empty_table_of_f1(case):
    y_pred, y, _, _, f1, _, _ = TABLE[case]
    np.testing.assert_equal(compute_lesion_f1(batch(y_pred), batch(y), spacing_mm=MM).item(), f1)


def test_empty_score_is_an_argument():
    assert score_lesions(EMPTY, EMPTY, spacing_mm=MM, empty_score=1.0).f1 == 1
    assert score_lesions(EMPTY, EMPTY, spacing_mm=MM, empty_score=1.0).dice == 1
    assert compute_lesion_f1(batch(EMPTY), batch(EMPTY), spacing_mm=MM, empty_score=0.0).item() == 0


def test_specks_make_an_empty_mask_for_lesions_but_not_for_voxels():
    speck = mask(((0, 0, 0), (2, 1, 1)))
    s = score_lesions(speck, speck, spacing_mm=MM)
    np.testing.assert_equal([s.f1, s.dice, s.volume_ratio], [NAN, 1, 1])


def test_case_on_paper():
    # Reference 8, 8, 40 mm3; prediction: the first with a layer more (12), the third but a quarter (30), two false.
    y = mask(((0, 0, 0), (2, 2, 2)), ((0, 6, 0), (2, 2, 2)), ((5, 0, 0), (5, 2, 4)))
    y_pred = mask(((0, 0, 0), (3, 2, 2)), ((5, 0, 0), (5, 2, 3)), ((0, 0, 8), (3, 1, 1)), ((8, 8, 8), (3, 3, 3)))
    s = score_lesions(y_pred, y, spacing_mm=MM)
    assert (s.n_reference, s.n_predicted, s.n_found) == (3, 4, 2)
    assert (s.sensitivity, s.precision, s.f1) == (2 / 3, 2 / 4, 4 / 7)
    assert s.dice == 2 * (8 + 30) / (56 + 72)
    assert s.volume_ratio == 72 / 56
    assert [(b.lower_mm3, b.upper_mm3) for b in s.by_size] == [(0, 10), (10, 25), (25, 100), (100, float("inf"))]
    assert [(b.n_reference, b.n_found, b.n_predicted, b.n_false) for b in s.by_size] == [
        (2, 1, 1, 1),
        (0, 0, 1, 0),
        (1, 1, 2, 1),
        (0, 0, 0, 0),
    ]
    np.testing.assert_equal([b.sensitivity for b in s.by_size], [0.5, NAN, 1, NAN])
    np.testing.assert_equal([b.precision for b in s.by_size], [0, 1, 0.5, NAN])


def test_spacing_moves_lesions_between_bins():
    coarse = score_lesions(ONE, ONE, spacing_mm=(1, 1, 3))
    assert [b.n_found for b in coarse.by_size] == [0, 1, 0, 0]  # 24 mm3


def test_one_spacing_an_item():
    # Two voxels: 2 mm3, too small, or 4 mm3.
    y = batch(mask(((0, 0, 0), (2, 1, 1))), mask(((0, 0, 0), (2, 1, 1))))
    f1 = compute_lesion_f1(y, y, spacing_mm=[(1, 1, 1), (1, 1, 2)])
    np.testing.assert_equal(f1.numpy(), [[NAN], [1]])


def test_channels_are_scored_apart():
    y = torch.as_tensor(np.stack([ONE, ELSEWHERE]))[None]
    np.testing.assert_equal(compute_lesion_f1(y.flip(1), y, spacing_mm=MM).numpy(), [[0, 0]])
    np.testing.assert_equal(compute_lesion_f1(y, y, spacing_mm=MM).numpy(), [[1, 1]])


def test_metric_collects_batches_and_lists_and_leaves_nan_out():
    metric = LesionF1Metric(spacing_mm=MM)
    metric(y_pred=batch(ONE, EMPTY), y=batch(ONE, EMPTY))  # 1, NaN
    metric(y_pred=list(batch(ELSEWHERE)), y=list(batch(ONE)))  # 0
    np.testing.assert_equal(metric.aggregate("none").numpy(), [[1], [NAN], [0]])
    assert metric.aggregate().item() == 0.5
    assert metric.aggregate().item() == 0.5  # the buffer is left as it was
    metric.reset()
    metric(y_pred=batch(EMPTY), y=batch(EMPTY))
    assert np.isnan(metric.aggregate().item())


def test_metric_takes_a_spacing_for_one_call():
    metric, thin = LesionF1Metric(spacing_mm=(1, 1, 2)), batch(mask(((0, 0, 0), (2, 1, 1))))
    assert metric(thin, thin).item() == 1
    assert np.isnan(metric(thin, thin, spacing_mm=MM).item())


def test_metric_refuses_what_it_does_not_know():
    with pytest.raises(TypeError, match="takes only spacing_mm beside the masks, got spacing"):
        LesionF1Metric(spacing_mm=MM)(batch(ONE), batch(ONE), spacing=MM)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compute_lesion_f1(batch(ONE)[0], batch(ONE)[0], spacing_mm=MM), r"\(B, C, I, J, K\)"),
        (lambda: compute_lesion_f1(batch(ONE, ONE), batch(ONE), spacing_mm=MM), "of one shape"),
        (lambda: compute_lesion_f1(batch(ONE), batch(ONE), spacing_mm=1.0), "must have shape"),
        (lambda: LesionF1Metric(spacing_mm=MM, reduction="median"), "reduction must be one of"),
        (lambda: LesionF1Metric(spacing_mm=(1, 1, -1)), "three positive numbers"),
        (lambda: LesionF1Metric(spacing_mm=MM)(batch(ONE)), "pass y"),
        (lambda: LesionF1Metric(spacing_mm=MM).aggregate(), "Nothing to aggregate"),
        (lambda: score_lesions(ONE, ONE, spacing_mm=MM, size_edges_mm3=(10, 10)), "must rise"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def perturbed(kind, truth):
    """Predictions as a detector might make them, from the truth."""
    rng = np.random.default_rng(0)
    if kind == "dilated":
        return ndimage.binary_dilation(truth)
    if kind == "shifted":
        return np.roll(truth, (2, -1, 1), axis=(0, 1, 2))
    if kind == "fragmented":
        return truth & (rng.random(truth.shape) < 0.6)
    specks = ndimage.gaussian_filter(rng.normal(size=truth.shape), 1.0)
    return (np.roll(truth, 1, axis=0) & (rng.random(truth.shape) < 0.9)) | (specks > np.quantile(specks, 0.9995))


@pytest.mark.real
@pytest.mark.parametrize("patient", ["patient01", "patient19"])
@pytest.mark.parametrize("kind", ["dilated", "shifted", "fragmented", "specks"])
def test_agrees_with_the_independent_scorer(patient, kind):
    root = os.environ.get("MICROCHANGE_DATA")
    if not root:
        pytest.skip("MICROCHANGE_DATA does not name the folder of real scans.")
    script = Path(root).parent / "score_pair.py"
    if not script.exists():
        pytest.skip(f"The independent scorer score_pair.py is not beside {root}.")
    spec = importlib.util.spec_from_file_location("score_pair", script)
    foreign = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(foreign)

    image = sitk.ReadImage(str(Path(root) / "ljubljana_longitudinal" / patient / "gt.nii.gz"))
    truth, spacing = array_from_image(image) > 0, spacing_from_affine(affine_from_image(image))
    near = [slice(max(i.min() - 8, 0), i.max() + 9) for i in np.nonzero(truth)]
    truth = truth[tuple(near)]
    pred = perturbed(kind, truth)
    ours = score_lesions(pred, truth, spacing_mm=tuple(spacing))
    theirs, _, _ = foreign.lesion_scores(pred, truth, float(np.prod(spacing)))

    assert (ours.n_reference, ours.n_predicted) == (theirs["n_truth"], theirs["n_pred"])
    assert ours.f1 > 0
    for name, key in [("dice", "dice"), ("f1", "f1"), ("sensitivity", "sens"), ("precision", "prec")]:
        assert round(getattr(ours, name), 3) == theirs[key]
    assert round(ours.volume_ratio, 2) == theirs["volume_ratio"]
