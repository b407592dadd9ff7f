# SPDX-License-Identifier: Apache-2.0
"""Numbers that describe a pair of visits, taken alike from a real pair and from a simulated one.

Every function takes arrays (I, J, K) on a 1 mm isotropic grid, so voxels are millimetres, and boolean masks of the same
shape. What cannot be measured (too few voxels) is NaN, which the tables leave out.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi

from monai_microchange.metrics.lesion_matching import label_components

MIN_VOXELS = 500
"""Fewer voxels than this give no stable statistic of noise, sharpness or bias."""

_MAD_TO_SD = 1.4826
_FWHM_PER_SIGMA = float(np.sqrt(8 * np.log(2)))


@dataclass(frozen=True)
class ChangedComponent:
    """One 26-connected piece of change.

    Attributes:
        volume_mm3: its volume.
        contrast: mean of follow-up minus baseline inside, less the median of that 3 to 6 mm outside; in units of the
            images, so as a share of white matter where both visits have white matter at 1.
        halo: the same one voxel outside the piece, over that inside: 0 for a knife's edge, near 1 for a mark too tight.
        centre: voxel in the middle of its largest cross-section across the last axis.
    """

    volume_mm3: float
    contrast: float
    halo: float
    centre: tuple[int, int, int]


def changed_components(
    baseline: np.ndarray, followup: np.ndarray, change: np.ndarray, brain: np.ndarray, *, min_volume_mm3: float = 3.0
) -> list[ChangedComponent]:
    """Measure every piece of change of at least `min_volume_mm3`.

    Example:
        >>> scan, change = np.ones((20, 20, 20)), np.zeros((20, 20, 20), bool)
        >>> change[8:11, 8:11, 8:11] = True
        >>> [piece] = changed_components(scan, scan + 0.5 * change, change, np.ones_like(change))
        >>> piece.volume_mm3, piece.contrast, piece.halo
        (27.0, 0.5, 0.0)
    """
    labels, count = label_components(change, spacing_mm=(1.0, 1.0, 1.0), min_volume_mm3=min_volume_mm3)
    difference = followup - baseline
    pieces = []
    for number, box in enumerate(ndi.find_objects(labels, count), start=1):
        wide = tuple(slice(max(s.start - 7, 0), s.stop + 7) for s in box)
        inside = labels[wide] == number
        away = ndi.distance_transform_edt(~inside)
        usable = brain[wide] & ~change[wide]
        ring, rim = usable & (away >= 3) & (away <= 6), usable & (away > 0) & (away < 1.5)
        level = np.median(difference[wide][ring]) if ring.any() else 0.0
        contrast = float(difference[wide][inside].mean() - level)
        halo = float(difference[wide][rim].mean() - level) / contrast if rim.any() and contrast else float("nan")
        i, j, k = (c + s.start for c, s in zip(_middle(inside), wide, strict=True))
        pieces.append(ChangedComponent(float(inside.sum()), contrast, halo, (i, j, k)))
    return pieces


def _middle(mask: np.ndarray) -> tuple[int, int, int]:
    area = mask.sum(axis=(0, 1))
    largest = np.flatnonzero(area == area.max())
    k = int(largest[len(largest) // 2])
    i, j = ndi.center_of_mass(mask[:, :, k])
    return round(i), round(j), k


def robust_deviation(values: np.ndarray) -> float:
    """Standard deviation of Gaussian values, from their median absolute deviation: outliers hardly count."""
    if values.size < MIN_VOXELS:
        return float("nan")
    return float(_MAD_TO_SD * np.median(np.abs(values - np.median(values))))


def noise_level(image: np.ndarray, region: np.ndarray) -> float:
    """Standard deviation of the noise, as seen on the 1 mm grid: that interpolation smoothed it is not undone.

    Second differences along two axes at once leave noise and take out all that varies linearly. Of the three planes
    the noisiest counts: the one that slices lie in, as interpolation smooths across them.

    Source: Immerkær, "Fast Noise Variance Estimation", 1996, doi 10.1006/cviu.1996.0060 (there the mean of absolute
    values of one plane; here their median).
    """
    second = np.array([1.0, -2.0, 1.0])
    levels = []
    for first, other in ((0, 1), (0, 2), (1, 2)):
        high = ndi.correlate1d(ndi.correlate1d(image, second, first), second, other)
        # the squares of the nine weights add up to 36
        levels.append(robust_deviation(high[region]) / 6)
    return max(levels)


def smoothness_mm(image: np.ndarray, region: np.ndarray, *, detrend_sigma_mm: float = 5.0) -> np.ndarray:
    """Full width at half maximum (3,) of the blur along each axis, in mm, told from neighbours' likeness.

    What varies slower than `detrend_sigma_mm` is taken out first. A thick slice shows as a large width along its axis;
    anatomy is no white noise, so only widths of like regions compare.

    Source: Forman et al., 1995, doi 10.1002/mrm.1910330508, equation 10.
    """
    rest = (image - masked_blur(image, region, detrend_sigma_mm)) * region
    if region.sum() < MIN_VOXELS:
        return np.full(3, np.nan)
    variance = rest[region].var()
    widths = []
    for axis in range(3):
        both = np.minimum(np.roll(region, -1, axis), region)
        both[tuple(slice(-1, None) if a == axis else slice(None) for a in range(3))] = False
        step = (np.roll(rest, -1, axis) - rest)[both]
        likeness = np.clip(1 - step.var() / (2 * variance), 1e-6, 1 - 1e-9)
        widths.append(_FWHM_PER_SIGMA * np.sqrt(-1 / (4 * np.log(likeness))))
    return np.asarray(widths)


def block_shifts_mm(
    baseline: np.ndarray, followup: np.ndarray, region: np.ndarray, *, edge: int = 24, blur_sigma_mm: float = 1.0
) -> np.ndarray:
    """Shift (n, 3) of the follow-up against the baseline in each block of the region, in mm, by least squares.

    In a block the follow-up is taken as the baseline moved, times a gain, plus an offset. The gradient is that of the
    visits' mean, so swapping them turns the sign and nothing else. Good to a few per cent below one voxel. Blocks with
    less than half of their voxels in the region are left out.

    Source: Lucas and Kanade, "An iterative image registration technique", 1981; one step of it suffices here.
    """
    smooth = [ndi.gaussian_filter(scan.astype(np.float64), blur_sigma_mm) for scan in (baseline, followup)]
    middle, difference = (smooth[0] + smooth[1]) / 2, smooth[1] - smooth[0]
    gradient = np.gradient(middle)
    shifts = []
    for corner in np.ndindex(*(extent // edge for extent in region.shape)):
        block = tuple(slice(edge * c, edge * (c + 1)) for c in corner)
        inside = region[block]
        if inside.sum() < max(0.5 * inside.size, 10):
            continue
        columns = [-g[block][inside] for g in gradient] + [middle[block][inside], np.ones(inside.sum())]
        solution = np.linalg.lstsq(np.stack(columns, axis=1), difference[block][inside], rcond=None)[0]
        shifts.append(solution[:3])
    return np.asarray(shifts).reshape(-1, 3)


def bias_difference(
    baseline: np.ndarray, followup: np.ndarray, white_matter: np.ndarray, *, sigma_mm: float = 12.0
) -> float:
    """Standard deviation of the logarithm of follow-up over baseline within white matter, after a heavy blur."""
    positive = white_matter & (baseline > 0) & (followup > 0)
    if positive.sum() < MIN_VOXELS:
        return float("nan")
    ratio = np.zeros(baseline.shape)
    ratio[positive] = np.log(followup[positive] / baseline[positive])
    return float(masked_blur(ratio, positive, sigma_mm)[positive].std())


def tissue_ratio(image: np.ndarray, tissue: np.ndarray, white_matter: np.ndarray) -> float:
    """Median grey value of a tissue over that of white matter."""
    if min(tissue.sum(), white_matter.sum()) < MIN_VOXELS:
        return float("nan")
    return float(np.median(image[tissue]) / np.median(image[white_matter]))


def masked_blur(image: np.ndarray, region: np.ndarray, sigma_mm: float) -> np.ndarray:
    """Gaussian mean of what lies in the region; 0 far from it."""
    weight = ndi.gaussian_filter(region.astype(np.float64), sigma_mm)
    total = ndi.gaussian_filter(np.where(region, image, 0.0).astype(np.float64), sigma_mm)
    return np.where(weight > 1e-6, total / np.maximum(weight, 1e-6), 0.0)
