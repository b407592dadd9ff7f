# SPDX-License-Identifier: Apache-2.0
"""One scale of grey values for both visits, fixed at what they agree on: the tissues."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type

from monai_microchange.enums import VISITS, Anatomy

__all__ = ["StandardizeTissuesd", "common_tissue_scale", "map_grey_values", "tissue_levels"]

TISSUES = (
    (Anatomy.VENTRICLE, Anatomy.OUTER_CSF),
    (Anatomy.WHITE_MATTER,),
    (Anatomy.CORTEX, Anatomy.DEEP_GREY),
)
"""Cerebrospinal fluid, white matter, grey matter: the labels of each."""

LEAST_STEP = 0.05
"""Tissues closer than this share of the whole spread, in either visit, count as one: such a step is mostly noise."""


def tissue_levels(image: torch.Tensor, anatomy: torch.Tensor) -> np.ndarray:
    """Median brightness of cerebrospinal fluid, white matter and grey matter.

    Lesions fill far less than half of a tissue, so they do not move its median.

    Args:
        image: (1, *spatial).
        anatomy: `Anatomy` labels (1, *spatial).

    Returns:
        (3,), in the scan's units; NaN for a tissue with less than 100 voxels.

    Example:
        >>> image = torch.arange(600.0).view(1, 6, 10, 10)
        >>> anatomy = torch.tensor([0, 0, 1, 2, 4, 6]).view(1, 6, 1, 1).expand(1, 6, 10, 10)
        >>> tissue_levels(image, anatomy).tolist()
        [499.5, 249.5, 349.5]
    """
    values, labels = np.asarray(image, dtype=np.float64), np.asarray(anatomy)
    parts = [values[np.isin(labels, tissue)] for tissue in TISSUES]
    return np.array([np.median(part) if part.size >= 100 else np.nan for part in parts])


def common_tissue_scale(baseline: np.ndarray, followup: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which grey values of two visits should become the same, and what they should become.

    The spread of each visit's levels is brought to the geometric mean of both spreads, then the levels are averaged.
    Neither visit is mapped onto the other.

    Args:
        baseline: levels of tissues (T,), in the baseline's units.
        followup: levels of the same tissues (T,), in the follow-up's.

    Returns:
        Levels in the baseline, levels in the follow-up, and common ones, (L,) each and rising, 2 <= L <= T. Tissues
        whose order the visits disagree on, or that lie too close to tell, are one level: their mean.

    Raises:
        ValueError: if less than two levels are left.

    Example:
        >>> one, other = np.array([10.0, 50.0, 70.0]), np.array([40.0, 240.0, 280.0])
        >>> [levels.tolist() for levels in common_tissue_scale(one, other)]
        [[10.0, 50.0, 70.0], [40.0, 240.0, 280.0], [20.0, 110.0, 140.0]]
    """
    levels = np.stack([baseline, followup])
    levels = levels[:, np.isfinite(levels).all(axis=0)]
    if levels.shape[1] < 2:
        raise ValueError(
            "expected at least two of cerebrospinal fluid, white and grey matter in both scans; got levels "
            f"{np.round(baseline, 3).tolist()} and {np.round(followup, 3).tolist()}"
        )
    spread = np.ptp(levels, axis=1, keepdims=True)
    if (spread <= 0).any():
        raise ValueError(f"the tissues of a scan all have one brightness, {levels.round(3).tolist()}: is it a scan?")
    order = np.argsort((levels / spread).sum(axis=0), kind="stable")
    groups = [[int(order[0])]]
    for tissue in order[1:]:
        step = (levels[:, tissue] - levels[:, groups[-1]].mean(axis=1)) / spread[:, 0]
        if (step >= LEAST_STEP).all():
            groups.append([int(tissue)])
        else:
            groups[-1].append(int(tissue))
    merged = np.stack([levels[:, group].mean(axis=1) for group in groups], axis=1)
    if merged.shape[1] < 2 or (np.diff(merged, axis=1) <= 0).any():
        raise ValueError(
            "the two scans do not agree on which tissue is the brighter one: expected one contrast, got levels "
            f"{np.round(baseline, 3).tolist()} and {np.round(followup, 3).tolist()}"
        )
    span = np.ptp(merged, axis=1)
    common_span = np.sqrt(span[0] * span[1])
    scaled = merged * (common_span / span)[:, None]
    return merged[0], merged[1], (scaled[0] + scaled[1]) / 2


