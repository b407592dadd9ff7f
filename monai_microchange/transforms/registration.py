# SPDX-License-Identifier: Apache-2.0
"""Rigid registration of two visits, the same whichever comes first."""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from monai.data import MetaTensor

from monai_microchange._frames import (
    affine_from_image,
    apply_affine,
    image_from_array,
    matrix_from_transform,
    transform_from_matrix,
)
from monai_microchange.transforms.midspace import mean_rigid

__all__ = ["RigidRegistration", "register_pair"]

SPACING_MM = 1.5
"""Voxel size at which scans are registered."""
MIN_START_OVERLAP = 0.3
"""Share of the smaller region that must be covered before two positions are compared by likeness."""
THREADS = 4
"""Fixed, so that sums are split alike, and results agree to rounding, on every machine."""


@dataclass(frozen=True)
class RigidRegistration:
    """A rigid transform between two visits and how good it seems.

    Attributes:
        baseline_to_followup: (4, 4), points of the baseline to points of the follow-up, RAS mm.
        inverse_consistency_mm: how far the two directed registrations, whose mean this is, are apart (mean over the
            head).
        overlap: share of the smaller head region that the other covers, from 0 to 1.
        correlation: Pearson's, of grey values in the overlap.
    """

    baseline_to_followup: np.ndarray
    inverse_consistency_mm: float
    overlap: float
    correlation: float


def register_pair(
    baseline: MetaTensor,
    followup: MetaTensor,
    *,
    baseline_mask: MetaTensor | None = None,
    followup_mask: MetaTensor | None = None,
    seed: int = 1,
) -> RigidRegistration:
    """Rigid transform that brings two scans of one head together.

    Each scan is registered to the other (mutual information, coarse to fine), and the mean of both transforms is taken,
    so exchanging the scans inverts the result and nothing depends on which comes first.

    Args:
        baseline: scan (1, I, J, K) with its affine to RAS mm.
        followup: scan (1, I, J, K) with its affine to RAS mm.
        baseline_mask: region (1, i, j, k) that the alignment is judged in, on a grid of its own.
        followup_mask: the same of the follow-up.
        seed: of the sampling of voxels.

    Returns:
        The transform and its quality.

    Raises:
        ValueError: if the scans cannot be brought to overlap.

    Source: Mattes et al., 2003, doi 10.1109/TMI.2003.809072 (metric); Christensen and Johnson, 2001, doi
    10.1109/42.932742 (inverse consistency; here by averaging the two directions).
    """
    one, other = _prepare(baseline, baseline_mask), _prepare(followup, followup_mask)
    try:
        forth = _register(one, other, seed)
        back = _register(other, one, seed)
    except RuntimeError as error:
        raise ValueError(
            "the two scans could not be brought to overlap: are they of one patient, and do they show the same part "
            "of the body?"
        ) from error
    mean = mean_rigid(forth, np.linalg.inv(back))
    # measured on either grid, so that no number depends on which scan comes first
    apart = _distance_mm(forth, np.linalg.inv(back), one), _distance_mm(back, np.linalg.inv(forth), other)
    seen = _agreement(one, other, mean), _agreement(other, one, np.linalg.inv(mean))
    overlap, correlation = (float(value) for value in np.mean(seen, axis=0))
    return RigidRegistration(mean, float(np.mean(apart)), overlap, correlation)


@dataclass(frozen=True)
class _Prepared:
    image: sitk.Image
    mask: sitk.Image


