# SPDX-License-Identifier: Apache-2.0
"""Numbers that say how two aligned scans compare."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from scipy import ndimage as ndi

from monai_microchange._frames import apply_affine, spacing_from_affine
from monai_microchange.enums import Anatomy
from monai_microchange.quality._scan_quality import noise_deviation, smoothness_mm, tissue_levels

__all__ = ["PairMeasures", "ScanMeasures", "measure_scan"]

MOST_POINTS = 100_000
"""Places that the noise is measured at."""


@dataclass(frozen=True)
class ScanMeasures:
    """One scan by itself. What could not be measured is NaN.

    Attributes:
        level: brightness of white matter, or of the middle of the region without an anatomy, in the scan's units.
        noise: standard deviation of the noise over `level`.
        snr: `level` over the noise.
        cnr: difference between white and grey matter over the noise.
        tissues: how much brighter than white matter `grey`, `deep_grey` and `csf` are: -0.2 is 20 % darker.
        smoothness_mm: apparent width at half height along the axes of mid-space (3).
    """

    level: float
    noise: float
    snr: float
    cnr: float
    tissues: dict[str, float]
    smoothness_mm: list[float]


@dataclass(frozen=True)
class PairMeasures:
    """Both scans. What could not be measured is NaN.

    Attributes:
        baseline: of the baseline scan.
        followup: of the follow-up scan.
        coverage: share of the brain (or head) that both show.
        correlation: of the grey values inside the mask.
        structure_correlation: of what is left when slow differences are taken out and both are smoothed alike.
        normalized_mutual_information: of the alignment, 1 to 2.
        edge_distance_mm: mean distance between strong edges of the two.
        inverse_consistency_mm: of the alignment.
        misalignment_mm: `median`, `p95` and `estimated_share` of the residual misalignment.
    """

    baseline: ScanMeasures
    followup: ScanMeasures
    coverage: float
    correlation: float
    structure_correlation: float
    normalized_mutual_information: float
    edge_distance_mm: float
    inverse_consistency_mm: float
    misalignment_mm: dict[str, float]

    @property
    def level_ratio(self) -> float:
        """Brightness of the follow-up over the baseline's; harmonised away before change is looked for."""
        return self.followup.level / self.baseline.level if self.baseline.level else float("nan")

    def record(self) -> dict[str, Any]:
        """Numbers for JSON, rounded; None for what could not be measured."""
        return _rounded({**asdict(self), "level_ratio": self.level_ratio})


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return round(float(value), 4) if math.isfinite(value) else None


def measure_scan(
    scan: MetaTensor, native: MetaTensor, mid_to_native: np.ndarray, mask: torch.Tensor, anatomy: torch.Tensor | None
) -> ScanMeasures:
    """What one scan is like: sharpness as it is compared, in mid-space; noise as it was acquired.

    Args:
        scan: (1, I, J, K) in mid-space, isotropic.
        native: (1, i, j, k) as acquired.
        mid_to_native: (4, 4), points of mid-space to points of the native scan, RAS mm.
        mask: (1, I, J, K), brain or head, not empty.
        anatomy: `Anatomy` labels (1, I, J, K), or None; then nothing is said of tissues.
    """
    affine = scan.affine.numpy()
    values, inside = scan.as_tensor(), torch.as_tensor(mask) > 0
    levels = tissue_levels(values, anatomy) if anatomy is not None else {}
    level = levels.get("white", float(values[inside].median()))
    where = _quiet_places(inside[0].numpy(), None if anatomy is None else np.asarray(anatomy)[0])
    points = apply_affine(mid_to_native @ affine, where[:: max(1, len(where) // MOST_POINTS)])
    deviation = noise_deviation(native, native.affine.numpy(), points)
    measured = deviation > 0 and level > 0
    grey = levels.get("grey", float("nan"))
    return ScanMeasures(
        level=level,
        noise=deviation / level if measured else float("nan"),
        snr=level / deviation if measured else float("nan"),
        cnr=abs(grey - level) / deviation if measured and "white" in levels else float("nan"),
        tissues=_relative(levels),
        smoothness_mm=smoothness_mm(values, inside, spacing_mm=float(spacing_from_affine(affine)[0])),
    )


def _quiet_places(inside: np.ndarray, anatomy: np.ndarray | None) -> np.ndarray:
    """Voxels (N, 3) of white matter away from its border; all of the mask where the anatomy shows none."""
    if anatomy is not None:
        white = ndi.binary_erosion((anatomy == Anatomy.WHITE_MATTER) & inside)
        if white.any():
            return np.argwhere(white)
    return np.argwhere(inside)


def _relative(levels: dict[str, float]) -> dict[str, float]:
    """Tissues' brightness beyond white matter's, relative to it."""
    white = levels.get("white", 0.0)
    return {name: level / white - 1 for name, level in levels.items() if name != "white"} if white > 0 else {}
