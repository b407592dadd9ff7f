# SPDX-License-Identifier: Apache-2.0
"""Lesion at one visit from that visit's image alone: what is brighter than the white matter around it."""

from collections.abc import Sequence

import cc3d
import numpy as np
from scipy.ndimage import binary_closing, binary_erosion, uniform_filter

from monai_microchange.enums import Anatomy

__all__ = ["visit_lesions"]

_INNER = (Anatomy.WHITE_MATTER, Anatomy.DEEP_GREY, Anatomy.INFRATENTORIAL, Anatomy.VENTRICLE)
_NEVER = (Anatomy.BACKGROUND, Anatomy.OUTER_CSF, Anatomy.VENTRICLE)
_CLOSING_MM = 1.5
_EDGE_MM = 2.0
_NEIGHBOURHOOD_MM = 5.0
_MOSTLY = 0.6
_ENOUGH_MM3 = 10_000.0
_MAD_TO_SD = 1.4826


def visit_lesions(
    image: np.ndarray,
    brain: np.ndarray,
    anatomy: np.ndarray | None = None,
    *,
    spacing_mm: Sequence[float],
    seed_z: float = 4.0,
    grow_z: float = 2.5,
    min_volume_mm3: float = 3.0,
) -> np.ndarray:
    """Mark lesion at one visit on a FLAIR-like image. A rule, not a trained head: it knows brightness and place only.

    Brightness is measured against white matter, z = (value - median) / (1.4826 MAD) over the white-matter voxels (over
    the brain without an anatomical map); below the tentorium, where the map does not part white from grey matter,
    against all that lies there. A lesion is a 26-connected set of voxels with z > `grow_z` that holds at least
    one with z > `seed_z`. The seed keeps noise out; the lower bound takes in the dim rim. On three patients with
    consensus masks (Lesjak 2017, doi 10.1007/s12021-017-9348-7) three quarters of the lesion voxels had z above 2.1 to
    2.5, and seeds of 4 instead of 3 cost less than one hundredth of sensitivity. Expect to miss much of a lesion and to
    mark normal bright caps of the ventricles: this serves to tell new from enlarging, not to measure lesion load.

    Lesions are sought in white matter, deep grey matter and below the tentorium, at least 2 mm inside the brain, never
    in the ventricles or the outer CSF. A bright lesion is often labelled as cortex by mistake, so a voxel labelled
    cortex counts as inside too where the inner tissues, closed by 1.5 mm, enclose it, or where 60 % of the 5 mm cube
    around it are inner tissue (that cube has the volume of a sphere of 3 mm radius). Without a map the whole brain is
    searched, which also finds bright cortex.

    Args:
        image: one visit's harmonised image (I, J, K), lesions bright.
        brain: nonzero in the brain.
        anatomy: `Anatomy` label of each voxel.
        spacing_mm: voxel size along i, j, k.
        seed_z: brightness that a lesion must reach somewhere, in robust standard deviations of white matter.
        grow_z: brightness of all its voxels.
        min_volume_mm3: least volume of a lesion.

    Returns:
        uint8 (I, J, K), 1 in lesions. No bright voxel gives zeros.

    Raises:
        ValueError: if shapes differ, there are no reference voxels or they are all alike, or `grow_z` exceeds `seed_z`.

    Example:
        >>> image = np.random.default_rng(0).normal(size=(24, 24, 24))
        >>> image[10:13, 10:13, 10:13] += 8
        >>> int(visit_lesions(image, np.ones((24, 24, 24)), spacing_mm=(1, 1, 1)).sum())
        27
    """
    _check(image, brain, anatomy, seed_z, grow_z)
    inside = np.asarray(brain) > 0
    z = _robust_z(image, inside if anatomy is None else inside & (anatomy == Anatomy.WHITE_MATTER))
    below = inside & (anatomy == Anatomy.INFRATENTORIAL) if anatomy is not None else np.zeros_like(inside)
    if below.sum() * float(np.prod(spacing_mm)) >= _ENOUGH_MM3:
        z = np.where(below, _robust_z(image, below), z)
    where = _search_zone(inside, anatomy, spacing_mm)
    labels = cc3d.connected_components(np.ascontiguousarray(where & (z > grow_z)), connectivity=26)
    size = np.bincount(labels.ravel())
    seeded = np.bincount(labels[where & (z > seed_z)], minlength=len(size)) > 0
    keep = seeded & (size * float(np.prod(spacing_mm)) >= min_volume_mm3 - 1e-4)
    keep[0] = False
    return keep.astype(np.uint8)[labels]


def _check(image: np.ndarray, brain: np.ndarray, anatomy: np.ndarray | None, seed_z: float, grow_z: float) -> None:
    """Refuse what does not lie on one 3D grid."""
    shapes = [np.shape(array) for array in (image, brain, anatomy) if array is not None]
    if len(shapes[0]) != 3 or any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"expected 3D image, brain and anatomy of one shape, got {shapes}")
    if grow_z > seed_z:
        raise ValueError(f"expected grow_z <= seed_z, got grow_z={grow_z} and seed_z={seed_z}")


def _robust_z(image: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Image in robust standard deviations from the median of the reference voxels."""
    values = np.asarray(image, dtype=float)[reference]
    if values.size == 0:
        raise ValueError("expected white-matter voxels (brain voxels without anatomy) to measure against, found none")
    median = float(np.median(values))
    scale = _MAD_TO_SD * float(np.median(np.abs(values - median)))
    if not scale > 0:
        raise ValueError(f"expected varying intensity in the reference tissue, most of its voxels have {median}")
    return (image - median) / scale


def _ball(radius_mm: float, spacing_mm: Sequence[float]) -> np.ndarray:
    """Structuring element: the voxels whose centres lie within a radius."""
    reach = [int(radius_mm / size + 1e-6) for size in spacing_mm]
    axes = np.meshgrid(*[np.arange(-r, r + 1) * size for r, size in zip(reach, spacing_mm, strict=True)], indexing="ij")
    return sum(axis**2 for axis in axes) <= radius_mm**2 + 1e-6


def _search_zone(inside: np.ndarray, anatomy: np.ndarray | None, spacing_mm: Sequence[float]) -> np.ndarray:
    """Where a lesion may lie."""
    if anatomy is None:
        return binary_erosion(inside, _ball(_EDGE_MM, spacing_mm))
    deep = binary_erosion(inside & (anatomy != Anatomy.OUTER_CSF), _ball(_EDGE_MM, spacing_mm))
    inner = np.isin(anatomy, _INNER)
    width = [max(1, 2 * int(_NEIGHBOURHOOD_MM / (2 * size)) + 1) for size in spacing_mm]
    mostly = uniform_filter(inner.astype(np.float32), width) >= _MOSTLY
    return deep & ~np.isin(anatomy, _NEVER) & (inner | mostly | _enclosed(inner, anatomy, spacing_mm))


def _enclosed(inner: np.ndarray, anatomy: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """The inner tissues closed, and their holes: what is left over and reaches neither outer CSF nor background."""
    closed = binary_closing(inner, _ball(_CLOSING_MM, spacing_mm))
    rest = cc3d.connected_components(~closed, connectivity=6)
    is_open = np.zeros(int(rest.max(initial=0)) + 1, dtype=bool)
    is_open[rest[~closed & np.isin(anatomy, (Anatomy.BACKGROUND, Anatomy.OUTER_CSF))]] = True
    return ~is_open[rest]
