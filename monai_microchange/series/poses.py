# SPDX-License-Identifier: Apache-2.0
"""Poses of several visits in one unbiased space, from registrations of pairs of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np
from scipy.linalg import expm, logm
from scipy.sparse.csgraph import breadth_first_order

from monai_microchange._frames import apply_affine

__all__ = ["GroupPoses", "PairPose", "average_poses", "pairs_to_compare", "pairs_to_register", "unbiased_poses"]

MAX_ITERATIONS = 200
TOLERANCE = 1e-8
"""A change of pose (matrix logarithm, radians and mm) that no longer counts."""


@dataclass(frozen=True, eq=False)
class PairPose:
    """What one registration says of two visits.

    Args:
        first: number of a visit, from 0.
        second: number of another.
        first_to_second: (4, 4), linear, points of the first to points of the second, RAS mm.
        uncertainty_mm: how far the registration may be off, above 0.
    """

    first: int
    second: int
    first_to_second: np.ndarray
    uncertainty_mm: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what is no pair or has no finite weight."""
        if self.first == self.second or min(self.first, self.second) < 0 or not self.uncertainty_mm > 0:
            raise ValueError(
                "expected numbers from 0 of two visits and an uncertainty above 0 mm; got "
                f"{self.first}, {self.second} and {self.uncertainty_mm}"
            )


@dataclass(frozen=True, eq=False)
class GroupPoses:
    """Where each visit lies in the common space.

    Attributes:
        mid_to_visits: (4, 4) for each visit, points of the common space to points of the visit, RAS mm.
        residuals_mm: for each pair that was given, how far its registration is from these poses (root mean square over
            the points).
        loop_closure_mm: how far a point comes back from where it went out, led by three registrations around three
            visits: root mean square over all such loops; None where there are none.
    """

    mid_to_visits: tuple[np.ndarray, ...]
    residuals_mm: tuple[float, ...]
    loop_closure_mm: float | None


def pairs_to_compare(n_visits: int) -> list[tuple[int, int]]:
    """Pairs whose change is of interest: consecutive ones, and the first with the last.

    >>> pairs_to_compare(2), pairs_to_compare(4)
    ([(0, 1)], [(0, 1), (1, 2), (2, 3), (0, 3)])
    """
    consecutive = [(i, i + 1) for i in range(n_visits - 1)]
    return consecutive if n_visits < 3 else [*consecutive, (0, n_visits - 1)]


def pairs_to_register(n_visits: int) -> list[tuple[int, int]]:
    """Pairs whose registrations give the poses: each visit with the two before and the two after it, in a ring.

    The last visit's next one is the first, so that all visits are treated alike, in whichever order they come. Each
    registration belongs to two or more loops of three (from four visits on), which tells a wrong one from the others;
    the number of registrations grows as twice the number of visits, not as its square.

    >>> pairs_to_register(3), len(pairs_to_register(4)), len(pairs_to_register(10))
    ([(0, 1), (0, 2), (1, 2)], 6, 20)
    """
    steps = {tuple(sorted((i, (i + step) % n_visits))) for i in range(n_visits) for step in (1, 2)}
    return sorted((pair[0], pair[1]) for pair in steps if pair[0] != pair[1])


def average_poses(pairs: Sequence[PairPose], points: Sequence[np.ndarray]) -> GroupPoses:
    """Poses of all visits that fit the registrations of pairs best, in the space half-way between all visits.

    The misfit of a pair is the matrix logarithm (to third order) of what its registration leaves after both poses. Its
    square is minimised by Gauss-Newton steps over all pairs, weighted by certainty; misfits beyond a pair's uncertainty
    count by their size, not their square, so that one wrong registration among loops of right ones is outvoted: it
    shifts the poses by less than that uncertainty. The common space is that of `unbiased_poses`. Nothing depends on the
    order of the visits or on which visit of a pair comes first.

    Args:
        pairs: registrations, which connect all visits.
        points: (N, 3) for each visit, RAS mm, over which distances are measured: nodes in its head, say.

    Raises:
        ValueError: if a visit is not connected to the others, or visits are turned by about 180 degrees.

    Example:
        >>> step = np.eye(4); step[0, 3] = 2.0
        >>> found = average_poses([PairPose(0, 1, step)], [np.zeros((1, 3))] * 2)
        >>> [pose[0, 3].round(6).item() for pose in found.mid_to_visits]
        [-1.0, 1.0]

    Source: Govindu, 2004, Lie-algebraic averaging for globally consistent motion estimation, doi
    10.1109/CVPR.2004.1315098; Reuter et al., 2012, doi 10.1016/j.neuroimage.2012.02.084 (one unbiased space for all
    visits).
    """
    n = len(points)
    poses = _chained(pairs, n)
    for _ in range(MAX_ITERATIONS):
        left = np.stack([np.linalg.inv(poses[p.second]) @ p.first_to_second @ poses[p.first] for p in pairs])
        # the odd part is the logarithm to third order, and changes its sign with the direction of the pair
        misfit = (left - np.linalg.inv(left)) / 2
        steps = _balanced(pairs, misfit, _weights(pairs, poses, points))
        poses = list(np.stack(poses) @ expm(steps))
        if np.abs(steps).max() < TOLERANCE:
            break
    poses = unbiased_poses(poses)
    return GroupPoses(tuple(poses), tuple(_residual_mm(p, poses, points) for p in pairs), _closure_mm(pairs, points))


