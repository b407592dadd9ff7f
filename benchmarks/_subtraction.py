# SPDX-License-Identifier: Apache-2.0
"""What plain subtraction of two aligned scans can reach at best, on the grid of the expert's mask."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import SimpleITK as sitk
from scipy import ndimage as ndi
from scipy.stats import rankdata
from truth_grid import Case

from monai_microchange._frames import array_from_image, image_from_array, spacing_from_affine, transform_from_matrix
from monai_microchange.metrics import score_lesions

SMOOTHING_MM = (0.0, 1.0, 1.5, 2.0)
THRESHOLDS = (2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0)
"""In robust standard deviations of the difference inside the brain."""
MIN_VOLUMES_MM3 = (3.0, 20.0, 100.0)

AUC_SMOOTHING_MM = 1.0
"""The one smoothing at which voxels are ranked."""


@dataclass(frozen=True)
class Subtraction:
    """Best Dice and best lesion-wise F1, each over all settings apart (an oracle), and the AUC over brain voxels."""

    dice: float
    f1: float
    auc: float


def subtraction_oracle(
    case: Case, difference: np.ndarray, brain: np.ndarray, affine: np.ndarray, mid_to_baseline: np.ndarray
) -> Subtraction:
    """Try 96 settings: 4 smoothings, 8 thresholds of the absolute difference, 3 least volumes.

    Args:
        case: truth and its grid.
        difference: follow-up less baseline (I, J, K) in mid-space, on a 1 mm grid.
        brain: mask (I, J, K) there.
        affine: (4, 4), voxel of mid-space to RAS mm.
        mid_to_baseline: (4, 4), points of mid-space to points of the baseline, RAS mm.
    """
    common_to_mid = np.linalg.inv(mid_to_baseline) @ case.common_to_scan[0]
    region = case.brain & (_on_truth_grid(case, brain.astype(np.float32), affine, common_to_mid) > 0.5)
    box = ndi.find_objects((region | case.truth).astype(np.uint8))[0]
    region, truth = region[box], case.truth[box]
    spacing_mm = tuple(spacing_from_affine(case.affine).tolist())
    best_dice = best_f1 = auc = 0.0
    for sigma_mm in SMOOTHING_MM:
        smooth = ndi.gaussian_filter(difference * brain, sigma_mm) if sigma_mm else difference * brain
        moved = _on_truth_grid(case, smooth.astype(np.float32), affine, common_to_mid)[box]
        size = np.where(region, np.abs(moved - np.median(moved[region])), 0)
        size /= 1.4826 * np.median(size[region])
        if sigma_mm == AUC_SMOOTHING_MM:
            auc = voxel_auc(size[region], truth[region])
        for threshold, min_volume_mm3 in product(THRESHOLDS, MIN_VOLUMES_MM3):
            mask = drop_small(size > threshold, min_volume_mm3 / float(np.prod(spacing_mm)))
            scores = score_lesions(mask, truth, spacing_mm=spacing_mm)
            best_dice, best_f1 = max(best_dice, scores.dice), max(best_f1, np.nan_to_num(scores.f1))
    return Subtraction(best_dice, float(best_f1), auc)


def drop_small(mask: np.ndarray, min_voxels: float) -> np.ndarray:
    """What of a mask (I, J, K) is in 26-connected components of at least so many voxels.

    >>> drop_small(np.array([[[1, 1, 0, 1]]]) > 0, 2).astype(int).tolist()
    [[[1, 1, 0, 0]]]
    """
    labels, _ = ndi.label(mask, np.ones((3, 3, 3)))
    keep = np.bincount(labels.ravel()) >= min_voxels
    keep[0] = False
    return keep[labels]


def voxel_auc(score: np.ndarray, truth: np.ndarray) -> float:
    """Chance that a changed voxel has a higher score than an unchanged one (ties count half); NaN without either.

    >>> voxel_auc(np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, True, False, True]))
    0.75
    """
    n = int(truth.sum())
    if n in (0, truth.size):
        return float("nan")
    return float((rankdata(score)[truth].sum() - n * (n + 1) / 2) / (n * (truth.size - n)))


def _on_truth_grid(case: Case, image: np.ndarray, affine: np.ndarray, common_to_mid: np.ndarray) -> np.ndarray:
    """A mid-space image (I, J, K) at the truth's voxels, linear."""
    grid = image_from_array(case.truth.astype(np.uint8), case.affine)
    moved = sitk.Resample(image_from_array(image, affine), grid, transform_from_matrix(common_to_mid), sitk.sitkLinear)
    return array_from_image(moved)
