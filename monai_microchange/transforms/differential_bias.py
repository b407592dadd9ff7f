# SPDX-License-Identifier: Apache-2.0
"""The smooth ratio between two aligned scans, and its removal from both by halves."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type
from scipy.interpolate import BSpline
from scipy.linalg import cho_factor, cho_solve
from scipy.linalg.blas import dsyrk

from monai_microchange.enums import VISITS

__all__ = ["BalanceBiasd", "differential_bias"]

BLOCK_MM = 5.0
"""Side of the blocks whose median log ratio is fitted: fine against the field, coarse enough to tame noise."""

LEAST_BLOCKS = 100
"""Fewer are too few to tell a field from a lesion."""

DARK = 0.1
"""Voxels below this share of a visit's median brightness tell nothing of a ratio."""

ROUNDS = (*("huber",) * 3, *("tukey",) * 12)
"""Weights of each round of the fit: first ones that forgive a bad start, then ones that forget outliers."""

SETTLED = 1e-4
"""A fit that moves by less than this (log units) is done."""

LEAST_SPREAD = 1e-4
"""Of residuals, in log units: below it all agree, and nothing is an outlier."""

SMOOTHING = 1e-3
"""Weight of the roughness penalty against the data: it only decides where there are none."""


def differential_bias(
    baseline: torch.Tensor,
    followup: torch.Tensor,
    mask: torch.Tensor,
    *,
    spacing_mm: float = 1.0,
    knots_mm: float = 40.0,
) -> torch.Tensor:
    """Smooth part of log(followup / baseline) inside a mask: what the scanners, not the patient, changed.

    Medians of the log ratio in 5 mm blocks are fitted with a cubic B-spline by reweighted least squares. What does not
    fit the smooth field, such as a lesion that came or went, loses its weight. Exchanging the scans changes nothing but
    the sign.

    Args:
        baseline: (1, *spatial), 3D, isotropic.
        followup: (1, *spatial) on the same grid; the units need not agree.
        mask: (1, *spatial), what is not zero counts, unless either scan is dark there (CSF in FLAIR, air).
        spacing_mm: voxel size.
        knots_mm: distance of the spline's knots; the field cannot follow anything smaller.

    Returns:
        (1, *spatial), natural logarithm, no larger outside the mask than inside. `followup * exp(-field / 2)` and
        `baseline * exp(field / 2)` are free of it. With fewer than 100 blocks bright in both scans, too few to tell a
        field from a lesion, it is their median everywhere; without any, 0.

    Raises:
        ValueError: if shapes differ, or an option is not above 0.

    Example:
        >>> scan, mask = 1 + torch.rand(1, 24, 24, 24), torch.ones(1, 24, 24, 24)
        >>> field = differential_bias(scan, 3 * scan, mask)
        >>> bool(torch.allclose(field, torch.full_like(field, 3.0).log(), atol=1e-3))
        True

    Source: Lewis and Fox, 2004, "Correction of differential intensity inhomogeneity in longitudinal MR images", doi
    10.1016/j.neuroimage.2004.04.030. There a running median of the log ratio is the field; here a robust spline, since
    the median of a window follows any lesion that fills half of it. The penalty is that of Eilers and Marx, 1996, doi
    10.1214/ss/1038425655.
    """
    if baseline.shape != followup.shape or baseline.shape != mask.shape or baseline.ndim != 4:
        shapes = [tuple(image.shape) for image in (baseline, followup, mask)]
        raise ValueError(f"expected two scans and a mask (1, I, J, K) on one grid; got {shapes}")
    if spacing_mm <= 0 or knots_mm <= 0:
        raise ValueError(f"spacing_mm and knots_mm must be above 0; got {spacing_mm} and {knots_mm}")
    ratio = _log_ratio(*(np.asarray(image, dtype=np.float64)[0] for image in (baseline, followup, mask)))
    side = max(round(BLOCK_MM / spacing_mm), 1)
    medians, blocks = _block_medians(ratio, side)
    if len(medians) < LEAST_BLOCKS:
        return torch.full_like(baseline, float(np.median(medians)) if len(medians) else 0.0, dtype=torch.float32)
    centres = blocks * side + (side - 1) / 2
    axes = list(zip(ratio.shape, centres.T, strict=True))
    bases = [_spline_basis(np.arange(n), at.min(), at.max(), knots_mm / spacing_mm) for n, at in axes]
    parts = [_spline_basis(at, at.min(), at.max(), knots_mm / spacing_mm) for _, at in axes]
    design = np.einsum("na,nb,nc->nabc", *parts).reshape(len(medians), -1)
    sizes = [basis.shape[1] for basis in bases]
    coefficients, fitted = _robust_fit(design, medians, _roughness(sizes))
    field = np.einsum("ia,jb,kc,abc->ijk", *bases, coefficients.reshape(sizes), optimize=True)
    field = field.clip(fitted.min(), fitted.max())  # where there are no data a spline runs away
    return convert_to_dst_type(torch.from_numpy(field)[None], baseline, dtype=torch.float32)[0]


