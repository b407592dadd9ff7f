# SPDX-License-Identifier: Apache-2.0
"""What all variants of the ablation learn from and are scored on: drawn once, and kept in a folder, a file a draw."""

import hashlib
import itertools
import json
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose, ConcatItemsd
from operating_point import Draws

from monai_microchange import __version__
from monai_microchange._shipped import shipped_bundle
from monai_microchange.training import DrawSource, NumberedDraws

HELD_OUT = tuple(
    {"image": f"ljubljana_longitudinal/{patient}/study{visit}_FLAIR.nii.gz", "thickness_mm": thickness_mm}
    for patient, visit, thickness_mm in (
        ("patient01", 1, 4.0),
        ("patient19", 1, 3.3),
        ("patient01", 2, 3.0),
        ("patient19", 2, 3.0),
    )
)
"""Scans that blocks to score come from, in turn; `train.yaml` does not learn from them."""

BLOCK = (96, 96, 96)
TRAINING_SEED, SCORING_SEED = 31, 4242
DRAWN_BY = ("patch", "patches_per_draw", "patch_centres", "no_change_share", "block")
"""Settings of `train.yaml` that decide, with its transforms, what is drawn."""

TRANSFORMS = ("prepare_scan", "draw_from_scan", "draw_patches")


@dataclass(frozen=True)
class Block:
    """A simulated pair to score: the network's input (C, I, J, K), and `ChangeLabel` codes (I, J, K)."""

    image: torch.Tensor
    label: np.ndarray
    changes: bool


class KeptDraws:
    """The folder that keeps them.

    Args:
        folder: made if there is none.
        origin: settings that decide what is drawn.

    Raises:
        ValueError: if the folder holds draws of other settings.
    """

    def __init__(self, folder: Path, origin: dict[str, Any]):
        self.folder = folder
        self.sha256 = hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()
        folder.mkdir(parents=True, exist_ok=True)
        about = folder / "origin.json"
        if about.exists() and json.loads(about.read_text())["sha256"] != self.sha256:
            raise ValueError(f"{folder} holds draws of other settings ({about.name}): give another folder, or empty it")
        about.write_text(json.dumps({"sha256": self.sha256, **origin}, indent=1) + "\n")

    def keep_patches(self, count: int, draws: Callable[[], NumberedDraws]) -> Iterator[None]:
        """Draw those of the first `count` samples that are missing, one at a turn."""
        missing = [number for number in range(count) if not self._patches(number).exists()]
        source = draws() if missing else None
        for number in range(count):
            if source is not None and number in missing:
                patches = source[number]
                _save(
                    self._patches(number), *(torch.stack([one[key] for one in patches]) for key in ("image", "label"))
                )
            yield

    def keep_blocks(self, count: int, *, changes: bool, draws: Callable[[], Draws]) -> Iterator[None]:
        """Draw the first `count` blocks with change, or without, unless they are there, one at a turn."""
        paths = [self._block(number, changes=changes) for number in range(count)]
        if all(path.exists() for path in paths):
            yield from (None for _ in paths)
            return
        for path, (image, label) in zip(paths, draws().pairs(count, changes=changes, seed=SCORING_SEED), strict=True):
            _save(path, image, torch.from_numpy(label))
            yield

    def batches(self, count: int, *, seed: int) -> Iterator[dict[str, torch.Tensor]]:
        """The patches of one draw after the other, without end, in an order that is another one each time round."""
        for turn in itertools.count():
            for number in np.random.default_rng([seed, turn]).permutation(count):
                kept = torch.load(self._patches(int(number)), weights_only=True)
                yield {key: value.float() for key, value in kept.items()}

    def blocks(self, with_change: int, stable: int) -> Iterator[Block]:
        """All that is scored, one in memory at a time."""
        for count, changes in ((with_change, True), (stable, False)):
            for number in range(count):
                kept = torch.load(self._block(number, changes=changes), weights_only=True)
                yield Block(kept["image"].float(), kept["label"].numpy(), changes)

    def _patches(self, number: int) -> Path:
        return self.folder / f"patches_{number:05d}.pt"

    def _block(self, number: int, *, changes: bool) -> Path:
        return self.folder / f"block_{'change' if changes else 'stable'}_{number:03d}.pt"


def _save(path: Path, image: torch.Tensor, label: torch.Tensor) -> None:
    """Write both at half precision, all of the file or nothing."""
    part = path.with_suffix(".part")
    # a plain tensor, which can be read without trusting the file
    image = image.as_subclass(torch.Tensor)
    torch.save({"image": image.half(), "label": label.to(torch.uint8)}, part)
    part.replace(path)


def read_config(options: Namespace) -> ConfigParser:
    """The training's configuration, with what the options change of it."""
    bundle, parser = shipped_bundle(), ConfigParser()
    parser.read_config(str(bundle / "configs" / "train.yaml"))
    parser.update(
        {"bundle_root": str(bundle), "data_root": str(options.data), "scans": parser["scans"][: options.scans]}
    )
    if options.channels:
        parser["network_def#channels"] = list(options.channels)
    return parser


def origin_of(parser: ConfigParser) -> dict[str, Any]:
    """What decides the draws, in plain values."""
    settings = {name: parser[name] for name in DRAWN_BY}
    transforms = hashlib.sha256(json.dumps([parser[name] for name in TRANSFORMS]).encode()).hexdigest()
    return {
        "version": __version__,
        "scans": parser["scans"],
        "held_out": list(HELD_OUT),
        "scored_block": BLOCK,
        "seeds": [TRAINING_SEED, SCORING_SEED],
        **settings,
        "transforms": transforms,
    }


def training_draws(parser: ConfigParser, cache_dir: Path) -> NumberedDraws:
    """Patches as `train.yaml` draws them from its scans, which are kept prepared."""
    prepare, draw = parser.get_parsed_content("prepare_scan"), parser.get_parsed_content("draw_from_scan")
    source = DrawSource(parser["scans"], prepare, draw, root=parser["data_root"], cache_dir=cache_dir)
    return NumberedDraws([source], seed=TRAINING_SEED)


def scoring_draws(parser: ConfigParser, cache_dir: Path, scans: Sequence[dict[str, Any]] = HELD_OUT) -> Draws:
    """Whole blocks of the held-out scans, as `operating_point.py` draws them."""
    blocks = ConfigParser({**parser.get(), "block": list(BLOCK)})
    steps = blocks.get_parsed_content("draw_from_scan").flatten().transforms
    last = next(number for number, step in enumerate(steps) if isinstance(step, ConcatItemsd))
    prepare = blocks.get_parsed_content("prepare_scan")
    source = DrawSource(scans, prepare, Compose([]), root=parser["data_root"], cache_dir=cache_dir)
    return Draws([source.prepared[n] for n in range(len(scans))], Compose(steps[: last + 1]))
