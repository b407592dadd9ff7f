# SPDX-License-Identifier: Apache-2.0
"""Average precision of lesions over their confidence."""

import numpy as np
import torch

from monai_microchange.metrics.lesion_candidates import CandidateMetric, LesionCandidates

__all__ = ["LesionAveragePrecisionMetric", "compute_lesion_average_precision", "counts_by_confidence"]

NAN = float("nan")


def counts_by_confidence(candidates: LesionCandidates) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True and false lesions that are at least as confident as each threshold.

    Returns:
        Thresholds (n,), every confidence that occurs, falling; true and false lesions at each, (n,). Lesions of equal
        confidence enter together, so their order does not matter.

    Example:
        >>> some = LesionCandidates([0.9, 0.5, 0.5, 0.2], [True, False, True, False], n_reference=3)
        >>> [column.tolist() for column in counts_by_confidence(some)]
        [[0.9, 0.5, 0.2], [1, 2, 2], [0, 1, 2]]
    """
    order = np.argsort(-candidates.confidence, kind="stable")
    confidence, is_true = candidates.confidence[order], candidates.is_true[order]
    last = np.flatnonzero(np.append(np.diff(confidence) != 0, True))[: len(confidence)]  # of each run of equals
    return confidence[last], np.cumsum(is_true)[last], np.cumsum(~is_true)[last]


def compute_lesion_average_precision(candidates: LesionCandidates) -> float:
    """Area under precision over sensitivity as the threshold on confidence falls, all points interpolated.

    Precision at a sensitivity is the best that any threshold reaches with at least that sensitivity, as in PASCAL VOC
    since 2010 (Everingham et al., 2015, doi 10.1007/s11263-014-0733-5, section 4.2) and, but for its 101 sampled
    points, in COCO. Sensitivity that no threshold reaches adds nothing: a lesion that is not on the list counts as
    missed. Only what the detector reported is ranked, so a list that was cut at an operating point ends there.

    Args:
        candidates: predicted lesions of all pairs.

    Returns:
        0 to 1:

        =====================  ====
        case                   AP
        =====================  ====
        both empty             NaN
        prediction empty       0
        reference empty        NaN
        no match               0
        =====================  ====

    Example:
        >>> round(compute_lesion_average_precision(LesionCandidates([0.9, 0.8, 0.7], [1, 0, 1], n_reference=2)), 3)
        0.833
    """
    if candidates.n_reference == 0:
        return NAN
    _, n_true, n_false = counts_by_confidence(candidates)
    precision = n_true / np.maximum(n_true + n_false, 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(n_true, prepend=0) * best_from_here) / candidates.n_reference)


class LesionAveragePrecisionMetric(CandidateMetric):
    """Cumulative `compute_lesion_average_precision`, for MONAI's evaluators; used as `CandidateMetric` says.

    Example:
        >>> metric = LesionAveragePrecisionMetric(spacing_mm=(1, 1, 1))
        >>> _ = metric(y_pred=torch.full((1, 1, 4, 4, 4), 0.7), y=torch.ones(1, 1, 4, 4, 4))
        >>> metric.aggregate().item()
        1.0
    """

    def _value(self, candidates: LesionCandidates) -> torch.Tensor:
        return torch.tensor(compute_lesion_average_precision(candidates), dtype=torch.float32)
