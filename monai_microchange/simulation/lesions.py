# SPDX-License-Identifier: Apache-2.0
"""Lesions to plant in a head: irregular blobs in white matter that appear, vanish, grow, shrink or stay."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from monai_microchange._frames import apply_affine
from monai_microchange.enums import Anatomy, ChangeType, Location

__all__ = ["PlantedLesion", "draw_lesions"]

_GAP_MM = 4
_BOX = 16  # half width, voxels, of the cube in which one lesion is drawn: holds 600 mm3 with room to grow
_TRIES = 400
_CONNECTED = np.ones((3, 3, 3), bool)


@dataclass(frozen=True)
class PlantedLesion:
    """One lesion of a phantom at both visits. The grid is the 1 mm anatomical one, so a voxel is 1 mm3.

    Args:
        id: Number from 1.
        type: The kind of change, or None for a stable lesion.
        location: Where in the white matter it was put.
        contrast: Signal relative to white matter.
        baseline_voxels: Indices (n, 3) of the lesion at baseline; (0, 3) where it is absent.
        followup_voxels: The same at follow-up. Of the two, one contains the other.
        centroid_ras_mm: Centre of the union of both visits, anatomical RAS mm.
    """

    id: int
    type: ChangeType | None
    location: Location
    contrast: float
    baseline_voxels: NDArray[np.intp]
    followup_voxels: NDArray[np.intp]
    centroid_ras_mm: tuple[float, float, float]

    @property
    def baseline_mm3(self) -> int:
        """Volume at baseline."""
        return len(self.baseline_voxels)

    @property
    def followup_mm3(self) -> int:
        """Volume at follow-up."""
        return len(self.followup_voxels)

    @property
    def change_mm3(self) -> int:
        """Volume of changed voxels: lesion at one visit and not at the other."""
        return abs(self.followup_mm3 - self.baseline_mm3)


def draw_lesions(
    rng: np.random.Generator, labels: NDArray[np.uint8], affine: NDArray, *, n_per_type: int, n_stable: int
) -> list[PlantedLesion]:
    """Draw lesions of every kind of change and stable ones, more than 4 mm apart.

    New and resolved lesions have 15 to 600 mm3; growing ones start from 40 to 300 mm3 and gain 65 to 160 % (and more
    than 30 mm3); shrinking ones are such lesions with the visits exchanged. Of several of one kind, the volumes are
    spread evenly over the range on a logarithmic scale.

    Args:
        rng: Source of all random draws.
        labels: `Anatomy` values (I, J, K) on a 1 mm grid along RAS.
        affine: (4, 4), voxel to RAS mm.
        n_per_type: Lesions of each `ChangeType`. 0 gives none.
        n_stable: Lesions equal at both visits.

    Returns:
        The lesions, the changing ones first, in the order of `ChangeType`.

    Raises:
        ValueError: So many were asked for that no place is left.
    """
    places = _places(labels, affine)
    free = labels == Anatomy.WHITE_MATTER
    wanted: list[tuple[ChangeType | None, int, int]] = [
        (kind, i, n_per_type) for kind in ChangeType for i in range(n_per_type)
    ]
    wanted += [(None, i, n_stable) for i in range(n_stable)]
    lesions = []
    for number, (kind, i, count) in enumerate(wanted, start=1):
        small_mm3, large_mm3 = _volumes(rng, kind, (i + rng.random()) / count)
        location, small, large = _place_blobs(rng, places, free, small_mm3, large_mm3)
        baseline, followup = _at_visits(kind, small, large)
        x, y, z = apply_affine(affine, large.mean(axis=0)).tolist()
        contrast = float(rng.uniform(1.4, 1.8))
        lesions.append(PlantedLesion(number, kind, location, contrast, baseline, followup, (x, y, z)))
        # The whole box around it is taken: simpler than a ball, and never nearer than the gap.
        box = zip(large.min(axis=0) - _GAP_MM, large.max(axis=0) + _GAP_MM + 1, strict=True)
        free[tuple(slice(max(low, 0), high) for low, high in box)] = False
    return lesions


def _places(labels: NDArray[np.uint8], affine: NDArray) -> dict[Location, NDArray[np.intp]]:
    """Voxels (n, 3) that may be the middle of a lesion, by location; judged at every second voxel."""
    coarse = labels[::2, ::2, ::2]
    to_ventricle, to_cortex, to_deep_grey = (
        2 * ndimage.distance_transform_edt(coarse != kind)
        for kind in (Anatomy.VENTRICLE, Anatomy.CORTEX, Anatomy.DEEP_GREY)
    )
    x, y, z = (2 * g + o for g, o in zip(np.ogrid[tuple(map(slice, coarse.shape))], affine[:3, 3], strict=True))
    # Neither the midline nor the capsules between the nuclei, whose borders the maps hardly show.
    unusual = (np.abs(x) < 6) | ((np.abs(x) < 36) & (np.abs(y + 5) < 40) & (z < 10))
    white = (coarse == Anatomy.WHITE_MATTER) & (to_deep_grey > 4) & ~unusual
    masks = {
        Location.PERIVENTRICULAR: white & (to_ventricle <= 5) & (to_cortex > 6),
        Location.DEEP: white & (to_ventricle > 9) & (to_cortex > 5),
        Location.JUXTACORTICAL: white & (to_cortex <= 3) & (to_ventricle > 12),
    }
    return {location: 2 * np.argwhere(mask) for location, mask in masks.items()}


def _volumes(rng: np.random.Generator, kind: ChangeType | None, share: float) -> tuple[int, int]:
    """Smaller and larger volume in mm3; `share`, 0 to 1, says where in its range the lesion lies."""
    if kind in (ChangeType.ENLARGING, ChangeType.SHRINKING):
        small = round(40 * (300 / 40) ** share)
        return small, small + max(round(small * rng.uniform(0.65, 1.6 if small < 200 else 1.0)), 32)
    large = round(15 * (600 / 15) ** share)
    return large, large


def _place_blobs(
    rng: np.random.Generator,
    places: dict[Location, NDArray[np.intp]],
    free: NDArray[np.bool_],
    small_mm3: int,
    large_mm3: int,
) -> tuple[Location, NDArray[np.intp], NDArray[np.intp]]:
    """Location and voxels (n, 3) of the smaller and the larger state of a lesion, in a free place."""
    for _ in range(_TRIES):
        location = list(places)[rng.choice(3, p=(0.45, 0.35, 0.2))]
        centre = places[location][rng.integers(len(places[location]))]
        if location is Location.JUXTACORTICAL and large_mm3 > 250:
            continue
        pair = _nested_blobs(rng, free[tuple(slice(c - _BOX, c + _BOX + 1) for c in centre)], small_mm3, large_mm3)
        if pair is not None:
            return location, np.argwhere(pair[0]) + centre - _BOX, np.argwhere(pair[1]) + centre - _BOX
    raise ValueError(f"no free place for a lesion of {large_mm3} mm3: ask for fewer lesions")


def _at_visits(
    kind: ChangeType | None, small: NDArray[np.intp], large: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Voxels at baseline and at follow-up."""
    absent = large[:0]
    pairs: dict[ChangeType | None, tuple[NDArray[np.intp], NDArray[np.intp]]] = {
        None: (large, large),
        ChangeType.NEW: (absent, large),
        ChangeType.RESOLVED: (large, absent),
        ChangeType.ENLARGING: (small, large),
        ChangeType.SHRINKING: (large, small),
    }
    return pairs[kind]


