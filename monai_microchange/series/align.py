# SPDX-License-Identifier: Apache-2.0
"""Register the visits of a series and put all of them on one grid, half-way between all."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from monai.data import MetaTensor

from monai_microchange._frames import apply_affine
from monai_microchange.data import InputError
from monai_microchange.series.extent import extent_doubts, shares_within
from monai_microchange.series.poses import GroupPoses, PairPose, average_poses, pairs_to_compare, pairs_to_register
from monai_microchange.transforms import AlignMidSpaced, LinearRegistration, MidSpace, foreground
from monai_microchange.transforms.midspace import common_grid
from monai_microchange.transforms.registration import judge_pair, register_pair

__all__ = ["SeriesAlignment", "align_visits"]

LEAST_UNCERTAINTY_MM = 0.1
"""No registration is taken to be better than this."""
N_POINTS = 500
"""Points of each head over which distances between transforms are measured, at most."""
OUTLIER_MM = 2.0
"""A registration that lies farther than this from the common poses is reported."""


@dataclass(frozen=True, eq=False)
class SeriesAlignment:
    """All visits of a series in their common space. Visits are numbered from 0 here.

    Attributes:
        affine: (4, 4), voxel to RAS mm of the common space; axes along LPS.
        shape: voxels along each axis (3,).
        mid_to_visits: (4, 4) for each visit, points of the common space to points of the visit, RAS mm.
        registrations: of the pairs to compare: the transform of the common poses, and how good it seems.
        edges: for each registered pair its `residual_mm` from the common poses, its `uncertainty_mm`, and whether it
            was `used`.
        loop_closure_mm: as in `GroupPoses`.
        warnings: doubts, in sentences.
        brain_shares: of each visit's brain (without one: of what is not air) inside the common grid.
    """

    affine: np.ndarray
    shape: tuple[int, int, int]
    mid_to_visits: tuple[np.ndarray, ...]
    registrations: dict[tuple[int, int], LinearRegistration]
    edges: dict[tuple[int, int], dict[str, Any]]
    loop_closure_mm: float | None
    warnings: tuple[str, ...]
    brain_shares: tuple[float, ...]

    def mid_space(self, first: int, second: int) -> MidSpace:
        """The common space as the mid-space of two of the visits."""
        return MidSpace(self.affine, self.shape, self.mid_to_visits[first], self.mid_to_visits[second])


def align_visits(
    scans: Sequence[MetaTensor],
    brains: Sequence[MetaTensor | None],
    aligner: AlignMidSpaced,
    *,
    tell: Callable[[float], None] = lambda share: None,
) -> SeriesAlignment:
    """Register the visits pairwise, average the transforms, and lay one grid over what all visits show.

    Registrations that the aligner would refuse for a pair are left out, as long as the others still connect all visits.

    Args:
        scans: (1, I, J, K) each, with its affine to RAS mm.
        brains: region (1, i, j, k) that the alignment is judged in, for each scan; None: the head.
        aligner: the transform that would align one pair; its options are used.
        tell: called with the share done.

    Raises:
        InputError: if a visit cannot be aligned with the others, or the fields of view have no part in common.
    """
    options = {name: getattr(aligner, name) for name in ("degrees_of_freedom", "engine", "device", "seed")}
    pairs = pairs_to_register(len(scans))
    found: dict[tuple[int, int], LinearRegistration] = {}
    doubts: dict[tuple[int, int], str | None] = {}
    for done, (a, b) in enumerate(pairs):
        tell(done / len(pairs))
        try:
            found[a, b] = register_pair(scans[a], scans[b], baseline_mask=brains[a], followup_mask=brains[b], **options)
        except ValueError as error:
            # other pairs may lead around this one; what nothing leads to is refused below
            doubts[a, b] = str(error)
    is_head = all(brain is not None for brain in brains)
    doubts |= {pair: aligner.doubt(registration, is_head=is_head) for pair, registration in found.items()}
    trusted = {pair: registration for pair, registration in found.items() if doubts[pair] is None}
    _refuse_alone(len(scans), trusted, doubts)
    poses = _poses(trusted, scans, brains)
    edges: dict[tuple[int, int], dict[str, Any]] = {pair: {"used": False} for pair in pairs}
    for (pair, registration), residual in zip(trusted.items(), poses.residuals_mm, strict=True):
        edges[pair] = {"used": True, "residual_mm": residual, "uncertainty_mm": _uncertainty_mm(registration)}
    try:
        grids = [(scan.affine.numpy(), tuple(scan.shape[1:])) for scan in scans]
        affine, shape = common_grid(poses.mid_to_visits, grids, spacing_mm=aligner.spacing_mm)
        registrations = {
            pair: _as_in_group(pair, trusted, poses, scans, brains, options) for pair in pairs_to_compare(len(scans))
        }
    except ValueError as error:
        raise InputError(f"the visits cannot be aligned: {error}") from error
    shares, narrow = _extent(scans, brains, poses, (affine, shape))
    return SeriesAlignment(
        affine=affine,
        shape=shape,
        mid_to_visits=poses.mid_to_visits,
        registrations=registrations,
        edges=edges,
        loop_closure_mm=poses.loop_closure_mm,
        warnings=(*_doubts(edges), *narrow),
        brain_shares=shares,
    )


def _refuse_alone(
    n_visits: int,
    trusted: Mapping[tuple[int, int], LinearRegistration],
    doubts: Mapping[tuple[int, int], str | None],
) -> None:
    """Refuse a visit that no registration connects with others, with the reason."""
    for number in range(n_visits):
        if not any(number in pair for pair in trusted):
            doubt = next(doubt for pair, doubt in doubts.items() if number in pair)
            raise InputError(f"visit {number + 1} cannot be aligned with any other: {doubt}")


def _uncertainty_mm(registration: LinearRegistration) -> float:
    return max(registration.disagreement_mm, registration.inverse_consistency_mm, LEAST_UNCERTAINTY_MM)


def _poses(
    trusted: Mapping[tuple[int, int], LinearRegistration],
    scans: Sequence[MetaTensor],
    brains: Sequence[MetaTensor | None],
) -> GroupPoses:
    pairs = [PairPose(*pair, found.baseline_to_followup, _uncertainty_mm(found)) for pair, found in trusted.items()]
    try:
        return average_poses(pairs, [_points(*both) for both in zip(scans, brains, strict=True)])
    except ValueError as error:
        raise InputError(f"the visits cannot be aligned: {error}") from error


def _points(scan: MetaTensor, brain: MetaTensor | None) -> np.ndarray:
    """Points (N, 3) of the brain, or of the whole field of view, RAS mm."""
    if brain is None:
        ends = np.asarray(scan.shape[1:]) - 1
        return apply_affine(scan.affine.numpy(), np.indices((5, 5, 5)).reshape(3, -1).T / 4 * ends)
    inside = np.argwhere(brain.numpy()[0] > 0)
    return apply_affine(brain.affine.numpy(), inside[:: max(1, len(inside) // N_POINTS)])


def _extent(
    scans: Sequence[MetaTensor],
    brains: Sequence[MetaTensor | None],
    poses: GroupPoses,
    grid: tuple[np.ndarray, tuple[int, ...]],
) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Share of each visit's brain inside the common grid, and what is to be said of it."""
    to_common = [np.linalg.inv(mid_to_visit) for mid_to_visit in poses.mid_to_visits]
    regions = [
        MetaTensor(foreground([scan]), affine=scan.affine) if brain is None else brain
        for scan, brain in zip(scans, brains, strict=True)
    ]
    points = [
        apply_affine(matrix, _points(scan, region))
        for matrix, scan, region in zip(to_common, scans, regions, strict=True)
    ]
    fields = [
        (matrix @ scan.affine.numpy(), tuple(scan.shape[1:])) for matrix, scan in zip(to_common, scans, strict=True)
    ]
    shares = shares_within(points, grid)
    return shares, extent_doubts(points, shares, fields)


