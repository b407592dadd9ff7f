# SPDX-License-Identifier: Apache-2.0
"""A bank of lesion shapes, and how a shape grows."""

from pathlib import Path

import numpy as np
from scipy import ndimage as ndi

__all__ = ["LesionBank", "shrink_shape"]


class LesionBank:
    """Lesion shapes on a 1 mm grid, drawn evenly over the logarithm of their volume.

    Args:
        path: an `.npz` with `bits` (packed), `n_bits`, `offset` (n + 1,), `shape` (n, 3) and `volume_mm3` (n,).
        min_volume_mm3: smallest shape drawn.
        max_volume_mm3: largest shape drawn.

    Raises:
        ValueError: if no shape lies between the two volumes.
    """

    def __init__(self, path: str | Path, *, min_volume_mm3: float = 8.0, max_volume_mm3: float = 2500.0):
        with np.load(path) as packed:
            bits = np.unpackbits(packed["bits"])[: int(packed["n_bits"])].astype(bool)
            offset, shape, volume = packed["offset"], packed["shape"], packed["volume_mm3"]
        wanted = np.flatnonzero((volume >= min_volume_mm3) & (volume <= max_volume_mm3))
        if len(wanted) == 0:
            raise ValueError(f"{path} has no shape of {min_volume_mm3} to {max_volume_mm3} mm3")
        self.shapes = [bits[offset[i] : offset[i + 1]].reshape(shape[i]) for i in wanted]
        self.order = np.argsort(volume[wanted])
        self.log_volume = np.log(volume[wanted][self.order].astype(float))

    def draw(self, random: np.random.RandomState) -> np.ndarray:
        """One shape (i, j, k), bool, randomly flipped and with its axes permuted."""
        wanted = random.uniform(self.log_volume[0], self.log_volume[-1])
        # of the shapes near this volume any, not always the nearest
        place = np.searchsorted(self.log_volume, wanted) + random.randint(-5, 6)
        shape = self.shapes[self.order[np.clip(place, 0, len(self.order) - 1)]]
        shape = shape.transpose(random.permutation(3))
        for axis in range(3):
            if random.random_sample() < 0.5:
                shape = np.flip(shape, axis)
        return np.ascontiguousarray(shape)


def shrink_shape(shape: np.ndarray, share: float, direction: np.ndarray) -> np.ndarray:
    """The part of a shape that was there before it grew, or is left after it shrank.

    Keeps what lies deep inside and towards one side, since lesions seldom grow evenly.

    Args:
        shape: (i, j, k), bool.
        share: kept share of the volume, from 0 to 1; at least one voxel is kept.
        direction: (3,), towards what is kept; its length is how uneven growth is (0 is even).

    Example:
        >>> shrink_shape(np.ones((1, 1, 4), bool), 0.5, np.array([0.0, 0.0, 9.0])).ravel().tolist()
        [False, False, True, True]
    """
    depth = ndi.distance_transform_edt(np.pad(shape, 1))[1:-1, 1:-1, 1:-1]
    offset = np.indices(shape.shape).reshape(3, -1).T - (np.asarray(shape.shape) - 1) / 2
    rank = depth + (offset @ direction).reshape(shape.shape) / max(shape.shape)
    inside = np.sort(rank[shape])[::-1]
    keep = max(round(share * len(inside)), 1)
    return shape & (rank >= inside[keep - 1])
