# SPDX-License-Identifier: Apache-2.0
"""Planted lesions of ten phantoms that no one has looked at: found, and of the right type?"""

import numpy as np
import pytest

from monai_microchange._frames import apply_affine
from monai_microchange.metrics import match_lesions
from monai_microchange.pipeline import compare
from monai_microchange.simulation import make_phantom, write_phantom

pytestmark = pytest.mark.slow

SEEDS = range(100, 110)
CLEAR_MM3 = 25.0
"""Changes larger than this should be found."""


def on_truth_grid(result, truth):
    """The result's change on the phantom's anatomical grid."""
    to_mid = np.linalg.inv(result.space.affine) @ np.linalg.inv(result.space.mid_to_baseline)
    index = np.indices(truth.truth.shape[1:]).reshape(3, -1).T
    at = np.rint(apply_affine(to_mid @ truth.anatomy_to_baseline @ truth.truth.affine.numpy(), index)).astype(int)
    inside = ((at >= 0) & (at < result.space.shape)).all(axis=1)
    labels = np.zeros(len(at), np.uint8)
    labels[inside] = result.change.numpy()[0][tuple(at[inside].T)]
    return labels.reshape(truth.truth.shape[1:])


def test_eighty_percent_of_clear_lesions_are_found_with_the_right_type(tmp_path, capsys):
    found = planted = 0
    for seed in SEEDS:
        phantom = make_phantom(seed)
        folder = write_phantom(tmp_path / str(seed), phantom)
        result = compare(str(folder / "baseline.nii.gz"), str(folder / "followup.nii.gz"))
        truth, change = phantom.truth.numpy()[0], on_truth_grid(result, phantom)
        matches = match_lesions(change > 0, truth > 0, spacing_mm=(1.0, 1.0, 1.0))
        right = 0
        partner = {reference: predicted for predicted, reference in matches.pairs}
        clear = [i for i, volume in enumerate(matches.reference_volumes_mm3, start=1) if volume > CLEAR_MM3]
        for label in clear:
            if label in partner:
                seen = change[matches.predicted_labels == partner[label]]
                kind = truth[matches.reference_labels == label]
                right += int(np.bincount(seen).argmax() == np.bincount(kind).argmax())
        found, planted = found + right, planted + len(clear)
        with capsys.disabled():
            print(f"\nseed {seed}: {right} of {len(clear)} right, {len(matches.false)} false", end="")
    assert planted >= 50
    assert found >= 0.8 * planted
