# SPDX-License-Identifier: Apache-2.0
"""Show how near simulated pairs come to real ones: a table of measures, and pictures.

The simulator and its scans are those of the bundle's training configuration, so what is shown is what trains. The
folder of real scans comes from --data or the environment variable MICROCHANGE_DATA:

    python benchmarks/simulator.py --gallery gallery

The real pairs are only looked at here; nothing is tuned or scored on their masks by this script. There are two, so the
blocks drawn from them are many views of two patients; the volumes of change come from all masks of the data set.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _pair_sources import CONFIG, DATA_SET, REAL_PATIENTS, Pair, TrainingSimulator, expert_volumes_mm3, real_pair
from _pair_values import VOLUME, Values, agreement, collect, describe_changes, describe_scan, describe_visits
from rich.console import Console
from rich.table import Table
from scipy import ndimage as ndi

from monai_microchange.networks.anatomy import load_anatomy_network

PAIRS_SHOWN = 4
"""As many real and as many simulated pairs go into the picture."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.data is None:
        print("Skipped: neither --data nor MICROCHANGE_DATA names the folder of real scans.")
        return 0
    random = np.random.RandomState(options.seed)
    simulator = TrainingSimulator(options.data, options.config)
    network = load_anatomy_network()
    whole = [real_pair(options.data / DATA_SET / patient, network) for patient in REAL_PATIENTS]
    n_each = -(-options.draws // len(whole))
    blocks = [block for pair in whole for block in draw_blocks(pair, simulator.block, n_each, random)]
    simulated = list(simulator.pairs(options.draws, seed=options.seed))

    real_values = collect([describe_visits(block) for block in blocks] + [describe_changes(pair) for pair in whole])
    real_values[VOLUME] = expert_volumes_mm3(options.data)
    simulated_values = collect(describe_visits(pair) | describe_changes(pair) for pair in simulated)
    source_values = collect(describe_scan(pair.baseline, pair) for pair in simulator.sources())
    Console(width=None if sys.stdout.isatty() else 140).print(table(real_values, simulated_values, source_values))
    if options.gallery is not None:
        options.gallery.mkdir(parents=True, exist_ok=True)
        draw_pictures(options.gallery, blocks, whole, simulated, simulator, random)
        draw_histograms(options.gallery, real_values, simulated_values)
        print(f"Wrote pictures into {options.gallery}; pairs_key.txt there says which pairs of pairs.png are real.")
    return 0


def draw_pictures(
    folder: Path,
    blocks: Sequence[Pair],
    whole: Sequence[Pair],
    simulated: Sequence[Pair],
    simulator: TrainingSimulator,
    random: np.random.RandomState,
) -> None:
    """Write the pictures of pairs, of changes and of effects, and the key of the first."""
    from _effect_pictures import draw_effects
    from _pair_pictures import draw_blind_pairs, draw_lesions

    shown = [pair for group in (blocks, simulated) for pair in fit_to_show(group, PAIRS_SHOWN, random)]
    key = draw_blind_pairs(folder / "pairs.png", shown, random)
    (folder / "pairs_key.txt").write_text("\n".join([*key, ""]))
    draw_lesions(folder / "lesions.png", whole, simulated)
    head = simulator.sharpest_head()
    draw_effects(folder / "effects.png", head["image"], head["anatomy"], random)


def draw_histograms(folder: Path, real: Values, simulated: Values) -> None:
    """Write the histogram panels."""
    from _pair_pictures import draw_distributions

    distances = {measure: agreement(values, simulated.get(measure, []))[0] for measure, values in real.items()}
    draw_distributions(folder / "distributions.png", real, simulated, distances)


def draw_blocks(pair: Pair, size: Sequence[int], count: int, random: np.random.RandomState) -> list[Pair]:
    """Boxes of the brain, of the size in which change is simulated."""
    found = ndi.find_objects(pair.brain.astype(np.uint8))[0]
    ends = [max(s.stop - extent, s.start) + 1 for s, extent in zip(found, size, strict=True)]
    corners = [[random.randint(s.start, end) for s, end in zip(found, ends, strict=True)] for _ in range(count)]
    return [pair.block(corner, size) for corner in corners]


def fit_to_show(pairs: Sequence[Pair], count: int, random: np.random.RandomState) -> list[Pair]:
    """Some of the pairs that are mostly brain and have change in it, from as many different scans as there are."""
    shuffled = [pairs[i] for i in random.permutation(len(pairs))]
    fit = [pair for pair in shuffled if pair.change.any() and pair.brain.mean() > 0.4]
    seen: Counter[str] = Counter()
    turns = []
    for pair in fit:
        turns.append(seen[pair.scan])
        seen[pair.scan] += 1
    return [fit[i] for i in np.argsort(turns, kind="stable")[:count]]


def table(real: Values, simulated: Values, sources: Values) -> Table:
    """A row a measure: real and simulated values, how far they lie apart, and the scans before the simulator."""
    note = (
        "Median [10th–90th percentile] on a 1 mm grid, white matter at 1; apart: of the two visits.\n"
        "KS: largest gap between the cumulative distributions, 0 to 1. Covered: real values within the 5th to 95th\n"
        "percentile of the simulated ones, 90 % if both are distributed alike. n: real, simulated."
    )
    made = Table(caption=note, caption_justify="left", padding=(0, 0))
    for head in ("measure", "real pairs", "simulated pairs", "n", "KS", "covered", "scans as they are"):
        made.add_column(head, justify="left" if head == "measure" else "right", no_wrap=True)
    for measure, values in real.items():
        ours = simulated.get(measure, [])
        distance, covered = agreement(values, ours)
        compared = f"{len(values)}, {len(ours)}", f"{distance:.2f}", f"{covered:.0%}"
        made.add_row(measure, _summary(values), _summary(ours), *compared, _summary(sources.get(measure, [])))
    return made


def _summary(values: Sequence[float]) -> str:
    if not len(values):
        return ""
    low, middle, high = np.quantile(values, (0.1, 0.5, 0.9))
    return f"{middle:.3g} [{low:.3g}–{high:.3g}]"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("MICROCHANGE_DATA")
    parser.add_argument("--data", type=Path, default=Path(data) if data else None, help="folder of real scans")
    parser.add_argument("--config", type=Path, default=CONFIG, help="train.yaml of a bundle; default: the shipped one")
    parser.add_argument("--draws", type=int, default=24, help="pairs to simulate, and blocks of real pairs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gallery", type=Path, help="write pictures into this folder")
    return parser


if __name__ == "__main__":
    sys.exit(main())
