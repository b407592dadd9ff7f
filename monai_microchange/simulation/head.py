# SPDX-License-Identifier: Apache-2.0
"""A FLAIR-like head without lesions, painted on the MNI152 tissue maps and deformed anew for each seed."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from monai_microchange.enums import Anatomy

__all__ = ["Head", "build_head"]

# What is added to the maps at the two ends of each axis: room for the scalp of a wide head, and a neck below. The
# size must come out odd, so that every second voxel includes both ends.
_PADDING = ((4, 4), (8, 8), (14, 0))

# FLAIR signal relative to white matter.
_CORTEX, _CSF, _SKULL, _MARROW, _FAT, _SKIN, _MUSCLE = 1.22, 0.14, 0.05, 0.38, 0.95, 0.55, 0.42


@dataclass(frozen=True)
class Head:
    """One person's anatomy on a 1 mm grid whose axes run along RAS.

    Args:
        flair: Signal (I, J, K), float32, white matter about 1, air 0.
        labels: `Anatomy` values (I, J, K), uint8; `BACKGROUND` also holds skull, scalp and face.
        affine: (4, 4), voxel to anatomical RAS mm.
    """

    flair: NDArray[np.float32]
    labels: NDArray[np.uint8]
    affine: NDArray[np.float64]


def build_head(rng: np.random.Generator, *, deformation_mm: float = 2.5) -> Head:
    """Draw one head: the MNI152 average, scaled, sheared and bent a little, with its own fine texture.

    Args:
        rng: Source of all random draws.
        deformation_mm: Standard deviation of the smooth displacement, mm along each axis. 0 leaves the affine part.

    Returns:
        The head, (205, 249, 203) voxels of 1 mm.

    Raises:
        ImportError: nilearn, which carries the tissue maps, is not installed.

    Example:
        >>> head = build_head(np.random.default_rng(0))  # doctest: +SKIP
        >>> head.flair.shape  # doctest: +SKIP
        (205, 249, 203)
    """
    flair, labels, affine = _template()
    coordinates = _deformation(rng, flair.shape, deformation_mm)
    warped = ndimage.map_coordinates(flair, coordinates, order=1, mode="nearest")
    warped_labels = ndimage.map_coordinates(labels, coordinates, order=0, mode="nearest")
    fine = ndimage.gaussian_filter(rng.standard_normal(flair.shape, dtype=np.float32), 1.2)
    warped *= 1 + (0.02 / fine.std()) * fine + _smooth_field(rng, flair.shape, 0.025)
    return Head(np.maximum(warped, 0), warped_labels, affine)


def _deformation(rng: np.random.Generator, shape: tuple[int, ...], deformation_mm: float) -> NDArray[np.float32]:
    """Template voxel (3, I, J, K) that each voxel of the new head is taken from."""
    linear = np.eye(3) + np.diag(rng.uniform(-0.05, 0.05, 3)) + rng.uniform(-0.02, 0.02, (3, 3))
    centre = (np.asarray(shape) - 1) / 2
    index = [(g - c).astype(np.float32) for g, c in zip(np.ogrid[tuple(map(slice, shape))], centre, strict=True)]
    coordinates = np.empty((3, *shape), np.float32)
    for axis in range(3):
        coordinates[axis] = _smooth_field(rng, shape, deformation_mm) + np.float32(centre[axis])
        for along in range(3):
            coordinates[axis] += np.float32(linear[axis, along]) * index[along]
    return coordinates


def _smooth_field(rng: np.random.Generator, shape: tuple[int, ...], std: float) -> NDArray[np.float32]:
    """Random field (I, J, K) of the given standard deviation that varies over about 20 voxels."""
    smooth = ndimage.gaussian_filter(rng.standard_normal((25, 29, 25)), 2.5)
    smooth = (std / smooth.std() * smooth).astype(np.float32)
    return _stretch(smooth, shape)


def _stretch(field: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Linear interpolation of a field (I, J, K) onto more voxels, corner on corner. As matrices: faster than zoom."""
    for n in shape:
        old = len(field)
        weights = np.maximum(1 - np.abs(np.subtract.outer(np.linspace(0, old - 1, n), np.arange(old))), 0)
        # Each step consumes the first axis and puts the new one last: after three the order is the old one.
        field = np.tensordot(field, weights.astype(np.float32), axes=(0, 1))
    return np.ascontiguousarray(field)


@lru_cache(maxsize=1)
def _template() -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.float64]]:
    """The undeformed head: signal, labels and affine."""
    t1, grey, white, brain, affine = _tissue_maps()
    labels = _label_map(grey, white, brain, affine)
    flair = _paint_brain(t1, grey, white, brain)
    edge = ndimage.gaussian_filter(brain.astype(np.float32), 0.8)
    flair = edge * flair + (1 - edge) * _paint_outside(brain, affine)
    return flair.astype(np.float32), labels, affine


def _tissue_maps() -> tuple[NDArray, NDArray, NDArray, NDArray[np.bool_], NDArray[np.float64]]:
    """T1, grey and white matter (0 to 1) and brain mask of ICBM 152 2009a, padded."""
    try:
        from nilearn import datasets
    except ImportError as error:
        raise ImportError(
            "the phantom needs the MNI152 tissue maps of nilearn, which is not installed: "
            'pip install "monai-microchange[phantom]"'
        ) from error
    images = [
        datasets.load_mni152_template(resolution=1),
        datasets.load_mni152_gm_template(resolution=1),
        datasets.load_mni152_wm_template(resolution=1),
        datasets.load_mni152_brain_mask(resolution=1),
    ]
    maps = [np.pad(image.get_fdata(dtype=np.float32), _PADDING, mode="edge") for image in images]
    affine = np.array(images[0].affine, dtype=float)
    affine[:3, 3] -= affine[:3, :3] @ [before for before, _ in _PADDING]
    return maps[0], maps[1], maps[2], ndimage.binary_fill_holes(maps[3] > 0.5), affine


