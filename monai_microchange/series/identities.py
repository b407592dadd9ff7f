# SPDX-License-Identifier: Apache-2.0
"""One number for one lesion over all visits and pairs of a series."""

from collections.abc import Sequence
from dataclasses import replace

import cc3d
import numpy as np
import torch
from monai.data import MetaTensor

from monai_microchange.enums import ChangeType, Location
from monai_microchange.postprocessing import Lesion
from monai_microchange.result import ChangeResult

__all__ = ["merged_lesion", "number_over_visits", "with_series_ids"]


def number_over_visits(lesion_ids: Sequence[np.ndarray], changes: Sequence[np.ndarray]) -> np.ndarray:
    """Number the connected unions (26 neighbours) of lesion and of change over all visits.

    What two pairs call lesions of their own is one lesion here if it hangs together at any visit: merging and splitting
    are cases of that union, as they are between two visits. Numbers go by falling changed volume, summed over the
    pairs, then by the first voxel in array order, so they are the same for visits in reversed order.

    Args:
        lesion_ids: numbers (I, J, K) that each pair gave to its lesions, 0 outside.
        changes: change map (I, J, K) of each pair, on the same grid.

    Returns:
        Numbers from 1 without gaps (I, J, K), int32, 0 outside. No lesion gives zeros.

    Raises:
        ValueError: if there is no pair, or the maps differ in shape.

    Example:
        >>> one, other = np.zeros((1, 1, 7), int), np.zeros((1, 1, 7), int)
        >>> one[0, 0, [0, 2, 6]], other[0, 0, :3] = (1, 2, 3), 1
        >>> number_over_visits([one, other], [one > 5, other > 0]).tolist()
        [[[1, 1, 1, 0, 0, 0, 2]]]
    """
    shapes = {np.shape(array) for array in (*lesion_ids, *changes)}
    if len(shapes) != 1 or len(lesion_ids) != len(changes):
        raise ValueError(f"expected lesion numbers and change of each pair on one grid, got shapes {sorted(shapes)}")
    labels = cc3d.connected_components(np.any([ids > 0 for ids in lesion_ids], axis=0), connectivity=26)
    found, first = np.unique(labels, return_index=True)
    changed = sum(np.bincount(labels[change > 0], minlength=int(found.max()) + 1) for change in changes)
    order = np.lexsort((first, -np.asarray(changed)[found]))
    order = order[found[order] > 0]
    number = np.zeros(int(found.max()) + 1, dtype=np.int32)
    number[found[order]] = np.arange(1, len(order) + 1)
    return number[labels]


def with_series_ids(result: ChangeResult, series_ids: np.ndarray, locations: Sequence[Location]) -> ChangeResult:
    """The result of a pair with the numbers of the series, in the map and in the rows.

    Rows that are one lesion over the series become one row (`merged_lesion`). Rows keep their order: changed ones
    first, by falling changed volume.

    Args:
        result: of the pair.
        series_ids: numbers over all visits (I, J, K), nonzero wherever the pair has a lesion.
        locations: place of each lesion of the series, in the order of their numbers: one lesion has one place.
    """
    own = np.asarray(result.lesion_ids.as_tensor()[0])
    at = np.flatnonzero(own)
    of_row = np.zeros(int(own.max(initial=0)) + 1, dtype=np.int64)
    of_row[own.ravel()[at]] = series_ids.ravel()[at]
    groups: dict[int, list[Lesion]] = {}
    for row in result.lesions:
        groups.setdefault(int(of_row[row.id]), []).append(row)
    change = np.asarray(result.change.as_tensor()[0])
    rows = [
        replace(merged_lesion(rows, change, own), id=number, location=locations[number - 1])
        for number, rows in groups.items()
    ]
    rows.sort(key=lambda row: (row.change_type is None, -(row.gain_mm3 + row.loss_mm3), row.id))
    ids = torch.from_numpy(np.where(own > 0, series_ids, 0).astype(np.int32))[None]
    renumbered = replace(result, lesions=tuple(rows), lesion_ids=MetaTensor(ids, affine=result.lesion_ids.affine))
    return replace(renumbered, provenance={**result.provenance, "counts": renumbered.counts})


def merged_lesion(rows: Sequence[Lesion], change: np.ndarray, lesion_ids: np.ndarray) -> Lesion:
    """One row of several, as if they had been numbered as one lesion; the first one's number.

    Volumes add up; type and confidence are those of the largest component of change; centre, box and intensity are
    taken over all changed voxels, or over all voxels if all are stable.

    Args:
        rows: of one pair, one or more.
        change: change map (I, J, K) of the pair.
        lesion_ids: numbers (I, J, K) that the rows have there.
    """
    if len(rows) == 1:
        return rows[0]
    focus = [row for row in rows if row.change_type is not None] or list(rows)
    is_stable = focus[0].change_type is None
    main = min(focus, key=lambda row: row.confidence) if is_stable else _largest(focus, change, lesion_ids)
    size = np.array([((lesion_ids == row.id) & ((change > 0) | is_stable)).sum() for row in focus], dtype=float)
    share = size / size.sum()
    total = {
        name: sum(getattr(row, name) for row in rows)
        for name in ("baseline_volume_mm3", "followup_volume_mm3", "gain_mm3", "loss_mm3")
    }
    notes = dict.fromkeys(part for row in rows for part in row.note.split("; ") if part)
    return replace(
        main,
        id=rows[0].id,
        **total,
        centroid_ras_mm=tuple((share @ np.array([row.centroid_ras_mm for row in focus])).tolist()),
        bbox_ijk=_box([row.bbox_ijk for row in focus]),
        bbox_ras_mm=_box([row.bbox_ras_mm for row in focus]),
        intensity_change=float(share @ np.array([row.intensity_change for row in focus])),
        note="; ".join(notes),
    )


def _box(boxes: Sequence[tuple[tuple, tuple]]) -> tuple[tuple, tuple]:
    """The box about boxes."""
    low, high = zip(*boxes, strict=True)
    return tuple(np.min(low, axis=0).tolist()), tuple(np.max(high, axis=0).tolist())


def _largest(rows: Sequence[Lesion], change: np.ndarray, lesion_ids: np.ndarray) -> Lesion:
    """The row with the largest component of change; of equals the one whose component comes first in the array."""
    kept = np.where(np.isin(lesion_ids, [row.id for row in rows]), change, 0)
    is_gain = np.isin(kept, [kind for kind in ChangeType if kind.is_gain])
    best: tuple[int, int, int] = (0, 0, 0)
    for part in (is_gain, (kept > 0) & ~is_gain):
        labels = cc3d.connected_components(np.ascontiguousarray(part), connectivity=26)
        found, first, size = np.unique(labels, return_index=True, return_counts=True)
        candidates = [
            (int(n), -int(at), int(lesion_ids.flat[at])) for k, at, n in zip(found, first, size, strict=True) if k
        ]
        best = max(best, *candidates) if candidates else best
    return next(row for row in rows if row.id == best[2])