def _log_ratio(baseline: np.ndarray, followup: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Of what is bright in both scans (I, J, K), NaN elsewhere."""
    bright = mask > 0
    for scan in (baseline, followup):
        inside = scan[mask > 0]
        bright = bright & (scan > max(DARK * float(np.median(inside)), 0.0)) if inside.size else bright
    ratio = np.full(baseline.shape, np.nan)
    ratio[bright] = np.log(followup[bright]) - np.log(baseline[bright])
    return ratio


def _block_medians(values: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Median of the numbers in each block that is at least half full (N,), and its indices (N, 3)."""
    padded = np.pad(values, [(0, -n % side) for n in values.shape], constant_values=np.nan)
    counts = [n // side for n in padded.shape]
    # (I, J, K) -> (blocks, voxels of a block)
    blocks = padded.reshape(counts[0], side, counts[1], side, counts[2], side).transpose(0, 2, 4, 1, 3, 5)
    blocks = blocks.reshape(-1, side**3)
    full = 2 * np.isfinite(blocks).sum(axis=1) >= side**3
    return np.nanmedian(blocks[full], axis=1), np.argwhere(full.reshape(counts))


def _spline_basis(at: np.ndarray, low: float, high: float, knot_distance: float) -> np.ndarray:
    """Cubic B-splines at places along an axis (n, n_splines), symmetric about the middle of low to high.

    Places before or beyond those take the values at the ends.
    """
    intervals = max(int(np.ceil((high - low) / knot_distance)), 1)
    knots = (low + high) / 2 + knot_distance * (np.arange(intervals + 7) - (intervals + 6) / 2)
    return BSpline.design_matrix(np.clip(at, low, high).astype(float), knots, 3).toarray()


def _roughness(shape: list[int]) -> np.ndarray:
    """Sum of squared second differences of coefficients along each axis, as a matrix (P, P)."""
    total = np.zeros((np.prod(shape), np.prod(shape)))
    for axis, n in enumerate(shape):
        second = np.diff(np.eye(n), n=2, axis=0)
        parts = [second.T @ second if a == axis else np.eye(m) for a, m in enumerate(shape)]
        total += np.kron(np.kron(parts[0], parts[1]), parts[2])
    return total


def _robust_fit(design: np.ndarray, values: np.ndarray, roughness: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (P,), and values that they give (N,), by least squares in which what does not fit loses weight."""
    middle = float(np.median(values))  # the fit is about it; B-splines sum to 1 everywhere, so it can be added back
    penalty = SMOOTHING * len(values) / len(roughness) * roughness + 1e-9 * len(values) * np.eye(len(roughness))
    fitted = np.zeros_like(values)
    for kind in ROUNDS:
        residual = np.abs(values - middle - fitted)
        weight = _weights(kind, residual / max(1.4826 * float(np.median(residual)), LEAST_SPREAD))
        weighted = design * np.sqrt(weight)[:, None]
        normal = dsyrk(1.0, weighted, trans=1, lower=1)
        coefficients = cho_solve(cho_factor(normal + penalty, lower=True), design.T @ (weight * (values - middle)))
        before, fitted = fitted, design @ coefficients
        if kind == "tukey" and np.abs(fitted - before).max() < SETTLED:
            break
    return coefficients + middle, fitted + middle


def _weights(kind: str, residual: np.ndarray) -> np.ndarray:
    """Of residuals in robust standard deviations; the constants cost 5 % where there are no outliers."""
    if kind == "huber":
        return 1 / np.maximum(residual / 1.345, 1)
    return (1 - np.minimum(residual / 4.685, 1) ** 2) ** 2


class BalanceBiasd(MapTransform):
    """Take the smooth ratio between two aligned visits out of both, half from each.

    What changed fast, such as lesions, stays; so does the bias field that both share. See `differential_bias`.

    Args:
        keys: scans (1, *spatial) on one isotropic grid: the baseline's, then as many of the follow-up's, in one order.
        mask_key: where the brain mask (1, *spatial) is.
        spacing_mm: voxel size of the grid.
        knots_mm: distance of the spline's knots.
        field_key: where the field of the first modality, log(followup / baseline), goes; None drops it.
        suffix: added to each key for its result; empty puts the result in the scan's place.

    Returns:
        A copy of the data with the corrected scans.

    Raises:
        ValueError: if the number of keys is odd, or an option is not above 0.

    Example:
        >>> scan, brain = 1 + torch.rand(1, 24, 24, 24), torch.ones(1, 24, 24, 24)
        >>> out = BalanceBiasd()({"baseline": scan, "followup": 4 * scan, "brain": brain})
        >>> bool(torch.allclose(out["baseline"], 2 * scan, atol=1e-2))
        True
    """

    def __init__(
        self,
        keys: KeysCollection = VISITS,
        mask_key: str = "brain",
        *,
        spacing_mm: float = 1.0,
        knots_mm: float = 40.0,
        field_key: str | None = None,
        suffix: str = "",
    ):
        super().__init__(keys)
        if len(self.keys) % 2:
            raise ValueError(f"expected the keys of the baseline, then as many of the follow-up; got {self.keys}")
        if spacing_mm <= 0 or knots_mm <= 0:
            raise ValueError(f"spacing_mm and knots_mm must be above 0; got {spacing_mm} and {knots_mm}")
        self.mask_key = mask_key
        self.spacing_mm = spacing_mm
        self.knots_mm = knots_mm
        self.field_key = field_key
        self.suffix = suffix

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Balance the two scans in `data`."""
        out = dict(data)
        mask, half = torch.as_tensor(out[self.mask_key]), len(self.keys) // 2
        for number, (baseline, followup) in enumerate(zip(self.keys[:half], self.keys[half:], strict=True)):
            options = {"spacing_mm": self.spacing_mm, "knots_mm": self.knots_mm}
            field = differential_bias(out[baseline], out[followup], mask, **options)
            if number == 0 and self.field_key is not None:
                out[self.field_key] = field
            for key, sign in ((baseline, 0.5), (followup, -0.5)):
                out[f"{key}{self.suffix}"] = out[key] * torch.exp(sign * torch.as_tensor(field))
        return out
