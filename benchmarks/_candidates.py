# SPDX-License-Identifier: Apache-2.0
"""What a network finds in pairs whose truth is known: components of change, their measures, whether they are true."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose

from monai_microchange.enums import VISITS, Anatomy, ChangeLabel
from monai_microchange.inferers import PairSlidingWindow
from monai_microchange.metrics import match_lesions
from monai_microchange.postprocessing import CANDIDATE_FEATURES, ChangeMaps, describe_candidates, find_changes
from monai_microchange.transforms import BalanceBiasd, HarmonizeVisitsd, depth_below_surface

__all__ = ["PairRecord", "measure_pair", "network_score", "read_records"]

SPACING_MM = (1.0, 1.0, 1.0)
THRESHOLD = 0.05
"""Of the probability of gain or of loss, as in the bundle's `inference.yaml`."""
LEAST_PEAK = 0.5
EDGE_MM = 2.0
SITE_MM = 3
ARRAYS = ("features", "is_true", "judged", "overlap", "truth_mm3", "found_by")
PREPARE = Compose([BalanceBiasd(), HarmonizeVisitsd(VISITS)])

Score = Callable[[torch.Tensor], tuple[np.ndarray, np.ndarray]]
"""From the network's input (1, 4, I, J, K) to the probabilities of gain and of loss, (I, J, K) each."""


@dataclass(frozen=True)
class PairRecord:
    """What was found in one pair.

    Attributes:
        about: which pair it is: `name`, `kind` ("stable", "changed", "real"), `severity`, `seed`.
        features: (n, F) of each component found, gains first.
        is_true: (n,) whether it is paired with a true one.
        judged: (n,) whether most of it lies where the truth is known.
        truth_mm3: (m,) volume of each true component.
        found_by: (m,) component that each true one is paired with; -1 where it was missed.
        planted: what was put in: type, volume, contrast, place and, where it can be seen, the true component.
        overlap: (n, 2) voxels of each component, and those of them that are true.
        truth_voxels: changed voxels of the truth.
    """

    about: Mapping[str, Any]
    features: np.ndarray
    is_true: np.ndarray
    judged: np.ndarray
    truth_mm3: np.ndarray
    found_by: np.ndarray
    planted: Sequence[Mapping[str, Any]]
    overlap: np.ndarray
    truth_voxels: int

    def write(self, path: Path) -> None:
        """Append as a line of JSON."""
        held = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in vars(self).items()}
        with path.open("a") as file:
            file.write(json.dumps(held) + "\n")


def read_records(path: Path) -> list[PairRecord]:
    """What `PairRecord.write` wrote; nothing if there is no file."""
    if not path.is_file():
        return []
    records = []
    for line in path.read_text().splitlines():
        held = json.loads(line)
        arrays = {name: np.asarray(held[name]) for name in ARRAYS}
        for name, columns in (("overlap", 2), ("features", len(CANDIDATE_FEATURES))):
            arrays[name] = arrays[name].reshape(-1, columns)
        for name, kind in (("is_true", bool), ("judged", bool), ("found_by", int)):
            arrays[name] = arrays[name].astype(kind)
        records.append(PairRecord(**{**held, **arrays}))
    return records


