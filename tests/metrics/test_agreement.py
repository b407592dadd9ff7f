# SPDX-License-Identifier: Apache-2.0
"""The scores of both real pairs against a script that knows nothing of this package."""

import importlib.util

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from monai_microchange._frames import affine_from_image, array_from_image, spacing_from_affine
from monai_microchange.metrics import count_covered_lesions, score_lesions

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def foreign(real_data):
    """The independent scorer, which lies beside the folder of the real scans where there is one."""
    script = real_data.parent / "score_pair.py"
    if not script.exists():
        pytest.skip(f"the independent scorer score_pair.py is not beside {real_data}")
    spec = importlib.util.spec_from_file_location("score_pair", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=["patient01", "patient19"])
def truth(request, real_data):
    """Expert mask of change about its lesions, and its spacing."""
    image = sitk.ReadImage(str(real_data / "ljubljana_longitudinal" / request.param / "gt.nii.gz"))
    mask, spacing = array_from_image(image) > 0, spacing_from_affine(affine_from_image(image))
    near = [slice(max(i.min() - 8, 0), i.max() + 9) for i in np.nonzero(mask)]
    return mask[tuple(near)], tuple(spacing)


def perturbed(kind, truth):
    """Predictions as a detector might make them, from the truth."""
    rng = np.random.default_rng(0)
    if kind == "dilated":
        return ndimage.binary_dilation(truth)
    if kind == "shifted":
        return np.roll(truth, (2, -1, 1), axis=(0, 1, 2))
    if kind == "fragmented":
        return truth & (rng.random(truth.shape) < 0.6)
    if kind == "half erased":
        labels, n = ndimage.label(truth, np.ones((3, 3, 3)))
        return np.isin(labels, 1 + rng.permutation(n)[: n // 2])
    specks = ndimage.gaussian_filter(rng.normal(size=truth.shape), 1.0)
    return (np.roll(truth, 1, axis=0) & (rng.random(truth.shape) < 0.9)) | (specks > np.quantile(specks, 0.9995))


@pytest.mark.parametrize("kind", ["dilated", "shifted", "fragmented", "half erased", "specks"])
def test_agrees_with_the_independent_scorer(foreign, truth, kind):
    mask, spacing = truth
    y_pred = perturbed(kind, mask)
    ours = score_lesions(y_pred, mask, spacing_mm=spacing)
    covered = count_covered_lesions(y_pred, mask, spacing_mm=spacing)
    theirs, _, _ = foreign.lesion_scores(y_pred, mask, float(np.prod(spacing)))

    assert ours.f1 > 0
    assert (ours.n_reference, ours.n_predicted) == (theirs["n_truth"], theirs["n_pred"])
    for name, key in [("dice", "dice"), ("f1", "f1"), ("sensitivity", "sens"), ("precision", "prec")]:
        assert round(getattr(ours, name), 3) == theirs[key]
    assert round(covered.f1, 3) == theirs["f1_cover"]
    assert round(ours.volume_ratio, 2) == theirs["volume_ratio"]
