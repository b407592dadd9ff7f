# SPDX-License-Identifier: Apache-2.0
"""Results known beforehand, and a workflow that only hands them out."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy import ndimage

from monai_microchange.enums import ChangeType
from monai_microchange.export import write_nifti


class Pretender:
    """A workflow whose results are known before, and which remembers what it was asked."""

    def __init__(self, *results):
        self.results = list(results)
        self.asked = []

    def run(self, pair, output_dir, *, overwrite=False):
        self.asked.append((pair, output_dir, overwrite))
        return self.results[len(self.asked) - 1]


@pytest.fixture
def pretender():
    return Pretender


@pytest.fixture
def a_result():
    """A function that makes what of a `ChangeResult` scores are made from."""

    def make(change, *, confidence=(), mid_to_baseline=None, affine=None):
        """Confidence goes to the components of change in scanning order; 0.9 where there is none for one."""
        place = np.eye(4) if mid_to_baseline is None else mid_to_baseline
        affine = np.eye(4) if affine is None else affine
        ids, n = ndimage.label(change, np.ones((3, 3, 3)))
        sure = [*confidence, *[0.9] * (n - len(confidence))]
        return SimpleNamespace(
            change=MetaTensor(torch.from_numpy(change)[None], affine=affine),
            lesion_ids=MetaTensor(torch.from_numpy(ids.astype(np.int32))[None], affine=affine),
            lesions=tuple(SimpleNamespace(id=i + 1, confidence=value) for i, value in enumerate(sure)),
            space=SimpleNamespace(mid_to={"baseline": place}.__getitem__),
        )

    return make


@pytest.fixture
def truth():
    """A new lesion of 8 voxels, a resolved one of 27."""
    label = np.zeros((12, 12, 12), np.uint8)
    label[1:3, 1:3, 1:3] = ChangeType.NEW
    label[6:9, 6:9, 6:9] = ChangeType.RESOLVED
    return label


@pytest.fixture
def listed(tmp_path):
    """A function that writes a label and gives its entry of a datalist."""

    def write(label, name="one", affine=None, **more):
        write_nifti(tmp_path / f"{name}.nii.gz", label, np.eye(4) if affine is None else affine)
        return {"name": name, "baseline": "a", "followup": "b", "label": str(tmp_path / f"{name}.nii.gz"), **more}

    return write