def _label_map(grey: NDArray, white: NDArray, brain: NDArray, affine: NDArray) -> NDArray[np.uint8]:
    """Coarse anatomy (uint8). The boxes, MNI mm, are wide: the infratentorial one holds some temporal lobe too."""
    labels = np.full(brain.shape, Anatomy.OUTER_CSF, np.uint8)
    labels[grey > 0.4] = Anatomy.CORTEX
    # The maps show the wall of the ventricles as a thin sheet of grey matter: it belongs to neither cortex nor nuclei.
    central = _box(brain.shape, affine, (-36, -48, -4), (36, 36, 30))
    nuclei = ndimage.binary_opening(grey > 0.3, iterations=2)
    labels[(grey > 0.3) & central & ~nuclei] = Anatomy.VENTRICLE
    labels[nuclei & _box(brain.shape, affine, (-31, -34, -14), (31, 26, 20))] = Anatomy.DEEP_GREY
    labels[(white > 0.6) & (white > grey)] = Anatomy.WHITE_MATTER
    fluid = labels == Anatomy.OUTER_CSF
    labels[fluid & central] = Anatomy.VENTRICLE
    labels[_box(brain.shape, affine, (-70, -110, -90), (70, -4, -22)) & ~fluid] = Anatomy.INFRATENTORIAL
    labels[~brain] = Anatomy.BACKGROUND
    return labels


def _box(shape: tuple[int, ...], affine: NDArray, low_mm: tuple, high_mm: tuple) -> NDArray[np.bool_]:
    """Voxels (I, J, K) whose centre lies within a box along RAS; the affine has unit spacing and no rotation."""
    index = np.ogrid[tuple(map(slice, shape))]
    inside = [(i + o >= a) & (i + o <= b) for i, o, a, b in zip(index, affine[:3, 3], low_mm, high_mm, strict=True)]
    return inside[0] & inside[1] & inside[2]


def _paint_brain(t1: NDArray, grey: NDArray, white: NDArray, brain: NDArray) -> NDArray[np.float32]:
    """FLAIR signal inside the brain mask. The maps are averages of many people: sharpening gives one person's edges."""
    fluid = np.clip(1 - grey - white, 0, 1)
    # Sulci of the average are shallow in the maps but show as dips of the T1 against its surroundings.
    dip = ndimage.gaussian_filter(t1, 3.0) - ndimage.gaussian_filter(t1, 0.7)
    fluid = np.clip(fluid + np.clip(6 * dip - 0.15, 0, 0.8) * (white < 0.4), 0, 1)
    parts = [np.clip(part, 1e-3, 1) ** 2.5 for part in (white, grey * (1 - 0.7 * fluid), fluid)]
    total = parts[0] + parts[1] + parts[2]
    return ((parts[0] + _CORTEX * parts[1] + _CSF * parts[2]) / total * brain).astype(np.float32)


def _paint_outside(brain: NDArray, affine: NDArray) -> NDArray[np.float32]:
    """FLAIR signal of meninges, skull, scalp, face and neck. Built on every second voxel: all of it is smooth."""
    coarse = brain[::2, ::2, ::2]
    to_brain_mm = 2 * ndimage.distance_transform_edt(~coarse)
    # Face and neck fill what lies below the widest part of the brain.
    below = np.logical_or.accumulate(coarse[:, :, ::-1], axis=2)[:, :, ::-1]
    to_outline_mm = ndimage.gaussian_filter(2 * ndimage.distance_transform_edt(~below), 1.5)
    depth_mm = 14.5 - to_outline_mm
    x, y, z = (2 * g + o for g, o in zip(np.ogrid[tuple(map(slice, coarse.shape))], affine[:3, 3], strict=True))

    noise = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(coarse.shape), 1.8)
    outside = np.clip(_MUSCLE + 0.16 * noise / noise.std(), _SKULL, _FAT)
    for side in (-1, 1):
        orbit = ((x - side * 32) / 18) ** 2 + ((y - 52) / 26) ** 2 + ((z + 36) / 17) ** 2
        eye = ((x - side * 32) ** 2 + (y - 62) ** 2 + (z + 36) ** 2) ** 0.5
        mastoid = ((x - side * 56) / 10) ** 2 + ((y + 32) / 14) ** 2 + ((z + 46) / 16) ** 2
        outside = np.where(orbit < 1, _FAT, outside)
        outside = np.where(eye < 12.5, np.where(eye < 11, _CSF, _SKIN), outside)
        outside = np.where(mastoid < 1, _SKULL, outside)
    nose = (x / 14) ** 2 + ((y - 55) / 24) ** 2 + ((z + 52) / 26) ** 2
    outside = np.where(nose < 1, _SKULL, outside)

    marrow = _SKULL + (_MARROW - _SKULL) * np.exp(-(((to_brain_mm - 5.5) / 1.3) ** 2))
    outside = np.where(to_brain_mm < 8.5, marrow, outside)
    outside = np.where(to_brain_mm < 2.5, _CSF, outside)
    outside = np.where((depth_mm < 5.5) & (to_brain_mm > 4), _FAT, outside)
    outside = np.where(depth_mm < 2, _SKIN, outside)
    outside = np.where(depth_mm < 0, 0, outside)
    outside = ndimage.gaussian_filter(outside.astype(np.float32), 0.5)
    return _stretch(outside, brain.shape)
