# SPDX-License-Identifier: Apache-2.0
"""The coverage rule of older papers: a lesion is found where a tenth of it is covered. Never to be quoted alone."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from monai_microchange.metrics._mask_metric import NAN, MaskMetric, score_volumes
from monai_microchange.metrics.lesion_matching import binary_volume, label_components
from monai_microchange.metrics.lesion_scores import LesionCounts

__all__ = ["CoverageF1Metric", "compute_coverage_f1", "count_covered_lesions"]


def count_covered_lesions(
    y_pred: npt.ArrayLike | torch.Tensor,
    y: npt.ArrayLike | torch.Tensor,
    *,
    spacing_mm: Sequence[float],
    min_volume_mm3: float = 3.0,
    min_coverage: float = 0.1,
) -> LesionCounts:
    """Count lesions as found, or as true, that the other mask covers to a tenth.

    Nothing is paired here: one blob may find many lesions, many fragments of one lesion are all true, and a mask that
    is 1 everywhere is perfect. The rule is here to compare with papers that use it; quote `score_lesions` first.

    Args:
        y_pred: predicted mask (I, J, K), boolean or 0/1.
        y: reference mask, same shape.
        spacing_mm: voxel size along I, J, K in mm.
        min_volume_mm3: smallest component that counts as a lesion, in mm3; smaller ones still cover.
        min_coverage: least share of a lesion's voxels that lie in the other mask, in (0, 1].

    Returns:
        The counts. An empty mask has no lesions and covers none.

    Raises:
        ValueError: masks of different shape, not 3D or not binary; spacing, volume or coverage out of range.

    Example:
        >>> ref = np.zeros((8, 8, 8), dtype=bool)
        >>> ref[1:3, 1:3, 1:3] = ref[5:7, 5:7, 5:7] = True
        >>> count_covered_lesions(np.ones_like(ref), ref, spacing_mm=(1, 1, 1), min_coverage=0.03).f1
        1.0
    """
    if not 0 < min_coverage <= 1:
        raise ValueError(f"min_coverage must lie in (0, 1], got {min_coverage}; at 0 every lesion would be found.")
    y_pred, y = binary_volume(y_pred, "y_pred"), binary_volume(y, "y")
    if y_pred.shape != y.shape:
        raise ValueError(f"y_pred has shape {y_pred.shape}, y {y.shape}: resample both to one grid first.")

    def covered(mask: np.ndarray, other: np.ndarray) -> tuple[int, int]:
        labels, n = label_components(mask, spacing_mm=spacing_mm, min_volume_mm3=min_volume_mm3)
        size, inside = (np.bincount(x.ravel(), minlength=n + 1)[1:] for x in (labels, labels[other]))
        return n, int((inside >= min_coverage * size).sum())

    n_reference, n_found = covered(y, y_pred)
    n_predicted, n_true = covered(y_pred, y)
    return LesionCounts(n_reference, n_found, n_predicted, n_predicted - n_true)


def compute_coverage_f1(
    y_pred: torch.Tensor,
    y: torch.Tensor,
    *,
    spacing_mm: npt.ArrayLike,
    min_volume_mm3: float = 3.0,
    min_coverage: float = 0.1,
    empty_score: float = NAN,
) -> torch.Tensor:
    """F1 by the coverage rule: harmonic mean of the covered shares of the reference and of the predicted lesions.

    Rewards blobs and fragments, see `count_covered_lesions`: never quote it alone. Commowick et al., 2018, "Objective
    evaluation of multiple sclerosis lesion segmentation using a data management and processing infrastructure", doi
    10.1038/s41598-018-31911-7, has a stricter form of it.

    Args:
        y_pred: predicted masks (B, C, I, J, K), boolean or 0/1; channels are scored apart.
        y: reference masks, same shape.
        spacing_mm: voxel size along I, J, K in mm: (3,) for all or (B, 3).
        min_volume_mm3: smallest component that counts as a lesion, in mm3.
        min_coverage: least share of a lesion's voxels that lie in the other mask.
        empty_score: value where neither mask has a lesion.

    Returns:
        (B, C), float32, on the device of `y`.

        =====================  =============
        case                   coverage F1
        =====================  =============
        both empty             `empty_score`
        prediction empty       0
        reference empty        0
        no match               0
        =====================  =============

    Raises:
        ValueError: as `count_covered_lesions`; masks not (B, C, I, J, K); spacing of another shape.

    Example:
        >>> masks = torch.ones(1, 1, 4, 4, 4)
        >>> compute_coverage_f1(masks, masks, spacing_mm=(1, 1, 1)).item()
        1.0
    """

    def score(pred: np.ndarray, ref: np.ndarray, spacing: tuple[float, ...]) -> float:
        counts = count_covered_lesions(
            pred, ref, spacing_mm=spacing, min_volume_mm3=min_volume_mm3, min_coverage=min_coverage
        )
        return counts.f1 if counts.n_reference + counts.n_predicted else empty_score

    return score_volumes(y_pred, y, spacing_mm, score)


class CoverageF1Metric(MaskMetric):
    """Cumulative `compute_coverage_f1`, for MONAI's evaluators. To be quoted only beside `LesionF1Metric`.

    Call it with `y_pred, y` as (B, C, I, J, K) or as lists of (C, I, J, K); `aggregate` returns one tensor.

    Args:
        spacing_mm: voxel size along I, J, K in mm; `metric(y_pred, y, spacing_mm=...)` overrides it for one call.
        min_volume_mm3: smallest component that counts as a lesion, in mm3.
        min_coverage: least share of a lesion's voxels that lie in the other mask.
        empty_score: value where neither mask has a lesion.
        reduction: MONAI's reduction over (B, C); NaN is left out.

    Example:
        >>> metric = CoverageF1Metric(spacing_mm=(1, 1, 1))
        >>> _ = metric(y_pred=torch.ones(1, 1, 4, 4, 4), y=torch.ones(1, 1, 4, 4, 4))
        >>> metric.aggregate().item()
        1.0
    """

    def __init__(
        self,
        *,
        spacing_mm: Sequence[float],
        min_volume_mm3: float = 3.0,
        min_coverage: float = 0.1,
        empty_score: float = NAN,
        reduction: str = "mean",
    ) -> None:
        super().__init__(spacing_mm=spacing_mm, reduction=reduction)
        self.rule = {"min_volume_mm3": min_volume_mm3, "min_coverage": min_coverage, "empty_score": empty_score}

    def _score(self, y_pred: torch.Tensor, y: torch.Tensor, spacing_mm: npt.ArrayLike) -> torch.Tensor:
        return compute_coverage_f1(y_pred, y, spacing_mm=spacing_mm, **self.rule)
