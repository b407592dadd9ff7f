# SPDX-License-Identifier: Apache-2.0
"""Numbered draws: sample number n of a run is the same whichever process draws it, and whenever."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.transforms import Compose
from torch.utils.data import Dataset, Sampler

from monai_microchange.training.inputs import hash_inputs, merge_inputs
from monai_microchange.training.keep import kept_items
from monai_microchange.training.processes import process_count, process_rank

__all__ = ["DrawNumbers", "DrawSource", "NumberedDraws"]


class DrawSource:
    """Scans, or pairs, of one kind: how each is prepared once, and how samples are drawn from it.

    Args:
        items: a data dictionary each; paths in it are relative to `root`.
        prepare: deterministic transform, whose results are kept.
        draw: random transform of a prepared item, to a sample or to a list of patches.
        share: of the draws that come from this source, against the shares of the others.
        root: folder that the items' paths start from.
        cache_dir: folder that keeps prepared items for the next run; None keeps them in memory alone.
        named: whether `inputs` may name the files; see `hash_inputs`.

    Raises:
        ValueError: if the share is negative.
    """

    def __init__(
        self,
        items: Sequence[Mapping[str, Any]],
        prepare: Compose,
        draw: Compose,
        *,
        share: float = 1.0,
        root: str | Path = ".",
        cache_dir: str | Path | None = None,
        named: bool = True,
    ):
        if share < 0:
            raise ValueError(f"share must not be negative; got {share}")
        # what is never drawn is neither prepared nor learnt from
        items = items if share > 0 else []
        self.share = share if items else 0.0
        self.draw = draw
        self.inputs = hash_inputs(items, root, named=named)
        self.prepared = kept_items(items, prepare, root=root, cache_dir=cache_dir)


class NumberedDraws(Dataset[Any]):
    """Endless samples, each with a number that alone decides, with the seed, which one it is.

    So a run needs no stored random state to go on where it broke off, and several processes draw what one would.

    Args:
        sources: what is drawn from; those without items are left out.
        seed: of all draws; another seed gives others.

    Raises:
        ValueError: if no source has an item and a share.

    Example:
        >>> import torch
        >>> from monai.transforms import RandGaussianNoised
        >>> draw = Compose([RandGaussianNoised("x", prob=1.0)])
        >>> draws = NumberedDraws([DrawSource([{"x": torch.zeros(1, 4)}], Compose([]), draw)], seed=0)
        >>> seventh, eighth = draws[7]["x"], draws[8]["x"]
        >>> bool((draws[7]["x"] == seventh).all()), bool((seventh == eighth).any())
        (True, False)
    """

    def __init__(self, sources: Sequence[DrawSource], *, seed: int):
        self.sources = [source for source in sources if source.share > 0]
        if not self.sources:
            raise ValueError("there is nothing to draw from: give scans, or labelled pairs, and a share above 0")
        self.seed = seed
        shares = np.array([source.share for source in self.sources])
        self.chances = shares / shares.sum()

    def __getitem__(self, number: int) -> Any:
        """Draw sample `number`: a data dictionary, or a list of them (the patches of one block)."""
        random = np.random.RandomState(np.random.SeedSequence([self.seed, number]).generate_state(4))
        source = self.sources[random.choice(len(self.sources), p=self.chances)]
        item = source.prepared[random.randint(len(source.prepared))]
        source.draw.set_random_state(seed=random.randint(2**31))
        return source.draw(item)

    @property
    def inputs(self) -> dict[str, str]:
        """SHA-256 of every file that is drawn from, by name."""
        return merge_inputs(*(source.inputs for source in self.sources))


class DrawNumbers(Sampler[int]):
    """The numbers that this process draws, step by step, over a whole run.

    Step i takes the draws from `i * batch_size` on; with several processes each takes an equal, contiguous part of
    them. Set `first_step` to go on in the middle of a run.

    Args:
        steps: of the whole run.
        batch_size: draws per step, of all processes together.
        rank: which process this is; found out by default.
        processes: how many there are; found out by default.

    Raises:
        ValueError: if the processes cannot share a batch evenly.

    Example:
        >>> [list(DrawNumbers(2, 4, rank=rank, processes=2)) for rank in (0, 1)]
        [[0, 1, 4, 5], [2, 3, 6, 7]]
    """

    def __init__(self, steps: int, batch_size: int, *, rank: int | None = None, processes: int | None = None):
        self.rank = process_rank() if rank is None else rank
        processes = process_count() if processes is None else processes
        if batch_size < 1 or batch_size % processes:
            raise ValueError(
                f"batch_size must be a multiple of the number of processes, {processes}; got {batch_size}: "
                "it counts the draws of all processes together"
            )
        self.steps = steps
        self.batch_size = batch_size
        self.own_batch_size = batch_size // processes
        self.first_step = 0

    def __iter__(self) -> Iterator[int]:
        """Numbers from `first_step` on."""
        for step in range(self.first_step, self.steps):
            start = step * self.batch_size + self.rank * self.own_batch_size
            yield from range(start, start + self.own_batch_size)

    def __len__(self) -> int:
        """How many numbers are left to this process."""
        return (self.steps - self.first_step) * self.own_batch_size
