# SPDX-License-Identifier: Apache-2.0
"""How likely a component of change is true, and how sure one must be for a wanted rate of false alarms."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from monai_microchange.data import InputError
from monai_microchange.postprocessing.candidates import CANDIDATE_FEATURES

__all__ = ["ConfidenceModel", "OperatingPoint", "load_confidence"]


@dataclass(frozen=True)
class OperatingPoint:
    """What a least confidence does, as measured on pairs whose truth is known.

    Attributes:
        confidence: components below it are dropped.
        false_per_pair: false lesions of a pair without change, on average.
        sensitivity: share of the true changes that are found.
    """

    confidence: float
    false_per_pair: float
    sensitivity: float


@dataclass(frozen=True)
class ConfidenceModel:
    """Logistic regression from what is measured of a component to the probability that its change is true.

    Platt, 1999, "Probabilistic outputs for support vector machines"; with several measurements beside the network's own
    score, since a network that learnt from simulated pairs is too sure of itself in real ones.

    Attributes:
        middle: (F,) mean of each feature where it was fitted; columns of `describe_candidates`.
        spread: (F,) standard deviation of each there.
        weights: (F,) of the standardised features.
        bias: log-odds of a component of middling features.
        curve: operating points, rising in confidence.
        of_other_weights: it was fitted to what another network than the one in use found.

    Raises:
        ValueError: if there are not as many numbers as features, or the curve is not in order.

    Example:
        >>> n = len(CANDIDATE_FEATURES)
        >>> model = ConfidenceModel((0.0,) * n, (1.0,) * n, (0.0,) * n, 0.0, (OperatingPoint(0.5, 0.1, 0.7),))
        >>> model(np.zeros((2, n))).tolist(), model.least_confidence(0.2)
        ([0.5, 0.5], 0.5)
    """

    middle: tuple[float, ...]
    spread: tuple[float, ...]
    weights: tuple[float, ...]
    bias: float
    curve: tuple[OperatingPoint, ...] = ()
    of_other_weights: bool = False

    def __post_init__(self) -> None:
        sizes = {len(part) for part in (self.middle, self.spread, self.weights)}
        if sizes != {len(CANDIDATE_FEATURES)}:
            raise ValueError(f"expected {len(CANDIDATE_FEATURES)} numbers of each kind, got {sorted(sizes)}")
        levels = [point.confidence for point in self.curve]
        if levels != sorted(levels):
            raise ValueError("expected operating points of rising confidence")

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Probability (n,) that each component, a row of features (n, F), is a true change."""
        scaled = (features - np.asarray(self.middle)) / np.asarray(self.spread)
        return expit(scaled @ np.asarray(self.weights) + self.bias)

    def least_confidence(self, false_per_pair: float) -> float:
        """The least confidence at which a pair without change has at most so many false lesions on average.

        Raises:
            InputError: if no point of the curve is that strict.
        """
        if np.isinf(false_per_pair):
            return 0.0
        for point in self.curve:
            if point.false_per_pair <= false_per_pair:
                return point.confidence
        least = min((point.false_per_pair for point in self.curve), default=None)
        raise InputError(
            f"false_per_pair: expected at least {least}, the strictest that was measured; got {false_per_pair:g}."
            if least is not None
            else "false_per_pair: expected a bundle with a curve of operating points, got one without; leave it out."
        )

    @classmethod
    def fit(cls, features: np.ndarray, is_true: np.ndarray, *, penalty: float = 1.0) -> "ConfidenceModel":
        """Fit by penalised maximum likelihood.

        Args:
            features: (n, F), columns of `describe_candidates`.
            is_true: (n,) bool.
            penalty: of the squared weights; the bias has none.

        Raises:
            ValueError: if not both true and false components are there.
        """
        true = np.asarray(is_true, dtype=float)
        if not 0 < true.sum() < len(true):
            raise ValueError(f"expected true and false components to fit, got {int(true.sum())} true of {len(true)}")
        middle, spread = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-6)
        design = np.column_stack([(features - middle) / spread, np.ones(len(true))])

        def cost(beta: np.ndarray) -> tuple[float, np.ndarray]:
            odds = design @ beta
            loss = (np.logaddexp(0, odds) - true * odds).sum() + penalty / 2 * beta[:-1] @ beta[:-1]
            slope = design.T @ (expit(odds) - true)
            slope[:-1] += penalty * beta[:-1]
            return float(loss), slope

        beta = minimize(cost, np.zeros(design.shape[1]), jac=True, method="L-BFGS-B").x
        return cls(tuple(middle.tolist()), tuple(spread.tolist()), tuple(beta[:-1].tolist()), float(beta[-1]))

    @classmethod
    def read(cls, path: str | Path) -> "ConfidenceModel":
        """Read what `write` wrote.

        Raises:
            InputError: if the file is missing, or was made for other features.
        """
        try:
            held: Mapping[str, Any] = json.loads(Path(path).read_text())
            features: Sequence[Mapping[str, float]] = held["features"]
            names = tuple(one["name"] for one in features)
            if names != CANDIDATE_FEATURES:
                raise InputError(
                    f"{path}: expected the features {', '.join(CANDIDATE_FEATURES)}, got {', '.join(map(str, names))}; "
                    "fit the confidence anew with this version."
                )
            middle, spread, weights = (tuple(one[part] for one in features) for part in ("middle", "spread", "weight"))
            curve = tuple(OperatingPoint(**point) for point in held["curve"])
            return cls(middle, spread, weights, float(held["bias"]), curve)
        except InputError:
            raise
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: expected a fitted confidence, got {error!r}; check the file.") from error

    def write(self, path: str | Path, about: Mapping[str, Any] | None = None) -> None:
        """Write as JSON; `about` says where it comes from."""
        rows = zip(CANDIDATE_FEATURES, self.middle, self.spread, self.weights, strict=True)
        held = {
            "about": dict(about or {}),
            "features": [{"name": n, "middle": m, "spread": s, "weight": w} for n, m, s, w in rows],
            "bias": self.bias,
            "curve": [asdict(point) for point in self.curve],
        }
        Path(path).write_text(json.dumps(held, indent=1) + "\n")


def load_confidence(path: str | Path, weights: str | Path, otherwise: str | Path) -> ConfidenceModel | None:
    """The confidence that goes with a network's weights.

    Args:
        path: file of it; "auto" for the one beside the weights (`model.pt`: `model.confidence.json`) or, where there is
            none, `otherwise`; "none" for none.
        weights: file of the weights in use.
        otherwise: file that was fitted to other weights.

    Raises:
        InputError: if the file is missing, or was made for other features.

    Example:
        >>> load_confidence("none", "model.pt", "model.confidence.json") is None
        True
    """
    if str(path) == "none":
        return None
    if str(path) != "auto":
        return ConfidenceModel.read(path)
    beside = Path(weights).with_suffix(".confidence.json")
    if beside.is_file():
        return ConfidenceModel.read(beside)
    return replace(ConfidenceModel.read(otherwise), of_other_weights=True)
