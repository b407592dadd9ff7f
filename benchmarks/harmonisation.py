# SPDX-License-Identifier: Apache-2.0
"""Judge each treatment of grey values by what it does to the detection of change, and print one table.

Three judges: plain subtraction on the two real pairs with expert masks, at its best (an oracle: the best of 96 settings
chosen with the truth in hand); a network that saw neither pair (`models/simulated.pt`) on the same pairs; and the
network on simulated pairs, drawn as in `operating_point.py`. The folder of real scans comes from --data or
MICROCHANGE_DATA:

    python benchmarks/harmonisation.py --simulated 12
"""

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import operating_point
import torch
from _subtraction import Subtraction, subtraction_oracle
from monai.bundle import ConfigParser
from monai.transforms import Compose, ConcatItemsd, Flipd, MapTransform
from truth_grid import Case, change_on_truth_grid, load_case, scan_path

from monai_microchange._frames import image_from_array, spacing_from_affine
from monai_microchange._shipped import shipped_bundle
from monai_microchange.enums import VISITS
from monai_microchange.metrics import LesionScores, score_lesions
from monai_microchange.transforms import HarmonizeVisitsd, robust_standardize
from monai_microchange.transforms.bias_field import CorrectBiasd
from monai_microchange.transforms.differential_bias import BalanceBiasd
from monai_microchange.transforms.harmonize import StandardizeLocallyd
from monai_microchange.transforms.tissue_scale import StandardizeTissuesd

PATIENTS = ("patient01", "patient19")
DATA_SET = "ljubljana_longitudinal"

N4 = CorrectBiasd(VISITS)
BALANCE = BalanceBiasd(knots_mm=40.0)
TISSUES = StandardizeTissuesd()
LOCAL = StandardizeLocallyd(VISITS, sigma_mm=12.0)
TREATMENTS: dict[str, list[MapTransform]] = {
    "none": [],
    "N4": [N4],
    "balanced bias, 40 mm": [BALANCE],
    "balanced bias, 25 mm": [BalanceBiasd(knots_mm=25.0)],
    "tissue scale": [TISSUES],
    "tissue scale, balanced bias": [TISSUES, BALANCE],
    "local, 12 mm": [LOCAL],
    "N4, local": [N4, LOCAL],
    "balanced bias, local": [BALANCE, LOCAL],
    "tissue scale, balanced bias, local": [TISSUES, BALANCE, LOCAL],
}
"""What is done to both scans, in this order, after alignment and before all else. All that was tried stands here."""

NOTE = (
    "Subtraction: best Dice / best lesion-wise F1 / AUC over brain voxels; Dice and F1 are an oracle's, the best of 96 "
    "settings each, chosen with the truth in hand.\nNetwork: Dice / F1. Simulated: Dice / F1 / "
    "false lesions in a pair without change.\nF1: lesions of at least 3 mm³ matched one to one, IoU at least 0.1."
)


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.data is None:
        print("Skipped: neither --data nor MICROCHANGE_DATA names the folder of real scans.")
        return 0
    bundle = Bundle.load()
    columns: dict[str, dict[str, str]] = {}
    for patient in options.patients:
        case = load_case(Path(options.data) / DATA_SET / patient)
        aligned = bundle.align(Path(options.data) / DATA_SET / patient)
        for name in options.treatments:
            data = Compose(TREATMENTS[name])(aligned)
            cells = columns.setdefault(name, {})
            cells[f"{patient}: subtraction"] = subtraction_cell(subtract(case, data))
            if not options.no_network:
                cells[f"{patient}: network"] = network_cell(bundle.score(case, data))
            print(f"{name}: {cells}", file=sys.stderr, flush=True)
    if options.simulated:
        for name, counts in judge_simulated(bundle, options.data, options.simulated, options.treatments).items():
            columns.setdefault(name, {})["simulated: network"] = simulated_cell(counts)
    print(table(columns))
    return 0


SETTINGS = {"threshold": 0.3, "seed_threshold": 0.999, "confidence": "none", "false_per_pair": None}
"""Of the bundle: its operating point, before confidence was calibrated."""