def _prepare(scan: MetaTensor, mask: MetaTensor | None) -> _Prepared:
    """Isotropic, cropped to the mask's box, grey values from the 0.5th percentile (made 0) to the 99.5th."""
    image = image_from_array(np.asarray(scan.as_tensor())[0].astype(np.float32), np.asarray(scan.affine))
    if mask is None:
        region = sitk.OtsuThreshold(image, 0, 1)
    else:
        region = image_from_array(np.asarray(mask.as_tensor())[0].astype(np.uint8), np.asarray(mask.affine))
        region = sitk.BinaryDilate(region, [max(1, round(4 / s)) for s in region.GetSpacing()])
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(sitk.Cast(region > 0, sitk.sitkUInt8))
    if not shape.HasLabel(1):
        raise ValueError("a scan has no foreground to align: it is empty, or its mask is")
    # standardised scans and CT have values below 0, and outside the scan there must be nothing
    low, top = np.percentile(sitk.GetArrayViewFromImage(image), [0.5, 99.5])
    image = sitk.Clamp(image - float(low), sitk.sitkFloat32, 0.0, max(float(top - low), 1e-6))
    grid = _isotropic_box(region, shape.GetBoundingBox(1))
    moved = sitk.Resample(image, grid, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    inside = sitk.Resample(region, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)
    return _Prepared(moved, inside)


def _isotropic_box(region: sitk.Image, box: tuple[int, ...]) -> sitk.Image:
    """Empty isotropic grid over a box of voxels (start and size, i j k) of a region, with a margin."""
    margin_mm = 6.0
    spacing = np.asarray(region.GetSpacing())
    start = np.asarray(box[:3]) - 0.5 - margin_mm / spacing
    size = np.ceil((np.asarray(box[3:]) * spacing + 2 * margin_mm) / SPACING_MM).astype(int)
    direction = np.asarray(region.GetDirection()).reshape(3, 3)
    corner = np.asarray(region.GetOrigin()) + direction @ (start * spacing)
    grid = sitk.Image([int(n) for n in size], sitk.sitkUInt8)
    grid.SetSpacing([SPACING_MM] * 3)
    grid.SetDirection(region.GetDirection())
    grid.SetOrigin((corner + direction @ np.full(3, SPACING_MM / 2)).tolist())
    return grid


def _centre(mask: sitk.Image) -> np.ndarray:
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(mask)
    return np.asarray(shape.GetCentroid(1))


def _best_shift(fixed: _Prepared, moving: _Prepared) -> np.ndarray:
    """Where to start (LPS, mm): as the headers say, or centre onto centre, whichever makes the scans more alike.

    Headers are right within one session; centres are right where headers are not, but wrong for parts of a head.
    """
    shifts = [np.zeros(3), _centre(moving.mask) - _centre(fixed.mask)]
    likeness = []
    for shift in shifts:
        matrix = matrix_from_transform(sitk.TranslationTransform(3, shift.tolist()))
        overlap, correlation = _agreement(fixed, moving, matrix)
        likeness.append(correlation if overlap > MIN_START_OVERLAP else -1.0)
    return shifts[int(np.argmax(likeness))] if max(likeness) > -1.0 else shifts[1]


def _register(fixed: _Prepared, moving: _Prepared, seed: int) -> np.ndarray:
    """Points of `fixed` to points of `moving` (4, 4), RAS mm."""
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(THREADS)
    method.SetMetricAsMattesMutualInformation(48)
    method.SetMetricFixedMask(fixed.mask)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentagePerLevel([0.5, 0.3, 0.25], seed)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, 150, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([4.0, 2.0, 0.7])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    rigid = sitk.Euler3DTransform()
    rigid.SetCenter(_centre(fixed.mask).tolist())
    rigid.SetTranslation(_best_shift(fixed, moving).tolist())
    method.SetInitialTransform(rigid, inPlace=True)
    method.Execute(fixed.image, moving.image)
    return matrix_from_transform(rigid)


def _moved(image: sitk.Image, grid: sitk.Image, grid_to_image: np.ndarray, interpolator: int) -> np.ndarray:
    moved = sitk.Resample(image, grid, transform_from_matrix(grid_to_image), interpolator, 0.0, sitk.sitkFloat32)
    return sitk.GetArrayFromImage(moved)


def _agreement(one: _Prepared, other: _Prepared, one_to_other: np.ndarray) -> tuple[float, float]:
    """Overlap of the regions (share of the smaller) and correlation inside both."""
    here = sitk.GetArrayViewFromImage(one.mask) > 0
    there = _moved(other.mask, one.mask, one_to_other, sitk.sitkNearestNeighbor) > 0
    both = here & there
    total_other = int((sitk.GetArrayViewFromImage(other.mask) > 0).sum())
    overlap = float(both.sum() / max(min(int(here.sum()), total_other), 1))
    if both.sum() < 2:
        return overlap, 0.0
    grey = sitk.GetArrayViewFromImage(one.image)[both]
    other_grey = _moved(other.image, one.image, one_to_other, sitk.sitkLinear)[both]
    if grey.std() == 0 or other_grey.std() == 0:
        return overlap, 0.0
    return overlap, float(np.corrcoef(grey, other_grey)[0, 1])


def _distance_mm(one: np.ndarray, other: np.ndarray, where: _Prepared) -> float:
    """Mean distance between two transforms' results over the head."""
    index = np.argwhere(sitk.GetArrayViewFromImage(where.mask) > 0)[::997, ::-1]
    points = apply_affine(affine_from_image(where.mask), index)
    return float(np.linalg.norm(apply_affine(one, points) - apply_affine(other, points), axis=1).mean())
