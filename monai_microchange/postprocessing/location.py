# SPDX-License-Identifier: Apache-2.0
"""Where in the brain a lesion lies, from a coarse anatomical map and a stated rule."""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import binary_erosion
from scipy.spatial import KDTree

from monai_microchange.enums import Anatomy, Location

__all__ = ["locate_lesions"]

_TISSUE = (Anatomy.WHITE_MATTER, Anatomy.CORTEX, Anatomy.DEEP_GREY, Anatomy.VENTRICLE, Anatomy.INFRATENTORIAL)
_SLACK_MM = 1e-4


def locate_lesions(
    lesion_ids: np.ndarray,
    anatomy: np.ndarray | None,
    *,
    spacing_mm: Sequence[float],
    periventricular_mm: float = 3.0,
    juxtacortical_mm: float = 1.5,
) -> list[Location]:
    """Name the place of each lesion.

    The first line that holds decides:

    1. *infratentorial*: at least half of the lesion's voxels have INFRATENTORIAL as their nearest tissue label (any
       label but BACKGROUND and OUTER_CSF);
    2. *periventricular*: a voxel of the lesion lies within 3 mm of the ventricles;
    3. *juxtacortical*: a voxel of the lesion lies within 1.5 mm of the cortex, or in it;
    4. *deep* otherwise.

    Distances are between voxel centres. The terms are those of the McDonald criteria; the millimetres are this
    package's, and as good as the anatomical map is.

    Args:
        lesion_ids: lesion numbers (I, J, K) from 1 without gaps, 0 outside.
        anatomy: `Anatomy` label of each voxel (I, J, K), or None where there is no map.
        spacing_mm: voxel size along i, j, k.
        periventricular_mm: greatest distance from the ventricles of a periventricular lesion.
        juxtacortical_mm: greatest distance from the cortex of a juxtacortical lesion.

    Returns:
        One location per lesion, in order of number. UNKNOWN for all without a map or with one that has no tissue.

    Raises:
        ValueError: if the map does not lie on the grid of the lesions.

    Example:
        >>> anatomy = np.full((9, 3, 3), Anatomy.WHITE_MATTER)
        >>> anatomy[0] = Anatomy.VENTRICLE
        >>> ids = np.zeros((9, 3, 3), dtype=int)
        >>> ids[2, 1, 1], ids[7, 1, 1] = 1, 2
        >>> [str(where) for where in locate_lesions(ids, anatomy, spacing_mm=(1, 1, 1))]
        ['periventricular', 'deep']
    """
    n = int(lesion_ids.max(initial=0))
    if anatomy is None or not np.isin(anatomy, _TISSUE).any():
        return [Location.UNKNOWN] * n
    if anatomy.shape != lesion_ids.shape:
        raise ValueError(
            f"expected an anatomical map of shape {lesion_ids.shape}, got {anatomy.shape}: resample it to mid-space"
        )
    voxels = np.argwhere(lesion_ids > 0)
    ids = lesion_ids[tuple(voxels.T)]
    labels = _nearest_tissue(voxels, anatomy, spacing_mm)
    below = np.bincount(ids, labels == Anatomy.INFRATENTORIAL, minlength=n + 1)
    is_below = 2 * below >= np.bincount(ids, minlength=n + 1)
    by_ventricle = _comes_near(voxels, ids, n, anatomy == Anatomy.VENTRICLE, spacing_mm, periventricular_mm)
    by_cortex = _comes_near(voxels, ids, n, anatomy == Anatomy.CORTEX, spacing_mm, juxtacortical_mm)
    names = np.select(
        [is_below, by_ventricle, by_cortex],
        [Location.INFRATENTORIAL.value, Location.PERIVENTRICULAR.value, Location.JUXTACORTICAL.value],
        Location.DEEP.value,
    )
    return [Location(str(name)) for name in names[1:]]


def _surface(mask: np.ndarray) -> np.ndarray:
    """Voxels (n, 3) of a mask that have a face outside it: seen from outside, the nearest voxel is one of these."""
    return np.argwhere(mask & ~binary_erosion(mask))


def _nearest_tissue(voxels: np.ndarray, anatomy: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Tissue label of each voxel (n, 3), or of the tissue voxel nearest to it where it has none."""
    labels = anatomy[tuple(voxels.T)]
    bare = ~np.isin(labels, _TISSUE)
    if bare.any():
        tissue = _surface(np.isin(anatomy, _TISSUE))
        _, nearest = KDTree(tissue * np.asarray(spacing_mm)).query(voxels[bare] * np.asarray(spacing_mm))
        labels[bare] = anatomy[tuple(tissue[nearest].T)]
    return labels


def _comes_near(
    voxels: np.ndarray, ids: np.ndarray, n: int, target: np.ndarray, spacing_mm: Sequence[float], limit_mm: float
) -> np.ndarray:
    """Whether any voxel of each lesion lies in the target or within a distance of it, (n + 1,)."""
    near = target[tuple(voxels.T)]
    surface = _surface(target)
    if len(surface) and len(voxels):
        # only what lies farther off than the limit answers with an infinite distance: the search stops early
        tree = KDTree(surface * np.asarray(spacing_mm))
        distance, _ = tree.query(voxels * np.asarray(spacing_mm), distance_upper_bound=limit_mm + _SLACK_MM)
        near = near | np.isfinite(distance)
    return np.bincount(ids, near, minlength=n + 1) > 0
