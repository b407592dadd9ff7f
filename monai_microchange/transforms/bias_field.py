# SPDX-License-Identifier: Apache-2.0
"""The bias field of each scan by itself, by N4."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type

__all__ = ["CorrectBiasd", "n4_bias"]

DARK = 0.1
"""Voxels below this share of the median brightness inside the mask do not count: their logarithm is mostly noise."""


def n4_bias(
    image: torch.Tensor,
    mask: torch.Tensor,
    *,
    spacing_mm: float = 1.0,
    shrink_factor: int = 4,
    iterations: Sequence[int] = (50, 50, 50),
) -> torch.Tensor:
    """Logarithm of a scan's bias field, as SimpleITK's N4 finds it inside a mask.

    Args:
        image: (1, *spatial), 3D, isotropic.
        mask: (1, *spatial), what is not zero counts, unless it is dark.
        spacing_mm: voxel size.
        shrink_factor: the field is sought on a grid this many times coarser, along each axis that is long enough.
        iterations: at most so many at each level; each level halves the distance of the spline's knots.

    Returns:
        (1, *spatial), natural logarithm, of mean 0 inside the mask, no larger outside than inside; `image / exp(field)`
        is free of it.

    Raises:
        ValueError: if shapes differ, or nothing inside the mask is bright.

    Example:
        >>> image, mask = 1 + torch.rand(1, 24, 24, 24), torch.ones(1, 24, 24, 24)
        >>> ramp = torch.linspace(0.7, 1.4, 24).view(1, 24, 1, 1)
        >>> field = n4_bias(image * ramp, mask)
        >>> bool(field[0, -1].mean() - field[0, 0].mean() > 0.4)
        True

    Source: Tustison et al., 2010, N4ITK, doi 10.1109/TMI.2010.2046908.
    """
    if image.shape != mask.shape or image.ndim != 4:
        raise ValueError(
            f"expected a scan and a mask (1, I, J, K) on one grid; got {tuple(image.shape)} and {tuple(mask.shape)}"
        )
    values = np.ascontiguousarray(np.asarray(image, dtype=np.float32)[0])
    inside = np.asarray(mask)[0] > 0
    inside &= values > max(DARK * float(np.median(values[inside])), 0.0) if inside.any() else False
    if not inside.any():
        raise ValueError("nothing inside the mask is brighter than 0: is it the mask of this scan?")
    box = _box(inside)
    field = _n4_field(values[box], inside[box], spacing_mm, shrink_factor, iterations)
    field = field.clip(field[inside[box]].min(), field[inside[box]].max()) - field[inside[box]].mean()
    around = [(part.start, n - part.stop) for part, n in zip(box, values.shape, strict=True)]
    whole = np.pad(field, around, mode="edge")
    return convert_to_dst_type(torch.from_numpy(whole)[None], image, dtype=torch.float32)[0]


def _box(mask: np.ndarray) -> tuple[slice, ...]:
    """The box that holds all of a mask (I, J, K)."""
    ends = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))[[0, -1]] for axis in range(3)]
    return tuple(slice(int(first), int(last) + 1) for first, last in ends)


def _n4_field(
    values: np.ndarray, inside: np.ndarray, spacing_mm: float, shrink_factor: int, iterations: Sequence[int]
) -> np.ndarray:
    """Logarithm of the field (I, J, K) of a scan of this shape."""
    scan, region = (sitk.GetImageFromArray(part) for part in (values, inside.astype(np.uint8)))
    for part in (scan, region):
        part.SetSpacing([spacing_mm] * 3)
    # a short axis keeps enough voxels for N4's spline
    shrink = [max(min(shrink_factor, n // 6), 1) for n in scan.GetSize()]
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations([int(n) for n in iterations])
    n4.Execute(sitk.Shrink(scan, shrink), sitk.Shrink(region, shrink))
    return sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(scan))


class CorrectBiasd(MapTransform):
    """Divide each scan by its own bias field, as `n4_bias` finds it.

    Each scan is treated by itself and alike, so exchanging the visits exchanges the results.

    Args:
        keys: scans (1, *spatial) on one isotropic grid.
        mask_key: where the brain mask (1, *spatial) is.
        spacing_mm: voxel size of the grid.
        shrink_factor: as in `n4_bias`.
        iterations: as in `n4_bias`.
        suffix: added to each key for its result; empty puts the result in the scan's place.

    Returns:
        A copy of the data with the corrected scans.
    """

    def __init__(
        self,
        keys: KeysCollection,
        mask_key: str = "brain",
        *,
        spacing_mm: float = 1.0,
        shrink_factor: int = 4,
        iterations: Sequence[int] = (50, 50, 50),
        suffix: str = "",
    ):
        super().__init__(keys)
        if spacing_mm <= 0 or shrink_factor < 1 or not iterations:
            raise ValueError(
                "expected spacing_mm above 0, shrink_factor of at least 1 and iterations of at least one level; got "
                f"{spacing_mm}, {shrink_factor} and {list(iterations)}"
            )
        self.mask_key = mask_key
        self.spacing_mm = spacing_mm
        self.shrink_factor = shrink_factor
        self.iterations = tuple(iterations)
        self.suffix = suffix

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Correct every key of `data`."""
        out = dict(data)
        mask = torch.as_tensor(out[self.mask_key])
        options: dict[str, Any] = {name: getattr(self, name) for name in ("spacing_mm", "shrink_factor", "iterations")}
        for key in self.key_iterator(out):
            field = n4_bias(torch.as_tensor(out[key]), mask, **options)
            out[f"{key}{self.suffix}"] = out[key] * torch.exp(-torch.as_tensor(field))
        return out