def map_grey_values(image: torch.Tensor, source: np.ndarray, target: np.ndarray) -> torch.Tensor:
    """Map grey values so that each source level becomes its target level.

    Straight between neighbouring levels. Beyond the outermost ones the slope is that of the whole range, since a short
    last step would throw bright lesions anywhere.

    Args:
        image: (C, *spatial).
        source: rising levels (L,), L >= 2.
        target: rising levels (L,).

    Returns:
        (C, *spatial), float32; order of grey values is kept.

    Raises:
        ValueError: if the levels do not rise.

    Example:
        >>> map_grey_values(torch.tensor([[0.0, 1.0, 2.0, 3.0, 5.0]]), np.array([1.0, 2.0, 3.0]), np.array([0.0, 3, 4]))
        tensor([[-2.,  0.,  3.,  4.,  8.]])
    """
    for levels in (source, target):
        if len(levels) != len(source) or len(levels) < 2 or not (np.diff(levels) > 0).all():
            raise ValueError(f"expected rising levels, two or more, as many of each; got {source} and {target}")
    slope = (target[-1] - target[0]) / (source[-1] - source[0])
    values = np.asarray(image, dtype=np.float64)
    mapped = np.interp(values, source, target)
    mapped += slope * (np.minimum(values - source[0], 0) + np.maximum(values - source[-1], 0))
    return convert_to_dst_type(torch.from_numpy(mapped), image, dtype=torch.float32)[0]


class StandardizeTissuesd(MapTransform):
    """Bring two visits to one scale of grey values, fixed at the median brightness of their tissues.

    See `tissue_levels`, `common_tissue_scale` and `map_grey_values`. The order of grey values is kept, so nothing that
    stands out of its tissue disappears.

    Args:
        keys: two keys: baseline and follow-up, (1, *spatial) on one grid.
        anatomy_key: where the `Anatomy` labels (1, *spatial) of both are, as `MergeAnatomyd` adds them.
        suffix: added to each key for its result; empty puts the result in the scan's place.

    Returns:
        A copy of the data with the mapped scans.

    Raises:
        ValueError: if there are not two keys, or the tissues of the scans have no common order.
        KeyError: if there is no anatomy.

    Example:
        >>> anatomy = torch.randint(0, 7, (1, 16, 16, 16))
        >>> scan = 10.0 + anatomy
        >>> data = {"baseline": scan, "followup": 4 * scan, "anatomy": anatomy}
        >>> out = StandardizeTissuesd()(data)
        >>> torch.equal(out["baseline"], out["followup"]), torch.allclose(out["baseline"], 2 * scan)
        (True, True)

    Source: the piecewise linear scale of Nyul, Udupa and Zhang, 2000, doi 10.1109/42.836373, with tissues for landmarks
    in place of percentiles of the histogram, and both visits for the training set.
    """

    def __init__(self, keys: KeysCollection = VISITS, anatomy_key: str = "anatomy", *, suffix: str = ""):
        super().__init__(keys)
        if len(self.keys) != 2:
            raise ValueError(f"expected the keys of baseline and follow-up, got {self.keys}")
        self.anatomy_key = anatomy_key
        self.suffix = suffix

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Standardise the two scans in `data`."""
        out = dict(data)
        anatomy = out[self.anatomy_key]
        *sources, target = common_tissue_scale(*(tissue_levels(out[key], anatomy) for key in self.keys))
        for key, source in zip(self.keys, sources, strict=True):
            out[f"{key}{self.suffix}"] = map_grey_values(out[key], source, target)
        return out