def _as_in_group(
    pair: tuple[int, int],
    trusted: Mapping[tuple[int, int], LinearRegistration],
    poses: GroupPoses,
    scans: Sequence[MetaTensor],
    brains: Sequence[MetaTensor | None],
    options: dict[str, Any],
) -> LinearRegistration:
    """The transform of the common poses between two visits, with its quality."""
    a, b = pair
    transform = poses.mid_to_visits[b] @ np.linalg.inv(poses.mid_to_visits[a])
    if pair in trusted:
        residual = poses.residuals_mm[list(trusted).index(pair)]
        if residual <= _uncertainty_mm(trusted[pair]):
            # too near for another judgement, which takes as long as the registration
            return replace(trusted[pair], baseline_to_followup=transform)
    masks = {"baseline_mask": brains[a], "followup_mask": brains[b]}
    return judge_pair(scans[a], scans[b], transform, **masks, device=options["device"], seed=options["seed"])


def _doubts(edges: Mapping[tuple[int, int], Mapping[str, Any]]) -> tuple[str, ...]:
    doubts = []
    for (a, b), edge in edges.items():
        if not edge["used"]:
            doubts.append(
                f"the registration of visits {a + 1} and {b + 1} failed or is not certain: they are aligned by way of "
                "other visits."
            )
        elif edge["residual_mm"] > OUTLIER_MM:
            doubts.append(
                f"the registration of visits {a + 1} and {b + 1} is {edge['residual_mm']:.1f} mm from what the others "
                "say: look at the alignment."
            )
    return tuple(doubts)