@dataclass(frozen=True)
class Bundle:
    """The shipped comparison, cut open where grey values are harmonised."""

    before: Compose
    after: Compose
    network: torch.nn.Module
    inferer: Any
    postprocessing: Compose
    thresholds: tuple[float, float]

    @classmethod
    def load(cls) -> "Bundle":
        """As `inference.yaml` describes it, with weights that saw none of the real pairs."""
        root = shipped_bundle()
        parser = ConfigParser()
        parser.read_config(str(root / "configs" / "inference.yaml"))
        parser.update({"bundle_root": str(root), **SETTINGS})
        parser.update({"weights": str(root / "models" / "simulated.pt")})
        names = ("preprocessing", "network", "inferer", "postprocessing")
        steps, network, inferer, postprocessing = (parser.get_parsed_content(name) for name in names)
        cut = next(i for i, step in enumerate(steps.transforms) if isinstance(step, HarmonizeVisitsd))
        before = Compose(steps.transforms[:cut])
        # the bundle's own treatment is one of those compared
        after = Compose([step for step in steps.transforms[cut:] if not isinstance(step, BalanceBiasd)])
        thresholds = (parser["threshold"], parser["seed_threshold"])
        return cls(before, after, network, inferer, postprocessing, thresholds)

    def align(self, folder: Path) -> dict[str, Any]:
        """Both scans of a patient in mid-space, with anatomy and brain, grey values as scanned."""
        pair = {visit: str(scan_path(folder, visit)) for visit in VISITS}
        return self.before({**pair, "brain_mask": None, "baseline_lesion": None, "followup_lesion": None})

    def infer(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (3, I, J, K) of an input (C, I, J, K)."""
        plain = torch.as_tensor(image).as_subclass(torch.Tensor)
        with torch.inference_mode():
            return self.inferer(plain[None], self.network)[0]

    def score(self, case: Case, data: Mapping[str, Any]) -> LesionScores:
        """Scores of what the network finds in an aligned pair, on the truth's grid."""
        ready = self.after(dict(data))
        ready["pred"] = self.infer(ready.pop("image"))
        change = self.postprocessing(ready)["change"]
        image = image_from_array(change.numpy()[0], change.affine.numpy())
        found = change_on_truth_grid(case, image, data["mid_space"].mid_to("baseline"))
        return score_lesions(found > 0, case.truth, spacing_mm=tuple(spacing_from_affine(case.affine).tolist()))


def subtract(case: Case, data: Mapping[str, Any]) -> Subtraction:
    """What subtraction can reach, each scan first in robust standard deviations of its brain."""
    brain = data["brain"].as_tensor()
    baseline, followup = (robust_standardize(data[visit].as_tensor(), brain)[0].numpy() for visit in VISITS)
    space = data["mid_space"]
    return subtraction_oracle(
        case, followup - baseline, brain[0].numpy() > 0, np.asarray(space.affine), space.mid_to("baseline")
    )


def judge_simulated(
    bundle: Bundle, root: Path, number: int, treatments: list[str]
) -> dict[str, operating_point.Counts]:
    """Counts of each treatment over simulated pairs; half as many without change are added."""
    counts = {name: operating_point.Counts() for name in treatments}
    for data, changes in simulated_pairs(Path(root), number):
        for name, count in counts.items():
            treated = HarmonizeVisitsd(VISITS)(Compose(TREATMENTS[name])(data))
            logits = bundle.infer(ConcatItemsd(VISITS, name="image")(treated)["image"])
            gain, loss = logits.softmax(dim=0)[1:].numpy()
            count.add(gain, loss, np.asarray(data["label"])[0], *bundle.thresholds, changes=changes)
    return counts


def simulated_pairs(root: Path, number: int, seed: int = 77) -> Iterator[tuple[dict[str, Any], bool]]:
    """Pairs as scanned, with anatomy, brain and label, and whether anything changed in them."""
    _, draws = operating_point.load(root, shipped_bundle() / "models" / "simulated.pt")
    steps = draws.draw.transforms
    cut = next(i for i, step in enumerate(steps) if isinstance(step, BalanceBiasd | HarmonizeVisitsd))
    (flip,) = (step for step in steps if isinstance(step, Flipd))
    # training has no use for the anatomy after this flip, so it leaves it behind
    flip_anatomy = Flipd("anatomy", spatial_axis=flip.flipper.spatial_axis)
    draw = Compose([*steps[:cut], flip_anatomy])
    for changes, count in ((True, number), (False, number // 2)):
        draws.simulator.recipe = replace(draws.simulator.recipe, no_change_share=0.0 if changes else 1.0)
        draw.set_random_state(seed + (not changes))
        for i in range(count):
            yield draw(draws.scans[i % len(draws.scans)]), changes


def subtraction_cell(scores: Subtraction) -> str:
    return f"{scores.dice:.3f} / {scores.f1:.3f} / {scores.auc:.3f}"


def network_cell(scores: LesionScores) -> str:
    return f"{scores.dice:.3f} / {scores.f1:.3f}"


def simulated_cell(counts: operating_point.Counts) -> str:
    dice = 2 * counts.shared / max(counts.predicted + counts.marked, 1)
    return f"{dice:.3f} / {counts.lesions.f1:.3f} / {counts.false_lesions / max(counts.stable_pairs, 1):.1f}"


def table(columns: Mapping[str, Mapping[str, str]]) -> str:
    """Markdown, a row a treatment."""
    head = list(dict.fromkeys(column for cells in columns.values() for column in cells))
    rows = [["treatment", *head], *([name, *(cells.get(c, "–") for c in head)] for name, cells in columns.items())]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{NOTE}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("MICROCHANGE_DATA"), help="folder of real scans")
    parser.add_argument("--patients", nargs="*", default=PATIENTS, metavar="PATIENT", help="default: both pairs")
    parser.add_argument("--treatments", nargs="+", default=list(TREATMENTS), choices=TREATMENTS, help="default: all")
    parser.add_argument("--no-network", action="store_true", help="judge the real pairs by subtraction alone")
    parser.add_argument("--simulated", type=int, default=0, metavar="N", help="also judge on this many simulated pairs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
