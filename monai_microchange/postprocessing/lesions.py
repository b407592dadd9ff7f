# SPDX-License-Identifier: Apache-2.0
"""From maps of change and lesion to a list of lesions: one row, one id for each connected union over both visits."""

from typing import Any

import cc3d
import numpy as np

from monai_microchange._frames import apply_affine, spacing_from_affine
from monai_microchange.enums import ChangeType
from monai_microchange.postprocessing.location import locate_lesions
from monai_microchange.postprocessing.records import Lesion, MidMaps
from monai_microchange.postprocessing.types import ChangeMaps

__all__ = ["list_lesions"]


def list_lesions(
    changes: ChangeMaps,
    maps: MidMaps,
    *,
    min_volume_mm3: float = 3.0,
    determinants: tuple[float | np.ndarray, float | np.ndarray] = (1.0, 1.0),
) -> tuple[np.ndarray, list[Lesion]]:
    """Number the lesions and measure each.

    A lesion is one connected union (26 neighbours) of change and of lesion at both visits. So two lesions that merge,
    and one that splits, are one lesion here. Those without change are stable. Numbers go by falling changed volume
    (gain plus loss), then by the first voxel in array order, so they are the same with the visits exchanged.

    Args:
        changes: components of change, from `find_changes`.
        maps: everything else known of the voxels, on the same grid.
        min_volume_mm3: least volume, over both visits together, of a stable lesion. Changed ones are always listed.
        determinants: of the ways from mid-space to the baseline and to the follow-up scan (`MidSpace.volume_ratio`):
            numbers, or maps (I, J, K); 1 if they are rigid. A volume is that in the scan which shows it: baseline
            volume and loss are corrected by the first, follow-up volume and gain by the second.

    Returns:
        Lesion numbers (I, J, K), int32, 0 outside; and the lesions in order of number. No lesion gives zeros and no
        row.

    Raises:
        ValueError: if the change map has another shape than the maps.

    Example:
        >>> nothing, lesion = np.zeros((8, 8, 8)), np.zeros((8, 8, 8))
        >>> lesion[2:4, 2:4, 2:4] = 1
        >>> maps = MidMaps(nothing, lesion, nothing, lesion, 0.9 * lesion, nothing, np.eye(4))
        >>> changes = ChangeMaps(lesion.astype(np.uint8), lesion.astype(np.int32), nothing.astype(np.int32))
        >>> _, (row,) = list_lesions(changes, maps)
        >>> row.type_name, row.gain_mm3, row.followup_volume_mm3, row.centroid_ras_mm, round(row.confidence, 3)
        ('new', 8.0, 8.0, (2.5, 2.5, 2.5), 0.9)
    """
    if changes.change.shape != np.shape(maps.baseline):
        raise ValueError(f"expected a change map of shape {np.shape(maps.baseline)}, got {changes.change.shape}")
    if any(np.ndim(part) and np.shape(part) != np.shape(maps.baseline) for part in determinants):
        raise ValueError(
            f"expected determinants as numbers, or of shape {np.shape(maps.baseline)}, got "
            f"{[np.shape(part) for part in determinants]}"
        )
    voxel_mm3 = abs(float(np.linalg.det(maps.affine[:3, :3])))
    lesion_ids = _numbered_unions(changes, maps, min_volume_mm3 / voxel_mm3)
    # from here on only the few voxels of lesions: `at` are their flat indices, `ids` the lesion of each
    at = np.flatnonzero(lesion_ids)
    ids = lesion_ids.ravel()[at]
    n = int(ids.max(initial=0))
    # the voxels that place and intensity are taken from: the changed ones, or all if the lesion is stable
    changed = changes.change.ravel()[at] > 0
    focus = changed | (np.bincount(ids[changed], minlength=n + 1) == 0)[ids]
    scales = [voxel_mm3 * (np.ravel(part)[at] if np.ndim(part) else np.asarray(part)) for part in determinants]
    volumes = _volumes(changes, maps, at, ids, scales)
    places = _places(at[focus], ids[focus], n, maps)
    intensity = _mean(ids[focus], n, _difference(maps, at[focus]))
    types, confidence = _types_and_confidence(changes, maps, at, ids, n)
    locations = locate_lesions(lesion_ids, maps.anatomy, spacing_mm=spacing_from_affine(maps.affine).tolist())
    lesions = [
        Lesion(
            id=i,
            change_type=ChangeType(int(types[i])) if types[i] else None,
            **volumes[i - 1],
            **places[i - 1],
            location=locations[i - 1],
            confidence=float(confidence[i]),
            intensity_change=float(intensity[i]),
            note=_note(**volumes[i - 1]),
        )
        for i in range(1, n + 1)
    ]
    return lesion_ids, lesions


def _numbered_unions(changes: ChangeMaps, maps: MidMaps, min_voxels: float) -> np.ndarray:
    """Connected unions of change and lesion (I, J, K), int32, numbered in the order of the table."""
    union = (changes.change > 0) | (maps.baseline_lesion > 0) | (maps.followup_lesion > 0)
    labels = cc3d.connected_components(np.ascontiguousarray(union), connectivity=26)
    at = np.flatnonzero(labels)
    of_voxel = labels.ravel()[at]
    found, first, size = np.unique(of_voxel, return_index=True, return_counts=True)
    changed = np.bincount(of_voxel[changes.change.ravel()[at] > 0], minlength=int(labels.max(initial=0)) + 1)[found]
    # `first` is an index into voxels in array order, so it orders unions by their first voxel
    order = np.lexsort((first, -changed))
    order = order[(changed[order] > 0) | (size[order] >= min_voxels - 1e-4)]
    number = np.zeros(int(labels.max(initial=0)) + 1, dtype=np.int32)
    number[found[order]] = np.arange(1, len(order) + 1)
    return number[labels]


