# SPDX-License-Identifier: Apache-2.0
"""A smooth displacement of space, known at the nodes of a coarse grid."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import affine_transform, map_coordinates

from monai_microchange._frames import apply_affine

__all__ = ["WarpField"]


@dataclass(frozen=True, eq=False)
class WarpField:
    """Where points go: linear between the nodes of a grid, and nothing moves beyond it.

    That is also how ITK reads a displacement field, so that a written field is the same field.

    Attributes:
        vectors: (3, I, J, K), mm along RAS.
        affine: (4, 4), node to RAS mm.

    Example:
        >>> field = WarpField(np.full((3, 4, 4, 4), 2.0), np.eye(4))
        >>> field.moved(np.array([[1.0, 1.5, 2.0], [9.0, 9.0, 9.0]])).tolist()
        [[3.0, 3.5, 4.0], [9.0, 9.0, 9.0]]
    """

    vectors: np.ndarray
    affine: np.ndarray

    def moved(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3), RAS mm, with their displacement."""
        points = np.asarray(points, dtype=float)
        return points + np.stack([self._read(part, points, 0.0) for part in self.vectors], axis=-1)

    def determinant(self) -> np.ndarray:
        """How much each node's surroundings grow (I, J, K): the determinant of the Jacobian, by central differences."""
        shape = self.vectors.shape[1:]
        nodes = np.moveaxis(np.indices(shape), 0, -1)
        places = apply_affine(self.affine, nodes) + np.moveaxis(self.vectors, 0, -1)
        moved = apply_affine(np.linalg.inv(self.affine), places)
        # in units of nodes on both sides, so that the grid's own determinant falls out
        jacobian = np.stack([np.gradient(moved, axis=axis) for axis in range(3)], axis=-1)
        return np.linalg.det(jacobian)

    def determinant_at(self, points: np.ndarray) -> np.ndarray:
        """The determinant at points (..., 3), RAS mm; 1 beyond the field."""
        return self._read(self.determinant(), np.asarray(points, dtype=float), 1.0)

    def determinant_on(self, affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The determinant at the voxels of another grid; 1 beyond the field."""
        to_node = np.linalg.inv(self.affine) @ affine
        return affine_transform(self.determinant(), to_node, output_shape=shape, order=1, mode="constant", cval=1.0)

    def on(self, affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The displacement (3, I, J, K), mm along RAS, at the voxels of another grid."""
        to_node = np.linalg.inv(self.affine) @ affine
        return np.stack(
            [affine_transform(part, to_node, output_shape=shape, order=1, mode="constant") for part in self.vectors]
        )

    def _read(self, values: np.ndarray, points: np.ndarray, beyond: float) -> np.ndarray:
        """Values at the nodes (I, J, K), at points (..., 3)."""
        at = apply_affine(np.linalg.inv(self.affine), points).reshape(-1, 3).T
        read = map_coordinates(values, at, order=1, mode="constant", cval=beyond, output=float)
        return read.reshape(points.shape[:-1])
