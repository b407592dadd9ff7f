# SPDX-License-Identifier: Apache-2.0
"""Distance in mm between the surfaces of two masks, or of each lesion and its partner."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance
from scipy import ndimage

from monai_microchange.metrics._mask_metric import NAN, MaskMetric, score_volumes
from monai_microchange.metrics.lesion_matching import LesionMatches, binary_volume, checked_spacing, match_lesions

__all__ = ["ChangeSurfaceMetric", "compute_change_surface", "lesion_surfaces_mm", "surface_mm"]

MEASURES = ("average", "hausdorff95")


def surface_mm(
    y_pred: npt.ArrayLike | torch.Tensor,
    y: npt.ArrayLike | torch.Tensor,
    *,
    spacing_mm: Sequence[float],
    measure: str = "average",
    one_empty_mm: float = NAN,
) -> float:
    """Distance between the surfaces of two masks, by MONAI.

    The surface of a mask is made of its voxels that have a face neighbour outside it.

    Args:
        y_pred: predicted mask (I, J, K), boolean or 0/1.
        y: reference mask, same shape.
        spacing_mm: voxel size along I, J, K in mm.
        measure: "average", over all surface voxels of both masks (average symmetric surface distance); "hausdorff95",
            the larger of the two 95th percentiles.
        one_empty_mm: value where only one mask is empty.

    Returns:
        Millimetres:

        =====================  ==============================
        case                   distance
        =====================  ==============================
        both empty             NaN
        prediction empty       `one_empty_mm`
        reference empty        `one_empty_mm`
        no common voxel        how far apart they are
        =====================  ==============================

        `one_empty_mm` is NaN unless said otherwise: there is no distance to nothing. A mean that leaves such cases out
        flatters whoever finds nothing: say how many they are, or give a penalty here.

    Raises:
        ValueError: masks of different shape, not 3D or not binary; spacing or measure that cannot be.

    Example:
        >>> pred, ref = np.zeros((2, 6, 6, 6), dtype=bool)
        >>> pred[0, 0, 0], ref[0, 0, 2] = True, True
        >>> surface_mm(pred, ref, spacing_mm=(1, 1, 3))
        6.0
    """
    if measure not in MEASURES:
        raise ValueError(f"measure must be one of {', '.join(MEASURES)}, got {measure!r}.")
    pred, ref = binary_volume(y_pred, "y_pred"), binary_volume(y, "y")
    if pred.shape != ref.shape:
        raise ValueError(f"y_pred has shape {pred.shape}, y {ref.shape}: resample both to one grid first.")
    spacing = checked_spacing(spacing_mm).tolist()
    if not (pred.any() and ref.any()):
        return one_empty_mm if pred.any() or ref.any() else NAN
    near = _bounding_box(pred | ref)
    one, other = (torch.from_numpy(mask[near].astype(np.float32))[None, None] for mask in (pred, ref))
    if measure == "average":
        distance = compute_average_surface_distance(
            one, other, include_background=True, symmetric=True, spacing=spacing
        )
    else:
        distance = compute_hausdorff_distance(one, other, include_background=True, percentile=95, spacing=spacing)
    return float(distance)


def lesion_surfaces_mm(matches: LesionMatches, *, spacing_mm: Sequence[float], measure: str = "average") -> np.ndarray:
    """`surface_mm` of each found lesion and its partner, (n_pairs,) in the order of `matches.pairs`; empty without any.

    Example:
        >>> mask = np.zeros((6, 6, 6), dtype=bool)
        >>> mask[1:3, 1:3, 1:3] = True
        >>> lesion_surfaces_mm(match_lesions(mask, mask, spacing_mm=(1, 1, 1)), spacing_mm=(1, 1, 1)).tolist()
        [0.0]
    """
    boxes = [ndimage.find_objects(labels) for labels in (matches.predicted_labels, matches.reference_labels)]
    distances = np.empty(len(matches.pairs))
    for n, (predicted, reference) in enumerate(matches.pairs):
        spans = zip(boxes[0][predicted - 1], boxes[1][reference - 1], strict=True)
        near = tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in spans)
        pred, ref = matches.predicted_labels[near] == predicted, matches.reference_labels[near] == reference
        distances[n] = surface_mm(pred, ref, spacing_mm=spacing_mm, measure=measure)
    return distances


def compute_change_surface(
    y_pred: torch.Tensor,
    y: torch.Tensor,
    *,
    spacing_mm: npt.ArrayLike,
    measure: str = "average",
    per_lesion: bool = False,
    one_empty_mm: float = NAN,
) -> torch.Tensor:
    """Surface distance in mm of each mask of a batch.

    Args:
        y_pred: predicted masks (B, C, I, J, K), boolean or 0/1; channels are scored apart, for example gain and loss.
        y: reference masks, same shape.
        spacing_mm: voxel size along I, J, K in mm: (3,) for all or (B, 3).
        measure: "average" or "hausdorff95", see `surface_mm`.
        per_lesion: give the median over the found lesions, each against its partner by `match_lesions`, rather than
            the distance of the whole masks. What was missed or is false does not enter.
        one_empty_mm: value where only one mask is empty; per lesion that has no meaning and the value is NaN.

    Returns:
        (B, C), float32, on the device of `y`.

        =====================  ==============  ===========
        case                   whole masks     per lesion
        =====================  ==============  ===========
        both empty             NaN             NaN
        prediction empty       `one_empty_mm`  NaN
        reference empty        `one_empty_mm`  NaN
        no match               as is           NaN
        =====================  ==============  ===========

    Raises:
        ValueError: as `surface_mm`; masks not (B, C, I, J, K); spacing of another shape.

    Example:
        >>> masks = torch.ones(1, 1, 4, 4, 4)
        >>> compute_change_surface(masks, masks, spacing_mm=(1, 1, 3)).item()
        0.0
    """

    def score(pred: np.ndarray, ref: np.ndarray, spacing: tuple[float, ...]) -> float:
        if not per_lesion:
            return surface_mm(pred, ref, spacing_mm=spacing, measure=measure, one_empty_mm=one_empty_mm)
        distances = lesion_surfaces_mm(
            match_lesions(pred, ref, spacing_mm=spacing), spacing_mm=spacing, measure=measure
        )
        return float(np.median(distances)) if len(distances) else NAN

    return score_volumes(y_pred, y, spacing_mm, score)


class ChangeSurfaceMetric(MaskMetric):
    """Cumulative `compute_change_surface`, for MONAI's evaluators.

    MONAI's own surface metrics take any spacing, none included, and give infinity or NaN on an empty mask; here both
    are said.

    Args:
        spacing_mm: voxel size along I, J, K in mm; `metric(y_pred, y, spacing_mm=...)` overrides it for one call.
        measure: "average" or "hausdorff95".
        per_lesion: median over the found lesions rather than the distance of the whole masks.
        one_empty_mm: value where only one mask is empty.
        reduction: MONAI's reduction over (B, C); NaN is left out.

    Raises:
        ValueError: a spacing, measure or reduction that cannot be.

    Example:
        >>> metric = ChangeSurfaceMetric(spacing_mm=(1, 1, 3), measure="hausdorff95")
        >>> _ = metric(y_pred=torch.ones(1, 1, 4, 4, 4), y=torch.ones(1, 1, 4, 4, 4))
        >>> metric.aggregate().item()
        0.0
    """

    def __init__(
        self,
        *,
        spacing_mm: Sequence[float],
        measure: str = "average",
        per_lesion: bool = False,
        one_empty_mm: float = NAN,
        reduction: str = "mean",
    ) -> None:
        super().__init__(spacing_mm=spacing_mm, reduction=reduction)
        if measure not in MEASURES:
            raise ValueError(f"measure must be one of {', '.join(MEASURES)}, got {measure!r}.")
        self.measure = measure
        self.per_lesion = per_lesion
        self.one_empty_mm = one_empty_mm

    def _score(self, y_pred: torch.Tensor, y: torch.Tensor, spacing_mm: npt.ArrayLike) -> torch.Tensor:
        return compute_change_surface(
            y_pred,
            y,
            spacing_mm=spacing_mm,
            measure=self.measure,
            per_lesion=self.per_lesion,
            one_empty_mm=self.one_empty_mm,
        )


def _bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """Slices about the voxels of a mask that is not empty."""
    spans = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    return tuple(slice(span[0], span[-1] + 1) for span in spans)
