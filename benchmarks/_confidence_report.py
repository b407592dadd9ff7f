# SPDX-License-Identifier: Apache-2.0
"""Figures of what was found in pairs whose truth is known: false alarms, sensitivity, calibration, real pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from _candidates import PairRecord
from scipy.optimize import minimize
from scipy.stats import chi2

from monai_microchange.metrics import compute_brier, compute_reliability
from monai_microchange.postprocessing import ConfidenceModel, OperatingPoint

Records = Sequence[PairRecord]

RATES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""False lesions of a pair without change, for which the curve has a point where it can be measured."""

ORDINARY_CONTRAST = 0.5
"""Of a lesion against white matter, as a share of its brightness."""

VOLUMES_MM3 = (3, 6, 10, 15, 25, 50, 100, 10000)


def fit_confidence(records: Records) -> ConfidenceModel:
    """Confidence and its curve, from all simulated pairs."""
    simulated = [*of_kind(records, "stable"), *of_kind(records, "changed")]
    judged = [(one.features[one.judged], one.is_true[one.judged]) for one in simulated]
    features, is_true = (np.concatenate(part) for part in zip(*judged, strict=True))
    model = ConfidenceModel.fit(features, is_true)
    return replace(model, curve=tuple(operating_points(model, records)))


def operating_points(model: ConfidenceModel, records: Records) -> list[OperatingPoint]:
    """A point for each of `RATES` that is not finer than one false lesion in all stable pairs; first, all is kept."""
    stable = of_kind(records, "stable")
    false = np.sort(np.concatenate([confidences(model, one) for one in stable]))[::-1]
    points = [_point(model, records, 0.0, len(false) / len(stable))]
    for rate in sorted(RATES, reverse=True):
        allowed = int(rate * len(stable) + 1e-9)
        if allowed < 1 or allowed >= len(false):
            continue
        # what is written has four digits; of equal confidences all are dropped or none
        least = round(float(false[allowed]) + 0.5e-4, 4) + 1e-4
        points.append(_point(model, records, least, float((false >= least).sum()) / len(stable)))
    return points


def _point(model: ConfidenceModel, records: Records, least: float, rate: float) -> OperatingPoint:
    found = np.concatenate([found_truth(model, one, least) for one in of_kind(records, "changed")])
    return OperatingPoint(round(float(least), 4), round(rate, 4), round(float(found.mean()), 4))


def of_kind(records: Records, kind: str) -> list[PairRecord]:
    """Those of "stable", "changed" or "real"."""
    return [one for one in records if one.about["kind"] == kind]


def confidences(model: ConfidenceModel, record: PairRecord) -> np.ndarray:
    """Of the components that can be judged, (n,)."""
    return model(record.features[record.judged])


def found_truth(model: ConfidenceModel, record: PairRecord, least: float) -> np.ndarray:
    """Which true components are found by one that is sure enough, (m,) bool."""
    sure = np.append(model(record.features) >= least, False)
    return sure[record.found_by]  # -1, a miss, is the last


def count_lesions(model: ConfidenceModel, record: PairRecord, least: float) -> dict[str, float]:
    """True and false lesions among those sure enough, missed ones, and Dice."""
    sure = (model(record.features) >= least) & record.judged
    true = int((sure & record.is_true).sum())
    voxels, shared = record.overlap[sure].sum(axis=0) if sure.any() else (0, 0)
    return {
        "found": true,
        "false": int(sure.sum()) - true,
        "missed": len(record.truth_mm3) - true,
        "dice": 2 * shared / max(voxels + record.truth_voxels, 1),
        "volume_ratio": voxels / max(record.truth_voxels, 1),
    }


def f1(counts: Sequence[Mapping[str, float]]) -> float:
    """Lesion-wise F1, pooled."""
    found, false, missed = (sum(one[key] for one in counts) for key in ("found", "false", "missed"))
    return 2 * found / max(2 * found + false + missed, 1)


def rate_bound(false: int, pairs: int) -> float:
    """Upper 95 % bound of false lesions per pair (exact, Poisson)."""
    return float(chi2.ppf(0.95, 2 * (false + 1)) / 2 / pairs)


def calibration(confidence: np.ndarray, is_true: np.ndarray) -> tuple[float, float, float]:
    """Expected calibration error in bins of equal width, and of equal mass, and Brier score."""
    curves = (compute_reliability(confidence, is_true, equal_mass=equal) for equal in (False, True))
    return (*(curve.expected_error for curve in curves), compute_brier(confidence, is_true))  # type: ignore[return-value]


def planted_table(pairs: Sequence[tuple[ConfidenceModel, float, PairRecord]]) -> np.ndarray:
    """Lesions that came or went: volume (mm³), contrast, found (0 or 1), (n, 3).

    Args:
        pairs: of each changed pair the confidence that judges it, the least confidence, and what was found.
    """
    rows = []
    for model, least, record in pairs:
        found = np.append(found_truth(model, record, least), False)  # truth -1: nothing of it can be seen
        for one in record.planted:
            if one["type"] in ("NEW", "RESOLVED"):
                volume = max(one["baseline_mm3"], one["followup_mm3"])
                rows.append((volume, one["contrast"], float(found[one["truth"]])))
    return np.asarray(rows).reshape(-1, 3)


def found_volume_ratio(records: Records) -> float:
    """Volume of all found changes together, measured over true."""
    found = [
        (one.overlap[one.found_by[one.found_by >= 0], 0].sum(), one.truth_mm3[one.found_by >= 0].sum())
        for one in records
    ]
    measured, true = np.sum(found, axis=0)
    return float(measured / true)


def volume_found(table: np.ndarray, *, sensitivity: float = 0.8, contrast: float = ORDINARY_CONTRAST) -> float:
    """Volume (mm³) found with a sensitivity at a contrast, by logistic regression on both logarithms."""
    design = np.column_stack([np.log(table[:, :2]), np.ones(len(table))])

    def cost(beta: np.ndarray) -> float:
        odds = design @ beta
        return float((np.logaddexp(0, odds) - table[:, 2] * odds).sum() + 0.01 * beta[:2] @ beta[:2])

    by_volume, by_contrast, bias = minimize(cost, np.zeros(3)).x
    wanted = np.log(sensitivity / (1 - sensitivity))
    return float(np.exp((wanted - bias - by_contrast * np.log(contrast)) / by_volume))
