# SPDX-License-Identifier: Apache-2.0
"""Registration with SimpleITK: each scan to the other, and the mean of both."""

from collections.abc import Callable
from typing import Any

import numpy as np
import SimpleITK as sitk

from monai_microchange._frames import matrix_from_transform, transform_from_matrix
from monai_microchange.transforms.registration.prepare import PreparedScan

__all__ = ["register_itk"]

THREADS = 4
"""Fixed, so that sums are split alike, and results agree to rounding, on every machine."""


def register_itk(
    baseline: PreparedScan, followup: PreparedScan, start: np.ndarray, *, degrees_of_freedom: int = 6, seed: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Mutual information, coarse to fine, in both directions.

    Args:
        baseline: the one scan.
        followup: the other.
        start: (4, 4), points of the baseline to points of the follow-up, RAS mm, within about 20 degrees and 20 mm.
        degrees_of_freedom: 6 (Euler), 7 (similarity), 9 (a scale along each axis) or 12 (affine).
        seed: of the sampling of voxels.

    Returns:
        Baseline to follow-up (4, 4), RAS mm, as found that way round, and as the inverse of what was found the other.

    Raises:
        ValueError: if the scans do not overlap.

    Source: Mattes et al., 2003, doi 10.1109/TMI.2003.809072 (metric); Christensen and Johnson, 2001, doi
    10.1109/42.932742 (inverse consistency; here by averaging the two directions).
    """
    forth = _register(baseline, followup, start, degrees_of_freedom, seed)
    back = _register(followup, baseline, np.linalg.inv(start), degrees_of_freedom, seed)
    return forth, np.linalg.inv(back)


def _register(
    fixed: PreparedScan, moving: PreparedScan, start: np.ndarray, degrees_of_freedom: int, seed: int
) -> np.ndarray:
    """Points of `fixed` to points of `moving` (4, 4), RAS mm."""
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(THREADS)
    method.SetMetricAsMattesMutualInformation(48)
    method.SetMetricFixedMask(fixed.inner)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentagePerLevel([0.5, 0.2, 0.05], seed)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, 150, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([6, 3, 1])
    method.SetSmoothingSigmasPerLevel([4.0, 2.0, 0.7])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    # the start turns the moving image, and what is found comes before it: the optimiser begins at the identity
    method.SetMovingInitialTransform(transform_from_matrix(start))
    change = _free_transform(degrees_of_freedom, fixed.centre)
    method.SetInitialTransform(change, inPlace=True)
    try:
        method.Execute(fixed.image, moving.image)
    except RuntimeError as error:
        raise ValueError("SimpleITK could not register the scans: too few samples fall into both") from error
    return start @ matrix_from_transform(change)


def _free_transform(degrees_of_freedom: int, centre: np.ndarray) -> sitk.Transform:
    kinds: dict[int, Callable[[], Any]] = {
        6: sitk.Euler3DTransform,
        7: sitk.Similarity3DTransform,
        9: sitk.ScaleVersor3DTransform,
        12: lambda: sitk.AffineTransform(3),
    }
    change = kinds[degrees_of_freedom]()
    change.SetCenter(centre.tolist())
    return change
