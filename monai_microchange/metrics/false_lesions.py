# SPDX-License-Identifier: Apache-2.0
"""What is reported in pairs in which nothing changed: the number of false lesions and their volume."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from monai_microchange.metrics._mask_metric import NAN, MaskMetric, score_volumes
from monai_microchange.metrics.lesion_matching import binary_volume, label_components

__all__ = ["FalseLesionMetric", "compute_false_lesions"]

MEASURES = ("count", "volume_mm3")


def compute_false_lesions(
    y_pred: torch.Tensor,
    y: torch.Tensor,
    *,
    spacing_mm: npt.ArrayLike,
    measure: str = "count",
    min_volume_mm3: float = 3.0,
) -> torch.Tensor:
    """Lesions reported where nothing changed, or their volume in mm3, of each mask of a batch.

    Args:
        y_pred: predicted masks (B, C, I, J, K), boolean or 0/1; channels are judged apart.
        y: reference masks, same shape: only those that are empty are judged.
        spacing_mm: voxel size along I, J, K in mm: (3,) for all or (B, 3).
        measure: "count" or "volume_mm3".
        min_volume_mm3: smallest component that counts as a lesion, in mm3; smaller ones have no volume either.

    Returns:
        (B, C), float32, on the device of `y`. A mean over it is per pair without change.

        =====================  ====================
        case                   value
        =====================  ====================
        both empty             0
        prediction empty       NaN
        reference empty        number, or mm3
        no match               NaN
        =====================  ====================

        NaN says that something did change: false lesions there are a matter of precision.

    Raises:
        ValueError: masks not (B, C, I, J, K), of different shape or not binary; spacing or measure that cannot be.

    Example:
        >>> pred = torch.zeros(1, 1, 6, 6, 6)
        >>> pred[..., :2, :2, :2] = 1
        >>> compute_false_lesions(pred, torch.zeros_like(pred), spacing_mm=(1, 1, 3), measure="volume_mm3").item()
        24.0
    """
    if measure not in MEASURES:
        raise ValueError(f"measure must be one of {', '.join(MEASURES)}, got {measure!r}.")

    def score(pred: np.ndarray, ref: np.ndarray, spacing: tuple[float, ...]) -> float:
        pred, ref = binary_volume(pred, "y_pred"), binary_volume(ref, "y")
        if ref.any():
            return NAN
        labels, n = label_components(pred, spacing_mm=spacing, min_volume_mm3=min_volume_mm3)
        return n if measure == "count" else float(np.count_nonzero(labels) * np.prod(spacing))

    return score_volumes(y_pred, y, spacing_mm, score)


class FalseLesionMetric(MaskMetric):
    """Cumulative `compute_false_lesions`, for MONAI's evaluators: pairs in which something changed are left out.

    Args:
        spacing_mm: voxel size along I, J, K in mm; `metric(y_pred, y, spacing_mm=...)` overrides it for one call.
        measure: "count" or "volume_mm3".
        min_volume_mm3: smallest component that counts as a lesion, in mm3.
        reduction: MONAI's reduction over (B, C); NaN is left out. "mean" is per pair without change.

    Raises:
        ValueError: a spacing, measure or reduction that cannot be.

    Example:
        >>> metric = FalseLesionMetric(spacing_mm=(1, 1, 1))
        >>> _ = metric(y_pred=torch.ones(1, 1, 4, 4, 4), y=torch.zeros(1, 1, 4, 4, 4))
        >>> metric.aggregate().item()
        1.0
    """

    def __init__(
        self,
        *,
        spacing_mm: Sequence[float],
        measure: str = "count",
        min_volume_mm3: float = 3.0,
        reduction: str = "mean",
    ) -> None:
        super().__init__(spacing_mm=spacing_mm, reduction=reduction)
        if measure not in MEASURES:
            raise ValueError(f"measure must be one of {', '.join(MEASURES)}, got {measure!r}.")
        self.measure = measure
        self.min_volume_mm3 = min_volume_mm3

    def _score(self, y_pred: torch.Tensor, y: torch.Tensor, spacing_mm: npt.ArrayLike) -> torch.Tensor:
        return compute_false_lesions(
            y_pred, y, spacing_mm=spacing_mm, measure=self.measure, min_volume_mm3=self.min_volume_mm3
        )
