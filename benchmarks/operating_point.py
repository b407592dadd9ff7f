# SPDX-License-Identifier: Apache-2.0
"""Print how each pair of thresholds of change does on simulated pairs.

The pairs are drawn as training draws them, from its scans, with lesions and acquisitions of another seed; change
that is too faint to be marked (UNKNOWN) counts neither for nor against:

    MICROCHANGE_DATA=... python benchmarks/operating_point.py --weights bundles/ms_lesion_change/models/model.pt
"""

import argparse
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose, ConcatItemsd
from rich.console import Console
from rich.progress import track
from rich.table import Table

from monai_microchange._shipped import shipped_bundle
from monai_microchange.enums import ChangeLabel
from monai_microchange.inferers import PairSlidingWindow
from monai_microchange.metrics import LesionCounts, count_lesions, match_lesions
from monai_microchange.networks.weights import with_weights
from monai_microchange.postprocessing import find_changes
from monai_microchange.transforms import RandSimulateChanged

THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.5)
SEEDS = (0.9, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995)
BLOCK = (112, 112, 112)
SPACING_MM = (1.0, 1.0, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("MICROCHANGE_DATA"), help="folder of the scans")
    parser.add_argument("--weights", type=Path, default=shipped_bundle() / "models" / "model.pt")
    parser.add_argument("--draws", type=int, default=24, help="pairs with change; half as many without are added")
    parser.add_argument("--seed", type=int, default=4242)
    options = parser.parse_args()
    if options.data is None:
        print("Skipped: neither --data nor MICROCHANGE_DATA names the folder of real scans.")
        return
    network, draws = load(options.data, options.weights)
    counts = {(low, high): Counts() for low in THRESHOLDS for high in SEEDS}
    for changes, number in ((True, options.draws), (False, options.draws // 2)):
        for image, label in track(draws.pairs(number, changes=changes, seed=options.seed), "pairs", total=number):
            gain, loss = probabilities(network, image)
            for (low, high), count in counts.items():
                count.add(gain, loss, label, low, high, changes=changes)
    Console(width=120).print(table(counts))


class Counts:
    """What is counted over all pairs at one operating point."""

    def __init__(self) -> None:
        self.lesions = LesionCounts(0, 0, 0, 0)
        self.shared = self.marked = self.predicted = 0
        self.false_lesions = self.stable_pairs = 0

    def add(
        self, gain: np.ndarray, loss: np.ndarray, label: np.ndarray, low: float, high: float, *, changes: bool
    ) -> None:
        """Score one pair, gain and loss apart."""
        nothing = np.zeros_like(label)
        judged = label != ChangeLabel.UNKNOWN
        maps = find_changes(
            gain,
            loss,
            nothing,
            nothing,
            np.ones_like(label),
            spacing_mm=SPACING_MM,
            threshold=low,
            seed_threshold=high,
        )
        self.stable_pairs += not changes
        for labels, code in ((maps.gain_labels, ChangeLabel.GAIN), (maps.loss_labels, ChangeLabel.LOSS)):
            found = drop_unjudged(labels, judged)
            if not changes:
                self.false_lesions += len(np.unique(labels[found]))
                continue
            truth = label == code
            self.lesions += count_lesions(match_lesions(found, truth, spacing_mm=SPACING_MM))
            self.shared += int((found & truth).sum())
            self.marked += int(truth.sum())
            self.predicted += int((found & judged).sum())


def drop_unjudged(labels: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """Mask of the components most of whose voxels were judged.

    >>> drop_unjudged(np.array([1, 1, 2, 0]), np.array([False, True, True, True])).tolist()
    [False, False, True, False]
    """
    size = np.bincount(labels.ravel())
    seen = np.bincount(labels.ravel(), weights=judged.ravel(), minlength=len(size))
    keep = 2 * seen > size
    keep[0] = False
    return keep[labels]


class Draws:
    """Simulated pairs as the network takes them.

    Args:
        scans: what change is simulated in, prepared.
        draw: from a scan to the network's input.
    """

    def __init__(self, scans: list, draw: Compose):
        self.scans = scans
        self.draw = draw
        (self.simulator,) = (step for step in draw.transforms if isinstance(step, RandSimulateChanged))

    def pairs(self, count: int, *, changes: bool, seed: int) -> Iterator[tuple[torch.Tensor, np.ndarray]]:
        """Draw from each scan in turn: the network's input (C, I, J, K), and `ChangeLabel` codes (I, J, K)."""
        self.simulator.recipe = replace(self.simulator.recipe, no_change_share=0.0 if changes else 1.0)
        self.draw.set_random_state(seed + (not changes))
        for number in range(count):
            data = self.draw(self.scans[number % len(self.scans)])
            yield torch.as_tensor(data["image"]).float(), np.asarray(data["label"])[0]


def load(root: Path, weights: Path) -> tuple[torch.nn.Module, Draws]:
    """The network, and the draws of the bundle's `train.yaml` up to its input."""
    parser = ConfigParser()
    parser.read_config(str(shipped_bundle() / "configs" / "train.yaml"))
    parser.update({"data_root": str(root), "bundle_root": str(shipped_bundle()), "block": list(BLOCK)})
    steps = parser.get_parsed_content("draw_from_scan").flatten().transforms
    last = next(n for n, step in enumerate(steps) if isinstance(step, ConcatItemsd))
    prepare = parser.get_parsed_content("prepare_scan")
    scans = [prepare(scan) for scan in track(parser.get_parsed_content("scans"), "preparing the scans")]
    network = with_weights(parser.get_parsed_content("network_def"), weights)
    return network, Draws(scans, Compose(steps[: last + 1]))


def probabilities(network: torch.nn.Module, image: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Of gain and of loss, (I, J, K) each."""
    with torch.inference_mode():
        logits = PairSlidingWindow((64, 64, 64))(image[None], network)
    gain, loss = logits[0].softmax(dim=0)[1:].numpy()
    return gain, loss


def table(counts: dict[tuple[float, float], Counts]) -> Table:
    """A row an operating point, the best by lesion-wise F1 marked."""
    shown = Table("extent", "surest voxel", "F1", "sensitivity", "precision", "Dice", "volume", "false/pair")
    best = max(counts, key=lambda point: counts[point].lesions.f1)
    for point, count in counts.items():
        figures = (
            count.lesions.f1,
            count.lesions.sensitivity,
            count.lesions.precision,
            2 * count.shared / max(count.predicted + count.marked, 1),
            count.predicted / max(count.marked, 1),
            count.false_lesions / max(count.stable_pairs, 1),
        )
        style = "bold" if point == best else ""
        shown.add_row(*(f"{value:g}" for value in point), *(f"{value:.2f}" for value in figures), style=style)
    shown.caption = (
        "F1, sensitivity, precision: of lesions of at least 3 mm³, gain and loss apart, one to one, IoU at least 0.1. "
        "Volume: predicted over true. false/pair: in blocks of 112 mm without change. Bold: best F1."
    )
    return shown


if __name__ == "__main__":
    main()
