# SPDX-License-Identifier: Apache-2.0
"""What is measured of a component of change to tell whether it is true."""

import numpy as np
from scipy import ndimage as ndi

__all__ = ["CANDIDATE_FEATURES", "describe_candidates"]

CANDIDATE_FEATURES = (
    "log_volume",
    "peak_log_odds",
    "mean_log_odds",
    "difference",
    "difference_to_surroundings",
    "brightness",
    "brightness_to_surroundings",
    "log_depth",
    "fill",
)
"""Names of the columns of `describe_candidates`."""

SURROUNDINGS_MM = 3.0
"""How far the surroundings of a component reach."""

LOG_ODDS_LIMIT = 12.0
"""Beyond it float32 knows no more."""


def describe_candidates(
    labels: np.ndarray,
    probability: np.ndarray,
    darker: np.ndarray,
    brighter: np.ndarray,
    depth_mm: np.ndarray,
    *,
    spacing_mm: float,
) -> np.ndarray:
    """Measure each component of gain, or of loss with the visits exchanged.

    - `log_volume`: natural logarithm of its volume in mm³;
    - `peak_log_odds`, `mean_log_odds`: of the probability of its change, at most 12;
    - `difference`: mean of brighter minus darker visit, both harmonised locally, in robust standard deviations of that
      difference over the brain; `difference_to_surroundings`: the same less that of the 3 mm around it;
    - `brightness`: mean of the brighter visit, harmonised over the brain; `brightness_to_surroundings`: less that of
      the 3 mm around;
    - `log_depth`: natural logarithm of how many mm its deepest point lies below the brain's surface, from 0.5 to 20;
    - `fill`: its share of its bounding box; a sheet that lies askew, as misalignment makes it, fills little of it.

    Args:
        labels: components (I, J, K), numbered from 1 without gaps.
        probability: of this direction of change (I, J, K).
        darker: the visit that shows less (2, I, J, K), harmonised over the brain, and locally, as `HarmonizeVisitsd`
            does: the baseline of a gain, the follow-up of a loss.
        brighter: the other visit.
        depth_mm: depth below the brain's surface (I, J, K), 0 outside.
        spacing_mm: side of the (cubic) voxels.

    Returns:
        (n, 9), columns as in `CANDIDATE_FEATURES`. No component gives (0, 9).

    Raises:
        ValueError: if the arrays differ in shape.

    Example:
        >>> labels = np.zeros((9, 9, 9), dtype=int)
        >>> labels[3:5, 3:5, 3:5] = 1
        >>> scan = np.random.default_rng(0).normal(size=(2, *labels.shape))
        >>> (row,) = describe_candidates(labels, labels * 0.5, scan, scan + labels, labels + 3.0, spacing_mm=1)
        >>> dict(zip(CANDIDATE_FEATURES, row.round(2).tolist()))["log_depth"]
        1.39
    """
    shapes = [np.shape(array) for array in (probability, depth_mm, darker, brighter)]
    if shapes != [labels.shape] * 2 + [(2, *labels.shape)] * 2:
        raise ValueError(f"expected arrays of shape {labels.shape}, and of two channels, got {shapes}")
    rise, brightness = brighter[1] - darker[1], brighter[0]
    inside = rise[depth_mm > 0]
    middle = float(np.median(inside)) if inside.size else 0.0
    spread = max(1.4826 * float(np.median(np.abs(inside - middle))), 1e-3) if inside.size else 1.0
    reach = max(round(SURROUNDINGS_MM / spacing_mm), 1)
    ball = ndi.iterate_structure(ndi.generate_binary_structure(3, 1), reach)
    rows = np.zeros((int(labels.max(initial=0)), len(CANDIDATE_FEATURES)))
    for number, box in enumerate(ndi.find_objects(labels), start=1):
        near = tuple(slice(max(side.start - reach, 0), side.stop + reach) for side in box)
        own = labels[near] == number
        around = ndi.binary_dilation(own, ball) & (labels[near] == 0) & (depth_mm[near] > 0)
        around = around if around.any() else own
        chance = np.clip(probability[near][own].astype(float), 1e-9, 1 - 1e-9)
        odds = np.minimum(np.log(chance / (1 - chance)), LOG_ODDS_LIMIT)
        mean_rise, mean_brightness = rise[near][own].mean(), brightness[near][own].mean()
        rows[number - 1] = (
            np.log(own.sum() * spacing_mm**3),
            odds.max(),
            odds.mean(),
            (mean_rise - middle) / spread,
            (mean_rise - rise[near][around].mean()) / spread,
            mean_brightness,
            mean_brightness - brightness[near][around].mean(),
            np.log(np.clip(depth_mm[near][own].max(), 0.5, 20.0)),
            own.sum() / np.prod([side.stop - side.start for side in box]),
        )
    return rows