def _volumes(
    changes: ChangeMaps, maps: MidMaps, at: np.ndarray, ids: np.ndarray, voxel_mm3: list[np.ndarray]
) -> list[dict[str, Any]]:
    """Volumes of ids 1..n, as arguments of `Lesion`.

    What a voxel counts at baseline and at follow-up, `voxel_mm3`, is one number, or one for each of `at`.
    """
    measured = {
        "baseline_volume_mm3": (maps.baseline_lesion, voxel_mm3[0]),
        "followup_volume_mm3": (maps.followup_lesion, voxel_mm3[1]),
        "gain_mm3": (changes.gain_labels, voxel_mm3[1]),
        "loss_mm3": (changes.loss_labels, voxel_mm3[0]),
    }
    n = int(ids.max(initial=0))
    columns = {}
    for name, (mask, size) in measured.items():
        inside = np.ravel(mask)[at] > 0
        if size.ndim:
            columns[name] = np.bincount(ids[inside], size[inside], minlength=n + 1).tolist()
        else:
            columns[name] = (np.bincount(ids[inside], minlength=n + 1) * size).tolist()
    return [{name: column[i] for name, column in columns.items()} for i in range(1, n + 1)]


def _mean(ids: np.ndarray, n: int, values: np.ndarray) -> np.ndarray:
    """Mean of the values of each id, (n + 1,); 0 where an id has none."""
    return np.bincount(ids, values, minlength=n + 1) / np.maximum(np.bincount(ids, minlength=n + 1), 1)


def _difference(maps: MidMaps, at: np.ndarray) -> np.ndarray:
    """Follow-up minus baseline at flat indices."""
    return np.ravel(maps.followup)[at].astype(float) - np.ravel(maps.baseline)[at]


def _places(at: np.ndarray, ids: np.ndarray, n: int, maps: MidMaps) -> list[dict[str, Any]]:
    """Centroid and boxes of ids 1..n, as arguments of `Lesion`."""
    index = np.stack(np.unravel_index(at, np.shape(maps.baseline)), axis=-1)
    start, stop = np.full((n + 1, 3), np.iinfo(np.int64).max), np.zeros((n + 1, 3), dtype=np.int64)
    np.minimum.at(start, ids, index)
    np.maximum.at(stop, ids, index + 1)
    start, stop = start[1:], stop[1:]
    centre = apply_affine(maps.affine, np.stack([_mean(ids, n, axis)[1:] for axis in index.T], axis=-1))
    pick = np.stack(np.meshgrid(*[[False, True]] * 3, indexing="ij"), axis=-1).reshape(8, 1, 3)
    corners = apply_affine(maps.affine, np.where(pick, stop, start) - 0.5)  # (8, n, 3)
    low, high = corners.min(axis=0), corners.max(axis=0)
    return [
        {
            "centroid_ras_mm": tuple(centre[i].tolist()),
            "bbox_ijk": (tuple(start[i].tolist()), tuple(stop[i].tolist())),
            "bbox_ras_mm": (tuple(low[i].tolist()), tuple(high[i].tolist())),
        }
        for i in range(n)
    ]


def _types_and_confidence(
    changes: ChangeMaps, maps: MidMaps, at: np.ndarray, ids: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Type (0 if stable) and confidence of each id, (n + 1,), from its largest component."""
    probability = np.maximum(np.ravel(maps.gain_probability)[at], np.ravel(maps.loss_probability)[at]).astype(float)
    highest = np.zeros(n + 1)
    np.maximum.at(highest, ids, probability)
    types, confidence = np.zeros(n + 1, dtype=np.uint8), 1 - highest
    # gain and loss share no voxel, so one number can stand for a component of either
    offset = int(changes.gain_labels.max(initial=0))
    gain, loss = changes.gain_labels.ravel()[at].astype(np.int64), changes.loss_labels.ravel()[at].astype(np.int64)
    component = np.where(loss > 0, loss + offset, gain)
    changed = np.flatnonzero(component)
    found, first, size = np.unique(component[changed], return_index=True, return_counts=True)
    first = changed[first]
    certainty = _mean(component[changed], int(found.max(initial=0)), probability[changed])[found]
    if changes.gain_confidence is not None and changes.loss_confidence is not None:
        certainty = np.concatenate([[0.0], changes.gain_confidence, changes.loss_confidence])[found]
    # smallest first, and of equals the last in array order first: what each id keeps is written last
    for k in np.lexsort((-first, size)):
        types[ids[first[k]]] = changes.change.ravel()[at[first[k]]]
        confidence[ids[first[k]]] = certainty[k]
    return types, confidence


def _note(baseline_volume_mm3: float, followup_volume_mm3: float, gain_mm3: float, loss_mm3: float) -> str:
    """Say where there is change and the lesion mask of that visit holds nothing of the lesion."""
    unseen = {"follow-up": gain_mm3 and not followup_volume_mm3, "baseline": loss_mm3 and not baseline_volume_mm3}
    visits = [name for name, is_unseen in unseen.items() if is_unseen]
    return f"not in the {' nor in the '.join(visits)} lesion mask" if visits else ""
