# SPDX-License-Identifier: Apache-2.0
"""Train the change network without each of its parts, and MONAI networks as large, and print how each one does.

All variants see the same simulated patches and are scored on the same simulated blocks of scans that none of them saw.
Each is trained from scratch for the same processor time (not the same number of steps), on one thread, with the
schedule of `train.yaml`. Fast networks learn from the same draws more often. Thresholds of F1 are chosen on the scored
blocks, for each run its best. The folder of real scans comes from --data or the environment variable MICROCHANGE_DATA.
What is drawn is kept in --cache, finished runs in --results: a run that was stopped goes on when it is started again.

    python benchmarks/ablation.py --cache runs/ablation --results runs/ablation.jsonl
    python benchmarks/ablation.py --results runs/ablation.jsonl --table
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from _ablation_data import HELD_OUT, KeptDraws, origin_of, read_config, scoring_draws, training_draws
from _ablation_results import add_result, find_result, read_results, tables
from _ablation_scores import score_network
from _ablation_training import train_within
from _ablation_variants import VARIANTS, TrainingRecipe, build_variant
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn, track

from monai_microchange import __version__

MIN_SCALES = 3
"""Of the networks."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    if not options.table:
        if options.data is None:
            print("Skipped: neither --data nor MICROCHANGE_DATA names the folder of real scans.")
            return 0
        torch.set_num_threads(1)
        parser = read_config(options)
        kept = KeptDraws(options.cache, origin_of(parser))
        draw_all(kept, parser, options)
        run_all(kept, TrainingRecipe.read(parser), options)
    print(tables(read_results(options.results)) or f"no finished run in {options.results}")
    return 0


def draw_all(kept: KeptDraws, parser: Any, options: argparse.Namespace) -> None:
    """Draw what is not in the folder yet."""
    prepared = kept.folder / "prepared"
    patches = kept.keep_patches(options.draws, lambda: training_draws(parser, prepared))
    for _ in track(patches, "drawing patches", total=options.draws):
        pass
    # no more scans than are drawn from
    scans = HELD_OUT[: max(options.blocks, options.stable_blocks)]
    for count, changes in ((options.blocks, True), (options.stable_blocks, False)):
        blocks = kept.keep_blocks(count, changes=changes, draws=lambda: scoring_draws(parser, prepared, scans))
        for _ in track(blocks, f"drawing blocks {'with' if changes else 'without'} change", total=count):
            pass


def run_all(kept: KeptDraws, recipe: TrainingRecipe, options: argparse.Namespace) -> None:
    """Train and score what is not among the results yet, one seed of all variants after the other."""
    settings = {
        "cpu_minutes": options.cpu_minutes,
        "channels": list(recipe.channels),
        "draws": options.draws,
        "blocks": options.blocks,
        "stable_blocks": options.stable_blocks,
        "drawn": kept.sha256,
    }
    bar = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*bar) as progress:
        for seed in range(options.seeds):
            for name in options.variants:
                if find_result(read_results(options.results), variant=name, seed=seed, settings=settings) is None:
                    result = run_one(name, seed, kept, recipe, options, progress)
                    add_result(options.results, {**result, "settings": settings})


def run_one(
    name: str, seed: int, kept: KeptDraws, recipe: TrainingRecipe, options: argparse.Namespace, progress: Progress
) -> dict[str, Any]:
    """Train and score one variant from one seed."""
    budget_s = 60 * options.cpu_minutes
    network = build_variant(name, recipe, seed=seed)
    training = progress.add_task(f"{name}, seed {seed}: training", total=budget_s)
    trained = train_within(
        budget_s,
        network,
        kept.batches(options.draws, seed=seed),
        recipe,
        seed=seed,
        watch=lambda used_s: progress.update(training, completed=min(used_s, budget_s)),
    )
    scoring = progress.add_task(f"{name}, seed {seed}: scoring", total=options.blocks + options.stable_blocks)
    scores = score_network(
        trained.network,
        kept.blocks(options.blocks, options.stable_blocks),
        watch=lambda: progress.advance(scoring),
    )
    return {
        "variant": name,
        "seed": seed,
        "parameters": trained.parameters,
        "steps": trained.steps,
        "cpu_s": round(trained.cpu_s, 1),
        "last_loss": trained.last_loss,
        **asdict(scores),
        "version": __version__,
        "torch": torch.__version__,
    }


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.channels and len(options.channels) < MIN_SCALES:
        parser.error(
            f"--channels: expected at least {MIN_SCALES} scales, got {len(options.channels)}: self-attention weighs "
            "every pair of voxels of the coarsest one, and with fewer scales that takes tens of GB"
        )
    for name in ("seeds", "draws", "blocks"):
        if getattr(options, name) < 1:
            parser.error(f"--{name}: expected at least 1, got {getattr(options, name)}")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("MICROCHANGE_DATA"), help="folder of the scans")
    parser.add_argument("--cache", type=Path, default=Path("runs/ablation"), help="folder that keeps what is drawn")
    parser.add_argument("--results", type=Path, default=Path("runs/ablation.jsonl"), help="file of the finished runs")
    parser.add_argument("--table", action="store_true", help="only print the table of --results")
    parser.add_argument(
        "--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME", help=_names()
    )
    parser.add_argument("--seeds", type=int, default=2, help="how many times each variant is trained")
    parser.add_argument("--cpu-minutes", type=float, default=20.0, help="processor time of each training")
    parser.add_argument("--channels", type=int, nargs="+", help="width at each scale; that of train.yaml by default")
    parser.add_argument("--scans", type=int, help="how many scans of train.yaml to draw from; all by default")
    parser.add_argument("--draws", type=int, default=800, help="that are learnt from, over and over")
    parser.add_argument("--blocks", type=int, default=12, help="with change, that are scored")
    parser.add_argument("--stable-blocks", type=int, default=6, help="without change, that are scored")
    return parser


def _names() -> str:
    return f"of {', '.join(VARIANTS)}; all by default"


if __name__ == "__main__":
    raise SystemExit(main())
