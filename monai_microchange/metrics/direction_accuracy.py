# SPDX-License-Identifier: Apache-2.0
"""Whether what was found has the right direction: gain taken for gain, loss for loss."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from monai_microchange.metrics._mask_metric import MaskMetric, score_volumes
from monai_microchange.metrics.change_dice import BY_DIRECTION
from monai_microchange.metrics.lesion_matching import match_lesions
from monai_microchange.metrics.lesion_scores import share

__all__ = ["DirectionAccuracyMetric", "compute_direction_accuracy", "count_directions"]

Groups = Sequence[Sequence[int]]


def count_directions(
    y_pred: np.ndarray,
    y: np.ndarray,
    *,
    spacing_mm: Sequence[float],
    groups: Groups = BY_DIRECTION,
    min_volume_mm3: float = 3.0,
    min_iou: float = 0.1,
) -> tuple[int, int]:
    """How many found lesions have the right direction, and how many have a direction at all.

    Lesions are matched one to one as "changed", whatever the direction. A pair is then judged on the voxels that both
    lesions share: the direction of each side is that of most of these voxels. A predicted tie is wrong; where the
    reference is a tie, or does not say a direction, the pair is not judged.

    Args:
        y_pred: labels (I, J, K), as in `mid/change.nii.gz` unless `groups` says otherwise; 0 is unchanged.
        y: reference labels, same shape. A label in neither group says "changed, direction unknown".
        spacing_mm: voxel size along I, J, K in mm.
        groups: labels that mean gain, and labels that mean loss.
        min_volume_mm3: smallest component that counts as a lesion, in mm3.
        min_iou: smallest intersection over union of a pair.

    Returns:
        Right pairs and judged pairs; 0 and 0 where nothing was found.

    Raises:
        ValueError: as `match_lesions`; or not two groups.

    Example:
        >>> labels = np.zeros((6, 6, 6), dtype=np.uint8)
        >>> labels[:2, :2, :2] = 1                  # new
        >>> count_directions(np.where(labels == 1, 2, 0), labels, spacing_mm=(1, 1, 1))    # called enlarging: a gain
        (1, 1)
    """
    if len(groups) != 2:
        raise ValueError(f"groups must be the labels of gain and those of loss, got {len(groups)} groups.")
    matches = match_lesions(y_pred > 0, y > 0, spacing_mm=spacing_mm, min_volume_mm3=min_volume_mm3, min_iou=min_iou)
    right = judged = 0
    boxes = ndimage.find_objects(matches.reference_labels)
    for predicted, reference in matches.pairs:
        near = boxes[reference - 1]
        shared = (matches.predicted_labels[near] == predicted) & (matches.reference_labels[near] == reference)
        truth = _direction(y[near][shared], groups)
        judged += truth != 0
        right += truth != 0 and truth == _direction(y_pred[near][shared], groups)
    return int(right), int(judged)


def compute_direction_accuracy(
    y_pred: torch.Tensor,
    y: torch.Tensor,
    *,
    spacing_mm: npt.ArrayLike,
    groups: Groups = BY_DIRECTION,
    min_volume_mm3: float = 3.0,
    min_iou: float = 0.1,
) -> torch.Tensor:
    """Share of the found lesions whose direction is right, of each label map of a batch; see `count_directions`.

    Args:
        y_pred: labels (B, 1, I, J, K) as in `mid/change.nii.gz` (0 none, 1 new, 2 enlarging, 3 shrinking, 4 resolved),
            integer or whole-numbered float.
        y: reference labels, same shape.
        spacing_mm: voxel size along I, J, K in mm: (3,) for all or (B, 3).
        groups: labels that mean gain, and labels that mean loss. The classes of `ChangeLabel` want `((1,), (2,))`: then
            3, "changed", has no direction, and voxels that nobody judged (4) must be set to 0 first.
        min_volume_mm3: smallest component that counts as a lesion, in mm3.
        min_iou: smallest intersection over union of a pair.

    Returns:
        (B, 1), float32, on the device of `y`.

        =====================  ==========
        case                   accuracy
        =====================  ==========
        both empty             NaN
        prediction empty       NaN
        reference empty        NaN
        no match               NaN
        reference unsigned     NaN
        =====================  ==========

    Raises:
        ValueError: maps not (B, 1, I, J, K) or of different shape; spacing of another shape; not two groups.

    Example:
        >>> labels = torch.zeros(1, 1, 6, 6, 6)
        >>> labels[..., :2, :2, :2] = 1
        >>> compute_direction_accuracy(5 * labels - labels, labels, spacing_mm=(1, 1, 1)).item()   # new called resolved
        0.0
    """
    if y.ndim != 5 or y.shape[1] != 1:
        raise ValueError(
            f"Expected label maps (B, 1, I, J, K), got y {tuple(y.shape)}: take the argmax of logits first."
        )

    def score(pred: np.ndarray, ref: np.ndarray, spacing: tuple[float, ...]) -> float:
        return share(
            *count_directions(
                pred, ref, spacing_mm=spacing, groups=groups, min_volume_mm3=min_volume_mm3, min_iou=min_iou
            )
        )

    return score_volumes(y_pred, y, spacing_mm, score)


class DirectionAccuracyMetric(MaskMetric):
    """Cumulative `compute_direction_accuracy`, for MONAI's evaluators.

    Args:
        spacing_mm: voxel size along I, J, K in mm; `metric(y_pred, y, spacing_mm=...)` overrides it for one call.
        groups: labels that mean gain, and labels that mean loss.
        min_volume_mm3: smallest component that counts as a lesion, in mm3.
        min_iou: smallest intersection over union of a pair.
        reduction: MONAI's reduction over (B, 1); NaN is left out.

    Example:
        >>> metric = DirectionAccuracyMetric(spacing_mm=(1, 1, 1))
        >>> _ = metric(y_pred=torch.ones(1, 1, 4, 4, 4), y=torch.ones(1, 1, 4, 4, 4))
        >>> metric.aggregate().item()
        1.0
    """

    def __init__(
        self,
        *,
        spacing_mm: Sequence[float],
        groups: Groups = BY_DIRECTION,
        min_volume_mm3: float = 3.0,
        min_iou: float = 0.1,
        reduction: str = "mean",
    ) -> None:
        super().__init__(spacing_mm=spacing_mm, reduction=reduction)
        self.groups = tuple(tuple(group) for group in groups)
        self.rule = {"min_volume_mm3": min_volume_mm3, "min_iou": min_iou}

    def _score(self, y_pred: torch.Tensor, y: torch.Tensor, spacing_mm: npt.ArrayLike) -> torch.Tensor:
        return compute_direction_accuracy(y_pred, y, spacing_mm=spacing_mm, groups=self.groups, **self.rule)


def _direction(labels: np.ndarray, groups: Groups) -> int:
    """1 if most of the voxels that have a direction gained, -1 if they lost, 0 for a tie or none."""
    gained, lost = (np.isin(labels, tuple(group)).sum() for group in groups)
    return int(np.sign(int(gained) - int(lost)))
