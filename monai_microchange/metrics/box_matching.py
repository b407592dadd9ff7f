# SPDX-License-Identifier: Apache-2.0
"""Pairing of boxes, one to one by IoU and in the order of confidence: the rule for detection."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["BoxMatches", "box_ious", "match_boxes"]


@dataclass(frozen=True, eq=False)
class BoxMatches:
    """Which predicted box is which reference box, by their indices.

    Attributes:
        pairs: (n_pairs, 2) indices (predicted, reference), the surest first.
        pair_iou: (n_pairs,) intersection over union of each pair.
        missed: (n_missed,) indices of reference boxes without a partner.
        false: (n_false,) indices of predicted boxes without a partner.
        is_true: (n_predicted,) bool, whether each predicted box has a partner, as `LesionCandidates` wants it.
    """

    pairs: np.ndarray
    pair_iou: np.ndarray
    missed: np.ndarray
    false: np.ndarray
    is_true: np.ndarray


def match_boxes(
    y_pred: npt.ArrayLike, y: npt.ArrayLike, *, confidence: npt.ArrayLike, min_iou: float = 0.1
) -> BoxMatches:
    """Pair boxes one to one: the surest prediction first takes the reference box that it overlaps most.

    This is the rule of COCO (Lin et al., 2014, doi 10.1007/978-3-319-10602-1_48), without crowds and area ranges: a
    box that is taken is gone, so a second prediction of one lesion is false. Among equally sure predictions, and among
    reference boxes of equal IoU, the one listed first comes first.

    Args:
        y_pred: predicted boxes (N, 6), axis-aligned, in mm: least x, y, z, then greatest x, y, z.
        y: reference boxes (M, 6), in the same frame.
        confidence: (N,) of the predicted boxes.
        min_iou: smallest intersection over union of a pair, in (0, 1].

    Returns:
        The pairs and what is left over. Without boxes on one side nothing matches, all on the other is missed or false.

    Raises:
        ValueError: boxes that are not (N, 6), not finite or without volume; another number of confidences, or one that
            is not a number; IoU out of range.

    Example:
        >>> pred = [[0, 0, 0, 2, 2, 2], [0, 0, 0, 2, 2, 3], [9, 9, 9, 10, 10, 10]]
        >>> m = match_boxes(pred, [[0, 0, 0, 2, 2, 2]], confidence=[0.5, 0.9, 0.7])
        >>> m.pairs.tolist(), m.pair_iou.round(3).tolist(), m.false.tolist(), m.is_true.tolist()
        ([[1, 0]], [0.667], [0, 2], [False, True, False])
    """
    if not 0 < min_iou <= 1:
        raise ValueError(f"min_iou must lie in (0, 1], got {min_iou}; 0 would pair boxes that do not touch.")
    pred, ref = _checked_boxes(y_pred, "y_pred"), _checked_boxes(y, "y")
    sure = np.asarray(confidence, dtype=np.float64)
    if sure.shape != (len(pred),) or np.isnan(sure).any():
        raise ValueError(f"confidence must hold {len(pred)} numbers, one a predicted box, got shape {sure.shape}.")
    iou, free, pairs = box_ious(pred, ref), np.ones(len(ref), dtype=bool), []
    for index in np.argsort(-sure, kind="stable"):
        left = np.where(free & (iou[index] >= min_iou), iou[index], 0.0)
        if left.any():
            best = int(left.argmax())
            free[best] = False
            pairs.append((int(index), best))
    chosen = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    is_true = np.isin(np.arange(len(pred)), chosen[:, 0])
    return BoxMatches(
        pairs=chosen,
        pair_iou=iou[chosen[:, 0], chosen[:, 1]],
        missed=np.flatnonzero(free),
        false=np.flatnonzero(~is_true),
        is_true=is_true,
    )


def box_ious(y_pred: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Intersection over union (N, M) of boxes (N, 6) and (M, 6).

    MONAI's `box_iou` adds a small number to each union, so that an IoU of just the threshold would fall below it.

    >>> box_ious(np.array([[0, 0, 0, 1, 1, 2]]), np.array([[0, 0, 1, 1, 1, 3]])).round(3).tolist()
    [[0.333]]
    """
    low, high = np.maximum(y_pred[:, None, :3], y[None, :, :3]), np.minimum(y_pred[:, None, 3:], y[None, :, 3:])
    shared = np.prod(np.clip(high - low, 0, None), axis=-1)
    volumes = [np.prod(boxes[:, 3:] - boxes[:, :3], axis=-1) for boxes in (y_pred, y)]
    return shared / (volumes[0][:, None] + volumes[1][None, :] - shared)


def _checked_boxes(given: npt.ArrayLike, name: str) -> np.ndarray:
    boxes = np.asarray(given, dtype=np.float64)
    boxes = boxes.reshape(0, 6) if boxes.size == 0 else boxes
    if boxes.ndim != 2 or boxes.shape[1] != 6 or not np.isfinite(boxes).all():
        raise ValueError(f"{name} must be finite boxes (N, 6) in mm, got shape {boxes.shape}.")
    if np.any(boxes[:, 3:] <= boxes[:, :3]):
        raise ValueError(f"{name}: each box must go from its least x, y, z to greater ones; one has no volume.")
    return boxes
