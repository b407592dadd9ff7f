# SPDX-License-Identifier: Apache-2.0
"""A head that is known at every point, so that a scan of it on any grid and in any pose needs no interpolation."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.spatial.transform import Rotation

from monai_microchange._frames import apply_affine

_DRAW = np.random.RandomState(0)
_CENTRES_MM = _DRAW.uniform(-15, 15, (40, 3))
_WIDTHS_MM = _DRAW.uniform(2.0, 4.0, 40)
_HEIGHTS = _DRAW.uniform(0.3, 0.8, 40) * _DRAW.choice([-1, 1], 40)
_RADII_MM = np.array([18.0, 22.0, 20.0])


def head_at(points):
    """Brightness (n,) of the head at points (n, 3), RAS mm: an ellipsoid full of blobs."""
    surface = np.linalg.norm(points / _RADII_MM, axis=1)
    inside = 1 / (1 + np.exp((surface - 1) * 25))
    blobs = sum(
        height * np.exp(-0.5 * ((points - centre) ** 2).sum(axis=1) / width**2)
        for centre, width, height in zip(_CENTRES_MM, _WIDTHS_MM, _HEIGHTS, strict=True)
    )
    return 100 * inside * np.clip(1 + blobs, 0.05, None)


def rigid(degrees, translation_mm):
    """Matrix (4, 4) of a turn about x, y and z and a shift."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, 3] = translation_mm
    return matrix


@dataclass(frozen=True)
class Grid:
    """A scanner's grid about the origin: voxel sizes, signed (a negative one flips the axis), and a turn."""

    spacing: tuple[float, float, float]
    shape: tuple[int, int, int]
    degrees: tuple[float, float, float] = (0.0, 0.0, 0.0)
    order: tuple[int, int, int] = (0, 1, 2)

    @property
    def affine(self):
        turned = rigid(self.degrees, np.zeros(3))[:3, :3]
        affine = np.eye(4)
        affine[:3, :3] = turned[:, list(self.order)] * np.asarray(self.spacing)
        affine[:3, 3] = -affine[:3, :3] @ (np.asarray(self.shape) - 1) / 2
        return affine

    def points(self):
        """All voxel centres (n, 3), RAS mm."""
        return apply_affine(self.affine, np.indices(self.shape).reshape(3, -1).T)


GRIDS = {
    "isotropic": Grid((2.0, 2.0, 2.0), (32, 36, 32)),
    "anisotropic": Grid((1.5, 1.5, 3.0), (42, 46, 21)),
    "oblique": Grid((2.0, 2.0, 2.0), (33, 36, 33), degrees=(8.0, -5.0, 11.0)),
    "flipped": Grid((-2.5, 1.8, -2.0), (26, 34, 36), order=(2, 0, 1)),
}


def scan_head(grid, head_to_scan=None, *, noise=0.0, seed=0):
    """Scan (1, I, J, K) of the head in a pose, free of interpolation."""
    pose = np.eye(4) if head_to_scan is None else head_to_scan
    values = head_at(apply_affine(np.linalg.inv(pose), grid.points())).reshape(grid.shape)
    values = values + noise * np.random.RandomState(seed).standard_normal(grid.shape)
    return MetaTensor(torch.from_numpy(values.astype(np.float32))[None], affine=torch.from_numpy(grid.affine))


@pytest.fixture(scope="session")
def motion():
    """How the head moved between the visits: points of the baseline to points of the follow-up."""
    return rigid((3.0, -4.0, 5.0), (2.0, -3.0, 1.5))
