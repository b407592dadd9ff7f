# SPDX-License-Identifier: Apache-2.0
"""The only place that pairs lesions: components of a prediction against components of a reference, one to one."""

from collections.abc import Sequence
from dataclasses import dataclass

import cc3d
import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import linear_sum_assignment

__all__ = ["LesionMatches", "binary_volume", "checked_spacing", "label_components", "match_lesions"]


@dataclass(frozen=True)
class LesionMatches:
    """Which lesion of the prediction is which lesion of the reference.

    A lesion is named by its label, 1 to n, in `predicted_labels` or `reference_labels`; 0 there is background and
    components that are too small. Its volume stands at `volumes_mm3[label - 1]`.

    Attributes:
        pairs: (n_pairs, 2) labels (predicted, reference) that were found to be the same lesion, by reference label.
        pair_iou: (n_pairs,) intersection over union of each pair.
        missed: (n_missed,) reference labels without a partner.
        false: (n_false,) predicted labels without a partner.
        predicted_labels: (I, J, K) components of the prediction.
        reference_labels: (I, J, K) components of the reference.
        predicted_volumes_mm3: (n_predicted,) volume of each predicted lesion.
        reference_volumes_mm3: (n_reference,) volume of each reference lesion.
    """

    pairs: np.ndarray
    pair_iou: np.ndarray
    missed: np.ndarray
    false: np.ndarray
    predicted_labels: np.ndarray
    reference_labels: np.ndarray
    predicted_volumes_mm3: np.ndarray
    reference_volumes_mm3: np.ndarray

    @property
    def n_predicted(self) -> int:
        """Number of lesions in the prediction."""
        return len(self.predicted_volumes_mm3)

    @property
    def n_reference(self) -> int:
        """Number of lesions in the reference."""
        return len(self.reference_volumes_mm3)

    @property
    def n_found(self) -> int:
        """Number of pairs."""
        return len(self.pairs)


def match_lesions(
    y_pred: npt.ArrayLike | torch.Tensor,
    y: npt.ArrayLike | torch.Tensor,
    *,
    spacing_mm: Sequence[float],
    min_volume_mm3: float = 3.0,
    min_iou: float = 0.1,
) -> LesionMatches:
    """Pair the lesions of two masks one to one.

    Both masks are cut into 26-connected components; those below `min_volume_mm3` are dropped on either side. Pairs
    with an IoU below `min_iou` are not admitted; among the others the assignment with the largest sum of IoU is taken
    (Kuhn 1955, doi 10.1002/nav.3800020109). One prediction that covers two lesions finds one of them, and two
    fragments of one lesion find it once: the rest counts as missed or false. Rules that ask only for some coverage
    reward fragments and blobs.

    Args:
        y_pred: predicted mask (I, J, K), boolean or 0/1.
        y: reference mask, same shape.
        spacing_mm: voxel size along I, J, K in mm.
        min_volume_mm3: smallest component that counts as a lesion, in mm3.
        min_iou: smallest intersection over union of a pair, in (0, 1].

    Returns:
        Pairs, what is left over on either side, label maps and volumes. An empty mask has no lesions: no pairs, all
        lesions of the other one missed or false.

    Raises:
        ValueError: masks of different shape, not 3D or not binary; spacing, volume or IoU out of range.

    Example:
        >>> pred, ref = np.zeros((2, 8, 8, 8), dtype=bool)
        >>> ref[1:3, 1:3, 1:3] = True      # 8 mm3, found with one layer too much
        >>> pred[1:4, 1:3, 1:3] = True
        >>> ref[6:8, 6:8, 6] = True        # 4 mm3, missed
        >>> m = match_lesions(pred, ref, spacing_mm=(1, 1, 1))
        >>> m.pairs.tolist(), m.pair_iou.round(3).tolist(), m.missed.tolist(), m.false.tolist()
        ([[1, 1]], [0.667], [2], [])
    """
    if not 0 < min_iou <= 1:
        raise ValueError(f"min_iou must lie in (0, 1], got {min_iou}; 0 would pair lesions that do not touch.")
    y_pred, y = binary_volume(y_pred, "y_pred"), binary_volume(y, "y")
    if y_pred.shape != y.shape:
        raise ValueError(f"y_pred has shape {y_pred.shape}, y {y.shape}: resample both to one grid first.")
    predicted, n_predicted = label_components(y_pred, spacing_mm=spacing_mm, min_volume_mm3=min_volume_mm3)
    reference, n_reference = label_components(y, spacing_mm=spacing_mm, min_volume_mm3=min_volume_mm3)
    predicted_size = np.bincount(predicted.ravel(), minlength=n_predicted + 1)[1:]
    reference_size = np.bincount(reference.ravel(), minlength=n_reference + 1)[1:]

    overlap = _overlaps(predicted, reference)
    iou = overlap[:, 2] / (predicted_size[overlap[:, 0] - 1] + reference_size[overlap[:, 1] - 1] - overlap[:, 2])
    admitted = iou >= min_iou
    pairs, pair_iou = _assign(overlap[admitted, :2], iou[admitted])
    voxel_mm3 = float(np.prod(checked_spacing(spacing_mm)))
    return LesionMatches(
        pairs=pairs,
        pair_iou=pair_iou,
        missed=np.setdiff1d(np.arange(1, n_reference + 1), pairs[:, 1]),
        false=np.setdiff1d(np.arange(1, n_predicted + 1), pairs[:, 0]),
        predicted_labels=predicted,
        reference_labels=reference,
        predicted_volumes_mm3=predicted_size * voxel_mm3,
        reference_volumes_mm3=reference_size * voxel_mm3,
    )


