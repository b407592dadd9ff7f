# SPDX-License-Identifier: Apache-2.0
"""A bank of lesion shapes."""

from pathlib import Path

import numpy as np

__all__ = ["LesionBank"]

NEIGHBOURS = 5
"""How many places in the order of volumes a drawn shape may lie from the one that was asked for."""


class LesionBank:
    """Lesion shapes on a 1 mm grid, drawn by volume.

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

    def draw(self, random: np.random.RandomState, volume_mm3: float | None = None) -> np.ndarray:
        """One shape, randomly flipped and with its axes permuted.

        Args:
            random: where the draws come from.
            volume_mm3: about how large; None draws evenly over the logarithm of the volume.

        Returns:
            (i, j, k), bool. The bank's smallest or largest where it has none of this volume.
        """
        wanted = random.uniform(self.log_volume[0], self.log_volume[-1]) if volume_mm3 is None else np.log(volume_mm3)
        # of the shapes near this volume any, not always the nearest
        place = np.searchsorted(self.log_volume, wanted) + random.randint(-NEIGHBOURS, NEIGHBOURS + 1)
        shape = self.shapes[self.order[np.clip(place, 0, len(self.order) - 1)]]
        shape = shape.transpose(random.permutation(3))
        for axis in range(3):
            if random.random_sample() < 0.5:
                shape = np.flip(shape, axis)
        return np.ascontiguousarray(shape)