def _nested_blobs(
    rng: np.random.Generator, free: NDArray[np.bool_], small_mm3: int, large_mm3: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    """Two nested connected blobs about the middle of a cube, or None where free white matter does not hold them."""
    if free.shape != (2 * _BOX + 1,) * 3 or free.sum() < 2 * large_mm3:
        return None
    offset = np.stack(np.meshgrid(*[np.arange(-_BOX, _BOX + 1.0)] * 3, indexing="ij"), axis=-1)
    axes = np.linalg.qr(rng.standard_normal((3, 3)))[0] / rng.uniform(0.65, 1.25, 3)
    radius = np.linalg.norm(offset @ axes, axis=-1)
    noise = ndimage.gaussian_filter(rng.standard_normal(free.shape), 2.0)
    typical_radius = (3 * small_mm3 / (4 * np.pi)) ** (1 / 3)
    small = _highest(noise / noise.std() * 0.3 * typical_radius - radius, free, small_mm3)
    large = small
    if large_mm3 > small_mm3:
        # Growth leans to one side, as real lesions do: a shell of even thickness would be thinner than a voxel.
        lean = offset @ axes[:, 0] / np.linalg.norm(axes[:, 0])
        outwards = 0.55 * lean - ndimage.distance_transform_edt(~small)
        large = small | _highest(outwards, free & ~small, large_mm3 - small_mm3)
    grown = large & ~small
    whole = all(ndimage.label(blob, _CONNECTED)[1] == 1 for blob in (small, large))
    faces = [large.take((0, -1), axis=axis).any() for axis in range(3)]
    if not whole or any(faces) or (grown.any() and ndimage.label(grown, _CONNECTED)[1] > 1):
        return None
    return small, large


def _highest(score: NDArray, allowed: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    """The `count` allowed voxels of highest score."""
    order = np.argsort(np.where(allowed, score, -np.inf), axis=None)[-count:]
    chosen = np.zeros(score.shape, bool)
    chosen.flat[order] = True
    return chosen