def network_score(network: torch.nn.Module) -> Score:
    """Probabilities by a network."""
    inferer = PairSlidingWindow((64, 64, 64))

    def score(image: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        with torch.inference_mode():
            gain, loss = inferer(image, network)[0].softmax(dim=0)[1:].numpy()
        return gain, loss

    return score


def measure_pair(
    data: Mapping[str, Any], score: Score, about: Mapping[str, Any], *, threshold: float = THRESHOLD
) -> PairRecord:
    """Look for change in one pair, as the bundle does, and compare with the truth."""
    plain = {key: torch.as_tensor(data[key]).as_subclass(torch.Tensor).float() for key in (*VISITS, "brain")}
    prepared = PREPARE(plain)
    gain, loss = score(torch.cat([prepared[visit] for visit in VISITS])[None].float())
    baseline, followup = (np.asarray(prepared[visit]) for visit in VISITS)
    anatomy, label = (np.asarray(data[key])[0] for key in ("anatomy", "label"))
    assessed = (plain["brain"][0].numpy() > 0) & (anatomy != Anatomy.OUTER_CSF)
    depth = depth_below_surface(assessed, np.ones(3))
    maps = _components(gain, loss, assessed, depth, threshold)
    gains = describe_candidates(maps.gain_labels, gain, baseline, followup, depth, spacing_mm=1.0)
    losses = describe_candidates(maps.loss_labels, loss, followup, baseline, depth, spacing_mm=1.0)
    unsigned = label == ChangeLabel.CHANGED
    if unsigned.any():  # a truth without direction is compared with both at once
        both = np.where(maps.loss_labels > 0, maps.loss_labels + len(gains), maps.gain_labels)
        sides = [(both, np.concatenate([gains, losses]), unsigned)]
    else:
        sides = [
            (maps.gain_labels, gains, label == ChangeLabel.GAIN),
            (maps.loss_labels, losses, label == ChangeLabel.LOSS),
        ]
    rows: dict[str, list[np.ndarray]] = {name: [] for name in ARRAYS}
    planted = [dict(one, truth=-1) for one in data["lesions"]]
    for labels, found, truth in sides:
        _add_side(rows, planted, labels, found, truth, label != ChangeLabel.UNKNOWN)
    return PairRecord(
        about={**about, "severity": data["severity"]},
        planted=planted,
        truth_voxels=int(sum(truth.sum() for *_, truth in sides)),
        **{name: np.concatenate(values) for name, values in rows.items()},
    )


def _components(
    gain: np.ndarray, loss: np.ndarray, assessed: np.ndarray, depth: np.ndarray, threshold: float
) -> ChangeMaps:
    nothing = np.zeros(gain.shape, dtype=bool)
    return find_changes(
        gain,
        loss,
        nothing,
        nothing,
        assessed,
        spacing_mm=SPACING_MM,
        threshold=threshold,
        seed_threshold=LEAST_PEAK,
        seed_region=depth > EDGE_MM,
    )


def _add_side(
    rows: dict[str, list[np.ndarray]],
    planted: list[dict[str, Any]],
    labels: np.ndarray,
    found: np.ndarray,
    truth: np.ndarray,
    judged: np.ndarray,
) -> None:
    """Compare the components of one direction with the true ones."""
    n, before = len(found), sum(len(part) for part in rows["features"])
    matches = match_lesions(labels > 0, truth, spacing_mm=SPACING_MM)
    # gain and loss may touch where both are compared at once; then a pairing is that of the joint component
    voxels = labels > 0
    own = np.zeros(int(matches.predicted_labels.max(initial=0)) + 1, dtype=int)
    own[matches.predicted_labels[voxels]] = labels[voxels]
    is_true = np.zeros(n + 1, dtype=bool)
    found_by = np.full(matches.n_reference + 1, -1)
    truth_before = sum(len(part) for part in rows["truth_mm3"])
    for predicted, reference in matches.pairs:
        is_true[own[predicted]] = True
        found_by[reference] = own[predicted] - 1 + before
    size = np.bincount(labels[voxels], minlength=n + 1)
    rows["features"].append(found)
    rows["is_true"].append(is_true[1:])
    rows["judged"].append((2 * np.bincount(labels[voxels & judged], minlength=n + 1) > size)[1:])
    rows["overlap"].append(np.stack([size, np.bincount(labels[voxels & truth], minlength=n + 1)], axis=1)[1:])
    rows["truth_mm3"].append(np.bincount(matches.reference_labels.ravel(), minlength=matches.n_reference + 1)[1:])
    rows["found_by"].append(found_by[1:])
    for one in planted:
        near = tuple(slice(max(i - SITE_MM, 0), i + SITE_MM + 1) for i in one["site"])
        here = matches.reference_labels[near]
        if here.any():
            one["truth"] = int(np.bincount(here[here > 0]).argmax()) - 1 + truth_before