def label_components(
    mask: np.ndarray, *, spacing_mm: Sequence[float], min_volume_mm3: float = 3.0
) -> tuple[np.ndarray, int]:
    """Number the 26-connected components (I, J, K) that hold at least `min_volume_mm3`.

    Returns:
        Labels 1 to n (uint32) without gaps, in scanning order, 0 elsewhere; and n. An empty mask gives zeros and 0.

    Raises:
        ValueError: `spacing_mm` is not three positive numbers, or `min_volume_mm3` is negative.

    Example:
        >>> mask = np.zeros((5, 5, 5), dtype=bool)
        >>> mask[0, 0, 0] = mask[1, 1, 1] = mask[4, 4, 4] = True   # two that touch at a corner, and one alone
        >>> labels, n = label_components(mask, spacing_mm=(1, 1, 2))
        >>> n, int(labels[1, 1, 1]), int(labels[4, 4, 4])
        (1, 1, 0)
    """
    if not min_volume_mm3 >= 0:
        raise ValueError(f"min_volume_mm3 must be at least 0, got {min_volume_mm3}.")
    voxel_mm3 = float(np.prod(checked_spacing(spacing_mm)))
    labels = cc3d.connected_components(np.ascontiguousarray(mask, dtype=np.uint8), connectivity=26, out_dtype=np.uint32)
    # Spacings come from single-precision headers: 2.999999 mm3 is meant to be 3.
    keep = np.bincount(labels.ravel()) * voxel_mm3 >= min_volume_mm3 * (1 - 1e-5)
    keep[0] = False
    renumber = np.where(keep, np.cumsum(keep), 0).astype(np.uint32)
    return renumber[labels], int(keep.sum())


def checked_spacing(spacing_mm: Sequence[float]) -> np.ndarray:
    """Spacing (3,) as float64.

    Raises:
        ValueError: not three positive, finite numbers.
    """
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    if spacing.shape != (3,) or not np.all(np.isfinite(spacing)) or np.any(spacing <= 0):
        raise ValueError(f"spacing_mm must be three positive numbers (along I, J, K in mm), got {spacing_mm!r}.")
    return spacing


def binary_volume(mask: npt.ArrayLike | torch.Tensor, name: str) -> np.ndarray:
    """The mask as boolean array (I, J, K); `name` is how messages call it.

    Raises:
        ValueError: not 3D, or values other than 0 and 1 (probabilities and label maps are not thresholded here).
    """
    array = mask.detach().cpu().numpy() if isinstance(mask, torch.Tensor) else np.asarray(mask)
    if array.ndim != 3:
        raise ValueError(f"{name} must be one mask (I, J, K), got shape {array.shape}.")
    if array.dtype == bool:
        return array
    binary = array == 1
    if np.any((array != 0) & ~binary):
        raise ValueError(
            f"{name} must hold only 0 and 1, got values from {array.min()} to {array.max()}: "
            "threshold probabilities, or compare labels with what counts as lesion (`labels > 0`), first."
        )
    return binary


def _overlaps(predicted: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Rows (predicted label, reference label, shared voxels) of all that meet, (n, 3)."""
    both = (predicted > 0) & (reference > 0)
    met, count = np.unique(np.stack([predicted[both], reference[both]], axis=1), axis=0, return_counts=True)
    return np.concatenate([met.astype(np.int64), count[:, None]], axis=1)


def _assign(candidates: np.ndarray, iou: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best total IoU over admitted pairs (n, 2): the chosen pairs, ordered by reference label, and their IoU."""
    # Only lesions with a candidate enter the matrix, so that thousands of false specks cost nothing.
    predicted, row_of = np.unique(candidates[:, 0], return_inverse=True)
    reference, column_of = np.unique(candidates[:, 1], return_inverse=True)
    gain = np.zeros((len(reference), len(predicted)))
    gain[column_of, row_of] = iou
    chosen_reference, chosen_predicted = linear_sum_assignment(gain, maximize=True)
    real = gain[chosen_reference, chosen_predicted] > 0  # the solver also fills up with pairs that were not admitted
    rows, columns = chosen_reference[real], chosen_predicted[real]
    return np.stack([predicted[columns], reference[rows]], axis=1), gain[rows, columns]
