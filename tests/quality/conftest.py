# SPDX-License-Identifier: Apache-2.0
"""A textured ball that is known at every point, so that it can be moved without interpolation."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_microchange._frames import apply_affine
from monai_microchange.data import ScanPair, Visit
from monai_microchange.enums import VISITS
from monai_microchange.transforms import MidSpace
from monai_microchange.transforms.registration import LinearRegistration

_DRAW = np.random.RandomState(3)
_CENTRES_MM = _DRAW.uniform(-30, 30, (160, 3))
_WIDTHS_MM = _DRAW.uniform(2.5, 5.0, 160)
_HEIGHTS = _DRAW.uniform(0.2, 0.6, 160) * _DRAW.choice([-1, 1], 160)
RADIUS_MM = 30.0
SHAPE = (36, 36, 36)
AFFINE = np.array([[-2.0, 0, 0, 35], [0, -2.0, 0, 35], [0, 0, 2.0, -35], [0, 0, 0, 1]])
"""2 mm, axes along LPS, as mid-space has them."""


def ball_at(points):
    """Brightness (n,) at points (n, 3), RAS mm: about 100 inside, 0 outside."""
    inside = 1 / (1 + np.exp((np.linalg.norm(points, axis=1) - RADIUS_MM) * 1.5))
    blobs = sum(
        height * np.exp(-0.5 * ((points - centre) ** 2).sum(axis=1) / width**2)
        for centre, width, height in zip(_CENTRES_MM, _WIDTHS_MM, _HEIGHTS, strict=True)
    )
    return 100 * inside * np.clip(1 + blobs, 0.05, None)


POINTS_MM = apply_affine(AFFINE, np.indices(SHAPE).reshape(3, -1).T)


def ball_scan(to_ball: Callable[[np.ndarray], np.ndarray] = lambda points: points, *, noise=0.0, seed=0):
    """Scan (1, I, J, K) that shows, at each point, what the ball has where `to_ball` leads."""
    values = ball_at(to_ball(POINTS_MM)).reshape(SHAPE)
    values = values + noise * np.random.RandomState(seed).standard_normal(SHAPE)
    return MetaTensor(torch.from_numpy(values.astype(np.float32))[None], affine=torch.from_numpy(AFFINE))


@pytest.fixture(scope="session")
def ball_mask():
    """(1, I, J, K) bool, 2 mm less than the ball."""
    inside = np.linalg.norm(POINTS_MM, axis=1) < RADIUS_MM - 2
    return torch.from_numpy(inside.reshape(SHAPE))[None]


@dataclass(frozen=True)
class GateData:
    """What `JudgePaird` reads, of two scans on one grid."""

    scans: tuple[MetaTensor, MetaTensor]
    mask: torch.Tensor
    protocols: tuple[dict, dict] = ({}, {})

    def __call__(self, **changes):
        """The data dictionary."""
        data = replace(self, **changes)
        visits = [
            Visit({"FLAIR": scan}, Path("scan.nii.gz"), "0" * 64, patient_id="SECRET", protocol=protocol)
            for scan, protocol in zip(data.scans, data.protocols, strict=True)
        ]
        brain = MetaTensor(data.mask.to(torch.uint8), affine=data.scans[0].affine)
        registration = LinearRegistration(np.eye(4), 0.0, 0.1, 1.0, False, 1.0, 0.9, 1.3)
        return {
            **dict(zip(VISITS, data.scans, strict=True)),
            "brain": brain,
            "pair": ScanPair(*visits, interval_days=None),
            "mid_space": MidSpace(AFFINE, SHAPE, np.eye(4), np.eye(4)),
            "registration": registration,
            "other": "untouched",
        }


@pytest.fixture(scope="session")
def gate_data(ball_mask):
    """Two scans of the ball with noise of their own."""
    scans = ball_scan(noise=1.5, seed=1), ball_scan(noise=1.5, seed=2)
    return GateData(scans, ball_mask)
