# SPDX-License-Identifier: Apache-2.0
"""Results of pairs made by hand."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_microchange.enums import VISITS
from monai_microchange.postprocessing import MidMaps, find_changes, list_lesions
from monai_microchange.quality import Comparability
from monai_microchange.result import ChangeResult
from monai_microchange.transforms import MidSpace

AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])


def image(array: np.ndarray) -> MetaTensor:
    return MetaTensor(torch.from_numpy(np.ascontiguousarray(array))[None], affine=torch.from_numpy(AFFINE))


@pytest.fixture
def result_of() -> Callable[..., ChangeResult]:
    """Result of a pair whose change is where its two lesion masks differ, on a grid of 1 mm."""

    def make(before: np.ndarray, after: np.ndarray, **differing) -> ChangeResult:
        before, after = before.astype(np.uint8), after.astype(np.uint8)
        gain, loss = 0.9 * (after > before), 0.9 * (before > after)
        ones = np.ones(before.shape, np.uint8)
        changes = find_changes(gain, loss, before, after, ones, spacing_mm=(1, 1, 1), min_volume_mm3=1)
        maps = MidMaps(before, after, before, after, gain, loss, AFFINE)
        ids, lesions = list_lesions(changes, maps, min_volume_mm3=1)
        made = {
            "lesions": tuple(lesions),
            "change": image(changes.change),
            "lesion_ids": image(ids),
            "gain_probability": image(gain.astype(np.float32)),
            "loss_probability": image(loss.astype(np.float32)),
            "baseline": image(before.astype(np.float32)),
            "followup": image(after.astype(np.float32)),
            "baseline_lesion": image(before),
            "followup_lesion": image(after),
            "assessed": image(ones),
            "native_change": {visit: image(changes.change) for visit in VISITS},
            "misalignment": image(0 * ones.astype(np.float32)),
            "comparability": Comparability(),
            "space": MidSpace(AFFINE, before.shape, np.eye(4), np.eye(4)),
            "interval_days": 100,
            "provenance": {"counts": {}, "warnings": []},
        }
        return ChangeResult(**(made | differing))

    return make