def unbiased_poses(poses: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The same poses seen from the space half-way between all: the logarithms of its maps to the visits sum to zero.

    For two visits each map is half of the transform between them, as in `mid_space`.

    Args:
        poses: (4, 4) each, points of any one space to points of a visit.

    Raises:
        ValueError: if poses are so far apart that no mean is found.

    Source: Pennec and Arsigny, 2013, Exponential barycenters of the canonical Cartan connection and invariant means on
    Lie groups, doi 10.1007/978-3-642-30232-9_7.
    """
    poses = [np.asarray(pose, dtype=float) @ np.linalg.inv(poses[0]) for pose in poses]
    for _ in range(MAX_ITERATIONS):
        mean = np.mean([_log(pose) for pose in poses], axis=0)
        if np.abs(mean).max() < TOLERANCE * 1e-3:
            return poses
        poses = [pose @ expm(-mean) for pose in poses]
    raise ValueError("the visits are turned so far from each other that there is no space half-way between them")


def _log(matrix: np.ndarray) -> np.ndarray:
    """Principal logarithm (4, 4) of a linear transform."""
    eigenvalues = np.linalg.eigvals(matrix[:3, :3])
    if (np.isclose(eigenvalues.imag, 0, atol=1e-6) & (eigenvalues.real <= 0)).any():
        raise ValueError(
            "expected visits that are neither mirrored nor turned by 180 degrees; got the matrix "
            f"{matrix.round(4).tolist()}"
        )
    return np.real(logm(matrix))


def _chained(pairs: Sequence[PairPose], n: int) -> list[np.ndarray]:
    """First guess: poses from the first visit on, along as few registrations as possible."""
    steps = {(p.first, p.second): np.asarray(p.first_to_second, dtype=float) for p in pairs}
    steps |= {(b, a): np.linalg.inv(step) for (a, b), step in steps.items()}
    graph = np.zeros((n, n))
    for pair in steps:
        graph[pair] = 1
    order, before = breadth_first_order(graph, 0)
    if len(order) < n:
        lost = ", ".join(str(i + 1) for i in sorted(set(range(n)) - set(order.tolist())))
        raise ValueError(f"expected registrations that connect all {n} visits, got none between visit 1 and {lost}")
    poses = {0: np.eye(4)}
    for i in order[1:].tolist():
        poses[i] = steps[int(before[i]), i] @ poses[int(before[i])]
    return [poses[i] for i in range(n)]


def _weights(pairs: Sequence[PairPose], poses: Sequence[np.ndarray], points: Sequence[np.ndarray]) -> np.ndarray:
    """Huber's weights: 1 / uncertainty^2, and less the farther a misfit is beyond the uncertainty."""
    uncertainty = np.array([p.uncertainty_mm for p in pairs])
    residual = np.array([_residual_mm(p, poses, points) for p in pairs])
    return 1 / (uncertainty * np.maximum(uncertainty, residual))


def _balanced(pairs: Sequence[PairPose], misfit: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Least-squares changes of the poses (n, 4, 4), with mean zero, that take misfits (P, 4, 4) away."""
    n = 1 + max(max(p.first, p.second) for p in pairs)
    incidence = np.zeros((len(pairs), n))
    for row, p in zip(incidence, pairs, strict=True):
        row[p.first], row[p.second] = 1, -1
    weighted = incidence.T * weights
    return -np.tensordot(np.linalg.pinv(weighted @ incidence) @ weighted, misfit, axes=1)


def _residual_mm(pair: PairPose, poses: Sequence[np.ndarray], points: Sequence[np.ndarray]) -> float:
    """How far a registration is from the poses, over the points of both visits."""
    a_to_b = poses[pair.second] @ np.linalg.inv(poses[pair.first])
    forth = _apart_mm2(pair.first_to_second, a_to_b, points[pair.first])
    back = _apart_mm2(np.linalg.inv(pair.first_to_second), np.linalg.inv(a_to_b), points[pair.second])
    return float(np.sqrt((forth + back) / 2))


def _apart_mm2(one: np.ndarray, other: np.ndarray, points: np.ndarray) -> float:
    return float(np.square(apply_affine(one - other, points)).sum(axis=-1).mean())


def _closure_mm(pairs: Sequence[PairPose], points: Sequence[np.ndarray]) -> float | None:
    """Root mean square of what is left after a way around three visits, over all such ways, starts and directions."""
    steps = {(p.first, p.second): p.first_to_second for p in pairs}
    steps |= {(b, a): np.linalg.inv(step) for (a, b), step in steps.items()}
    left = [
        _apart_mm2(steps[c, a] @ steps[b, c] @ steps[a, b], np.eye(4), points[a])
        for loop in combinations(range(len(points)), 3)
        if all(pair in steps for pair in combinations(loop, 2))
        for a, b, c in permutations(loop)
    ]
    return float(np.sqrt(np.mean(left))) if left else None
