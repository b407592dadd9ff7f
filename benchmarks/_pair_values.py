# SPDX-License-Identifier: Apache-2.0
"""Which numbers are taken of a pair, under which names, and how far two sets of them lie apart."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from _pair_measures import (
    bias_difference,
    block_shifts_mm,
    changed_components,
    noise_level,
    robust_deviation,
    smoothness_mm,
    tissue_ratio,
)
from _pair_sources import Pair
from scipy import ndimage as ndi
from scipy.stats import ks_2samp

from monai_microchange.enums import Anatomy

Values = dict[str, list[float]]
"""All values of each measure."""

VOLUME = "volume of a change, mm³"


def describe_scan(scan: np.ndarray, pair: Pair) -> Values:
    """What is measured of one visit's scan, in the masks of its pair: a value a measure."""
    white = pair.white_matter
    widths = np.sort(smoothness_mm(scan, pair.brain))
    return {
        "noise of a visit": [noise_level(scan, white)],
        "blur along sharpest axis, mm": [widths[0]],
        "blur along middle axis, mm": [widths[1]],
        "blur along widest axis, mm": [widths[2]],
        "cortex over white matter": [tissue_ratio(scan, pair.tissue(Anatomy.CORTEX), white)],
        "deep grey over white matter": [tissue_ratio(scan, pair.tissue(Anatomy.DEEP_GREY), white)],
        "ventricles over white matter": [tissue_ratio(scan, pair.tissue(Anatomy.VENTRICLE, shrink=1), white)],
    }


def describe_visits(pair: Pair) -> Values:
    """What is measured of both visits, and of what sets them apart beside the change."""
    one, other = describe_scan(pair.baseline, pair), describe_scan(pair.followup, pair)
    difference = pair.followup - pair.baseline
    still = difference[pair.still]
    shifts = np.linalg.norm(block_shifts_mm(pair.baseline, pair.followup, pair.still), axis=1)
    blur, cortex = "blur along widest axis, mm", "cortex over white matter"
    return {name: one[name] + other[name] for name in one} | {
        "noise of the difference": [noise_level(difference, pair.white_matter)],
        "unchanged difference, robust sd": [robust_deviation(still)],
        "unchanged difference, 99th percentile": [np.quantile(np.abs(still - np.median(still)), 0.99)],
        "blur along widest axis, apart, mm": [abs(one[blur][0] - other[blur][0])],
        "cortex over white matter, apart": [abs(one[cortex][0] - other[cortex][0])],
        "bias difference, sd of logarithm": [bias_difference(pair.baseline, pair.followup, pair.white_matter)],
        "misalignment, median block, mm": [np.median(shifts)] if len(shifts) else [],
        "misalignment, 90th percentile, mm": [np.quantile(shifts, 0.9)] if len(shifts) else [],
    }


def describe_changes(pair: Pair) -> Values:
    """What is measured of each piece of change."""
    pieces = changed_components(pair.baseline, pair.followup, pair.change, pair.brain)
    deviation = robust_deviation((pair.followup - pair.baseline)[pair.still])
    ventricle = pair.anatomy == Anatomy.VENTRICLE
    away = ndi.distance_transform_edt(~ventricle) if ventricle.any() else np.full(ventricle.shape, np.nan)
    return {
        VOLUME: [p.volume_mm3 for p in pieces],
        "contrast where brighter": [p.contrast for p in pieces if p.contrast > 0],
        "contrast where darker": [-p.contrast for p in pieces if p.contrast < 0],
        "contrast over unchanged difference sd": [abs(p.contrast) / deviation for p in pieces],
        "halo of a change, 1 mm out over in": [p.halo for p in pieces if abs(p.contrast) > 0.1],
        "change to ventricles, mm": [away[p.centre] for p in pieces],
    }


def collect(described: Iterable[Values]) -> Values:
    """All finite values of each measure.

    Example:
        >>> collect([{"a": [1.0]}, {"a": [2.0, float("nan")], "b": []}])
        {'a': [1.0, 2.0], 'b': []}
    """
    values: Values = defaultdict(list)
    for values_of_one in described:
        for measure, some in values_of_one.items():
            values[measure] += [float(v) for v in some if np.isfinite(v)]
    return dict(values)


def agreement(real: Sequence[float], simulated: Sequence[float]) -> tuple[float, float]:
    """Kolmogorov-Smirnov distance, and the share of real values between the simulated 5th and 95th percentile.

    Both are NaN where either side has no value.

    Example:
        >>> agreement([1.0, 2.0], [1.0, 2.0]), agreement([9.0, 9.0], [1.0, 2.0])
        ((0.0, 0.0), (1.0, 0.0))
    """
    if not len(real) or not len(simulated):
        return float("nan"), float("nan")
    low, high = np.quantile(simulated, (0.05, 0.95))
    inside = (np.asarray(real) >= low) & (np.asarray(real) <= high)
    return float(ks_2samp(real, simulated).statistic), float(inside.mean())
