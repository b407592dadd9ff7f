# SPDX-License-Identifier: Apache-2.0
"""Scans of a ball with lesions that grow, come and go, or stay, in a pose of its own at each of three visits."""

import numpy as np
from scipy.spatial.transform import Rotation

from monai_microchange._frames import apply_affine

SHAPE = (40, 40, 40)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
AFFINE[:3, 3] = -39.0
PLACES = {"grows": (-12.0, 4.0, 6.0), "passes": (12.0, -8.0, 2.0), "stays": (0.0, 14.0, -12.0)}
RADII_MM = {"grows": (5.0, 7.0, 9.0), "passes": (0.0, 7.0, 0.0), "stays": (7.0, 7.0, 7.0)}


def pose(number: int) -> np.ndarray:
    """Points of the head to points of a visit's scan."""
    matrix = np.eye(4)
    turn, shift = [((4, -3, 6), (3, -2, 5)), ((-5, 2, 0), (-4, 6, 1)), ((2, 6, -4), (1, 0, -6))][number]
    matrix[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix()
    matrix[:3, 3] = shift
    return matrix


def scan(number: int) -> np.ndarray:
    """A textured ball of 64 mm with bright lesions, as a visit shows it."""
    index = np.indices(SHAPE).reshape(3, -1).T
    points = apply_affine(np.linalg.inv(pose(number)) @ AFFINE, index)
    draw = np.random.RandomState(0)
    # waves in all directions: as textured as one likes, and nowhere as bright as a lesion
    waves, phases = draw.normal(size=(6, 3)), draw.uniform(0, 2 * np.pi, 6)
    waves *= 2 * np.pi / draw.uniform(12, 30, (6, 1)) / np.linalg.norm(waves, axis=1, keepdims=True)
    image = 60 + 4 * np.sin(points @ waves.T + phases).sum(axis=1)
    for name, place in PLACES.items():
        radius = RADII_MM[name][number]
        if radius:
            distance = np.linalg.norm(points - place, axis=1)
            image += 120 / (1 + np.exp(2 * (distance - radius)))
    image /= 1 + np.exp(2 * (np.linalg.norm(points, axis=1) - 32))
    noise = np.random.RandomState(number + 1).normal(0, 0.5, len(points))
    return (image + noise).reshape(SHAPE).astype(np.float32)
