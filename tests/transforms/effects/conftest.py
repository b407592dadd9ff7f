# SPDX-License-Identifier: Apache-2.0
"""A small head: layers of labels about a ventricle, and grey values to match."""

import numpy as np
import pytest
import torch

from monai_microchange.enums import Anatomy

GREYS = {
    Anatomy.BACKGROUND: 0.0,
    Anatomy.WHITE_MATTER: 1.0,
    Anatomy.CORTEX: 1.2,
    Anatomy.DEEP_GREY: 0.9,
    Anatomy.VENTRICLE: 0.25,
    Anatomy.INFRATENTORIAL: 1.05,
    Anatomy.OUTER_CSF: 0.25,
}


@pytest.fixture(scope="session")
def head():
    """Image and `Anatomy` labels, (1, 40, 44, 36) each."""
    shape = (40, 44, 36)
    place = np.indices(shape) - (np.array(shape)[:, None, None, None] - 1) / 2
    radius = np.linalg.norm(place, axis=0)
    labels = np.full(shape, Anatomy.BACKGROUND, np.uint8)
    for outer, label in (
        (17, Anatomy.OUTER_CSF),
        (15, Anatomy.CORTEX),
        (12, Anatomy.WHITE_MATTER),
        (5, Anatomy.VENTRICLE),
    ):
        labels[radius < outer] = label
    # a brain stem below, with liquor before it
    stem = (np.abs(place[0]) < 4) & (np.abs(place[1]) < 4) & (place[2] < -6)
    labels[stem] = Anatomy.INFRATENTORIAL
    labels[(np.abs(place[0]) < 4) & (place[1] >= 4) & (place[1] < 8) & (place[2] < -6)] = Anatomy.OUTER_CSF
    table = np.array([GREYS[label] for label in Anatomy], np.float32)
    return torch.from_numpy(table[labels])[None], torch.from_numpy(labels)[None]
