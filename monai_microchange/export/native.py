# SPDX-License-Identifier: Apache-2.0
"""Bring the change map from mid-space to the grid of a scan by the volume that each label covers of each voxel."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from monai_microchange._frames import apply_affine
from monai_microchange.enums import ChangeType
from monai_microchange.transforms.displacement import WarpField

__all__ = ["change_in_native_space"]

_CHUNK_POINTS = 2_000_000
_TIE = 1e-6


@dataclass(frozen=True, eq=False)
class _Shares:
    """What fraction of which native voxel each part (one kind of change of one lesion) covers; one entry per pair.

    Attributes:
        lesion: (n_parts,) lesion number of each part.
        kind: (n_parts,) its `ChangeType`.
        voxel: (n,) flat index of the native voxel.
        part: (n,) the part. Parts are numbered by their first voxel of mid-space, which exchanging visits does not
            alter.
        fraction: (n,) share of the native voxel's volume.
    """

    lesion: np.ndarray
    kind: np.ndarray
    voxel: np.ndarray
    part: np.ndarray
    fraction: np.ndarray


@dataclass(frozen=True, eq=False)
class _Way:
    """From voxels of mid-space to voxels of a scan.

    Attributes:
        linear: (4, 4), what there is without the warp.
        mid_affine: (4, 4), voxel of mid-space to RAS mm.
        warp: of mid-space, if there is one.
    """

    linear: np.ndarray
    mid_affine: np.ndarray
    warp: WarpField | None

    def shift(self, voxels: np.ndarray) -> np.ndarray:
        """How much farther the warp leads some places (n, 3), in voxels of the scan."""
        points = apply_affine(self.mid_affine, voxels)
        moved = points if self.warp is None else self.warp.moved(points)
        return (moved - points) @ (self.linear[:3, :3] @ np.linalg.inv(self.mid_affine[:3, :3])).T

    def growth(self, voxels: np.ndarray) -> np.ndarray:
        """How much the warp enlarges some voxels (n, 3)."""
        return (
            np.ones(len(voxels))
            if self.warp is None
            else self.warp.determinant_at(apply_affine(self.mid_affine, voxels))
        )


def change_in_native_space(
    change: np.ndarray,
    lesion_ids: np.ndarray,
    *,
    mid_affine: np.ndarray,
    native_affine: np.ndarray,
    native_shape: Sequence[int],
    mid_to_native: np.ndarray,
    warp: WarpField | None = None,
    scan: str = "native",
) -> tuple[np.ndarray, dict[int, str]]:
    """Resample the change map to a scan's grid by covered volume.

    Each changed voxel of mid-space is cut into points (at least four per axis, and three per native voxel), and their
    volume added up in the native voxels in which they fall. A native voxel at least half covered gets the label that
    covers most of it. A kind of change of a lesion that gets no voxel so, as small ones on thick slices do, gets the
    one of which it covers most. Every step is the same with gain and loss exchanged.

    Args:
        change: change map (I, J, K) in mid-space, 0 or a `ChangeType`.
        lesion_ids: lesion number of each voxel, from 1, at least where there is change.
        mid_affine: (4, 4), voxel of mid-space to RAS mm.
        native_affine: (4, 4), voxel of the scan to RAS mm.
        native_shape: shape (I, J, K) of the scan.
        mid_to_native: (4, 4), maps points of mid-space to points of the scan, RAS mm.
        warp: of mid-space before `mid_to_native`; None if the alignment is linear.
        scan: the scan's name in the reasons, such as "baseline".

    Returns:
        The labels on the scan's grid, uint8, and for each lesion that lost a kind of change there, by number, a clause
        that says why. No change gives zeros and nothing lost.

    Raises:
        ValueError: if the two maps differ in shape, or a changed voxel belongs to no lesion.

    Example:
        >>> change = np.zeros((4, 4, 4), np.uint8)
        >>> change[1, 2, 3] = ChangeType.NEW
        >>> labels, lost = change_in_native_space(change, change, mid_affine=np.eye(4), native_affine=np.eye(4),
        ...                                       native_shape=(4, 4, 4), mid_to_native=np.eye(4))
        >>> np.argwhere(labels).tolist(), lost
        ([[1, 2, 3]], {})
    """
    if np.shape(change) != np.shape(lesion_ids) or np.ndim(change) != 3:
        raise ValueError(f"expected 3D maps of one shape, got {np.shape(change)} and {np.shape(lesion_ids)}")
    if (np.asarray(lesion_ids)[np.asarray(change) > 0] == 0).any():
        raise ValueError("expected a lesion number in each changed voxel, found 0: number lesions and change together")
    way = _Way(np.linalg.inv(native_affine) @ mid_to_native @ mid_affine, mid_affine, warp)
    shares = _covered(np.asarray(change), np.asarray(lesion_ids), way, tuple(native_shape))
    labels = np.zeros(int(np.prod(native_shape)), dtype=np.uint8)
    owner = _majority(shares, labels)
    missing = _rescue(shares, labels, owner)
    return labels.reshape(tuple(native_shape)), _reasons(shares, missing, scan)


def _covered(change: np.ndarray, lesion_ids: np.ndarray, way: _Way, shape: tuple[int, ...]) -> _Shares:
    """Fractions of native voxels that each part covers."""
    voxels = np.argwhere(change > 0)
    key = lesion_ids[tuple(voxels.T)].astype(np.int64) * (max(ChangeType) + 1) + change[tuple(voxels.T)]
    found, first, part = np.unique(key, return_index=True, return_inverse=True)
    order = np.argsort(first)
    part = np.argsort(order)[part]
    found = found[order]
    pairs: list[np.ndarray] = [np.zeros(0, np.int64)]
    weights: list[np.ndarray] = [np.zeros(0)]
    for voxel, index, weight in _points(voxels, way, shape):
        pair, inverse = np.unique(voxel * max(len(found), 1) + part[index], return_inverse=True)
        pairs.append(pair)
        # a warp's points stand for more or less volume each
        weights.append(np.bincount(inverse) * weight if isinstance(weight, float) else np.bincount(inverse, weight))
    pair, inverse = np.unique(np.concatenate(pairs), return_inverse=True)
    fraction = np.bincount(inverse, np.concatenate(weights), minlength=len(pair))
    voxel, entry_part = np.divmod(pair, max(len(found), 1))
    lesion, kind = np.divmod(found, max(ChangeType) + 1)
    return _Shares(lesion, kind, voxel, entry_part, fraction)


def _points(
    voxels: np.ndarray, way: _Way, shape: tuple[int, ...]
) -> Iterator[tuple[np.ndarray, np.ndarray, float | np.ndarray]]:
    """Points within the voxels, in bounded batches: native voxel (flat), row of `voxels`, volume in native voxels."""
    to_native_ijk = way.linear
    # native voxels that one mid voxel spans along each of its axes; an even number of points leaves none on a midplane
    span = np.abs(to_native_ijk[:3, :3]).max(axis=0)
    per_axis = np.maximum(4, 2 * np.ceil(1.5 * span - 1e-6)).astype(int)
    steps = [(np.arange(count) + 0.5) / count - 0.5 for count in per_axis]
    within = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 3)
    offsets = within @ to_native_ijk[:3, :3].T
    weight = abs(float(np.linalg.det(to_native_ijk[:3, :3]))) / len(offsets)
    centres = voxels @ to_native_ijk[:3, :3].T + to_native_ijk[:3, 3]
    growth = None if way.warp is None else way.growth(voxels)
    batch = max(1, _CHUNK_POINTS // len(offsets))
    for start in range(0, len(voxels), batch):
        places = (centres[start : start + batch, None] + offsets).reshape(-1, 3)
        row = np.repeat(np.arange(start, min(start + batch, len(voxels))), len(offsets))
        if way.warp is not None:
            places += way.shift((voxels[start : start + batch, None] + within).reshape(-1, 3))
        # rounding half up, so that a voxel is a half-open box
        index = np.floor(places + (0.5 + _TIE)).astype(np.int64)
        inside = np.all((index >= 0) & (index < shape), axis=1)
        volume = weight if growth is None else weight * growth[row[inside]]
        yield np.ravel_multi_index(tuple(index[inside].T), shape), row[inside], volume


def _majority(shares: _Shares, labels: np.ndarray) -> dict[int, int]:
    """Label the voxels that are at least half covered, in place; return which part owns each labelled voxel."""
    voxel, at = np.unique(shares.voxel, return_inverse=True)
    of_kind = np.zeros((len(voxel), max(ChangeType) + 1))
    np.add.at(of_kind, (at, shares.kind[shares.part]), shares.fraction)
    kind_fraction = of_kind[at, shares.kind[shares.part]]
    # per voxel: the kind that covers most, within it the part that covers most; of equals the first part
    order = np.lexsort((shares.part, -_rounded(shares.fraction), -_rounded(kind_fraction), shares.voxel))
    best = order[np.unique(shares.voxel[order], return_index=True)[1]]
    best = best[of_kind.sum(axis=1) >= 0.5 - _TIE]
    labels[shares.voxel[best]] = shares.kind[shares.part[best]]
    return dict(zip(shares.voxel[best].tolist(), shares.part[best].tolist(), strict=True))


def _rounded(fraction: np.ndarray) -> np.ndarray:
    """Fractions without the noise of summation, so that equals compare equal."""
    return np.round(fraction, 6)


def _rescue(shares: _Shares, labels: np.ndarray, owner: dict[int, int]) -> list[int]:
    """Give each part without a voxel the one of which it covers most, in place; return the parts that get none.

    A voxel is taken from another part only if that part keeps one. If none is to be had, sharing one of the same label
    will do.
    """
    owned = np.bincount(list(owner.values()), minlength=len(shares.kind)) if owner else np.zeros(len(shares.kind), int)
    order = np.lexsort((shares.voxel, -_rounded(shares.fraction), shares.part))
    start = np.searchsorted(shares.part[order], np.arange(len(shares.kind) + 1))
    missing = []
    for part in np.flatnonzero(owned == 0).tolist():
        candidates = shares.voxel[order[start[part] : start[part + 1]]].tolist()
        free = next((v for v in candidates if v not in owner or owned[owner[v]] > 1), None)
        if free is not None:
            if free in owner:
                owned[owner[free]] -= 1
            owner[free], owned[part], labels[free] = part, 1, shares.kind[part]
        elif not any(labels[v] == shares.kind[part] for v in candidates):
            missing.append(part)
    return missing


def _reasons(shares: _Shares, missing: list[int], scan: str) -> dict[int, str]:
    """Say of each lesion which part of it got no voxel, and why."""
    reasons: dict[int, list[str]] = {}
    in_view = set(shares.part.tolist())
    for part in missing:
        kind = ChangeType(int(shares.kind[part])).name.lower()
        if part in in_view:
            text = f"its {kind} part shares every voxel of the {scan} scan with larger ones"
        else:
            text = f"its {kind} part lies outside the field of view of the {scan} scan"
        reasons.setdefault(int(shares.lesion[part]), []).append(text)
    return {lesion: "; ".join(texts) for lesion, texts in reasons.items()}
