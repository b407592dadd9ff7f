# SPDX-License-Identifier: Apache-2.0
"""How much of each visit's brain the common grid of a series holds, and which visit makes it small."""

from collections.abc import Sequence

import numpy as np

from monai_microchange._frames import apply_affine

__all__ = ["extent_doubts", "shares_within"]

LEAST_SHARE = 0.8
"""A visit of whose brain less lies inside the common grid is reported."""

Grid = tuple[np.ndarray, tuple[int, ...]]
"""Affine (4, 4), voxel to RAS mm, and spatial shape."""


def shares_within(points: Sequence[np.ndarray], grid: Grid) -> tuple[float, ...]:
    """Share of each visit's points that lie inside a grid.

    Args:
        points: (N, 3) of each visit, at least one, in the grid's space, RAS mm.
        grid: where they should lie.

    Example:
        >>> shares_within([np.array([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0]])], (np.eye(4), (4, 4, 4)))
        (0.5,)
    """
    affine, shape = grid
    indices = [apply_affine(np.linalg.inv(affine), of_visit) for of_visit in points]
    return tuple(float(np.all((at > -0.5) & (at < np.asarray(shape) - 0.5), axis=1).mean()) for at in indices)


def extent_doubts(points: Sequence[np.ndarray], shares: Sequence[float], fields: Sequence[Grid]) -> tuple[str, ...]:
    """A sentence on the visits of which the common grid holds too little; none if it holds enough of all.

    The visit with the smallest field of view is the one that shows least of the brains of the others.

    Args:
        points: (N, 3) of each visit's brain, in the common space, RAS mm.
        shares: of each visit's brain inside the common grid.
        fields: each scan's own grid, voxel to RAS mm of the common space.
    """
    cut = [f"{share:.0%} of visit {number}" for number, share in enumerate(shares, start=1) if share < LEAST_SHARE]
    if not cut:
        return ()
    smallest = int(np.argmin([min(shares_within(points, field)) for field in fields])) + 1
    return (
        f"only a part of the brain lies in the field of view of all visits, and only there changes are looked for: "
        f"{', '.join(cut)}. Visit {smallest} has the smallest field of view: without it more can be compared.",
    )
