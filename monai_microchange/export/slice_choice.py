# SPDX-License-Identifier: Apache-2.0
"""Which slices to show of a change map that is too deep to show whole."""

import numpy as np

from monai_microchange.metrics.lesion_matching import label_components

__all__ = ["choose_slices"]


def choose_slices(
    change: np.ndarray, n_slices: int, *, spacing_mm: tuple[float, float, float], region: np.ndarray | None = None
) -> list[int]:
    """Positions along the last axis that together show most of the change, rising.

    Slice by slice the one is taken that adds most: a lesion counts with the square root of its volume, so that many
    small ones outweigh a large one, and by how much of its largest cross-section is seen. Slices keep a distance of a
    quarter of an even spread. What change does not fill is filled up far from the slices chosen already.

    Args:
        change: labels or mask (I, J, K); every non-zero voxel counts.
        n_slices: how many, at least 1; fewer come back where the grid has fewer.
        spacing_mm: voxel size along I, J, K in mm.
        region: mask (I, J, K) in which slices without change are chosen; everywhere without it.

    Raises:
        ValueError: `n_slices` is below 1.

    Example:
        >>> change = np.zeros((9, 9, 30))
        >>> change[2:5, 2:5, 3:6] = change[2:5, 2:5, 20] = 1
        >>> choose_slices(change, 2, spacing_mm=(1, 1, 1))
        [3, 20]
    """
    if n_slices < 1:
        raise ValueError(f"n_slices must be at least 1, got {n_slices}.")
    depth = change.shape[2]
    labels, n_lesions = label_components(change > 0, spacing_mm=spacing_mm, min_volume_mm3=0)
    area = np.stack([np.bincount(labels[:, :, k].ravel(), minlength=n_lesions + 1)[1:] for k in range(depth)])
    weight = np.sqrt(area.sum(axis=0))
    seen = area / np.maximum(area.max(axis=0, initial=1), 1)
    usable = np.flatnonzero(region.any(axis=(0, 1))) if region is not None and region.any() else np.arange(depth)
    gap = len(usable) // (4 * n_slices)
    chosen: list[int] = []
    shown = np.zeros(n_lesions)
    for _ in range(min(n_slices, depth)):
        gain = np.maximum(seen - shown, 0) @ weight
        for k in chosen:
            gain[max(k - gap, 0) : k + gap + 1] = 0
        best = int(gain.argmax()) if gain.max(initial=0) > 0 else _farthest(usable, chosen)
        chosen.append(best)
        shown = np.maximum(shown, seen[best])
    return sorted(set(chosen))


def _farthest(usable: np.ndarray, chosen: list[int]) -> int:
    """The usable slice farthest from those chosen and, half as strictly, from the ends."""
    ends = [2 * np.minimum(usable - usable[0] + 1, usable[-1] - usable + 1)]
    return int(usable[np.min([*ends, *(np.abs(usable - k) for k in chosen)], axis=0).argmax()])
