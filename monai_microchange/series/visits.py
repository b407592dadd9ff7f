# SPDX-License-Identifier: Apache-2.0
"""Read the visits of a series, each once, check them against each other, and segment their anatomy, each once."""

from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

import torch
from monai.data import MetaTensor
from monai.transforms import Transform

from monai_microchange.data import InputError, ScanPair, Visit, read_visit
from monai_microchange.data.pair import pair_visits
from monai_microchange.series.align import SeriesAlignment
from monai_microchange.transforms import SegmentAnatomyd, merge_anatomy

__all__ = ["check_visits", "common_anatomy", "days_since_first", "read_visits", "segment_visits"]


def read_visits(sources: Sequence[str | Path], *, modality: str, force: bool = False) -> list[Visit]:
    """Read one scan of each visit.

    Args:
        sources: paths, as in `read_visit`.
        modality: name of the modality.
        force: accept files of different patients within a visit.

    Raises:
        InputError: whatever `read_visit` refuses, and a path by modality, which only two visits can have.
    """
    for number, source in enumerate(sources, start=1):
        if not isinstance(source, str | Path):
            raise InputError(
                f"visit {number}: expected one path, got {type(source).__name__}; scans by modality can be given for "
                "two visits only."
            )
    return [
        read_visit(source, name=f"visit {number}", modality=modality, force=force)
        for number, source in enumerate(sources, start=1)
    ]


def check_visits(
    visits: Sequence[Visit], *, force: bool = False, allow_identical: bool = False
) -> dict[tuple[int, int], ScanPair]:
    """Check each visit against each later one: one patient, dates that do not go backwards, no scan twice.

    Args:
        visits: in the order of time.
        force: as in `read_pair`.
        allow_identical: as in `read_pair`.

    Returns:
        All pairs, by the visits' numbers from 0.

    Raises:
        InputError: as `pair_visits`, saying which visits do not fit together.
    """
    pairs = {}
    for a, b in combinations(range(len(visits)), 2):
        try:
            pairs[a, b] = pair_visits(visits[a], visits[b], force=force, allow_identical=allow_identical)
        except InputError as error:
            raise InputError(f"visits {a + 1} (baseline) and {b + 1} (followup): {error}") from error
    return pairs


def days_since_first(visits: Sequence[Visit]) -> list[int | None]:
    """Days from the first visit to each; None where a date is unknown."""
    first = visits[0].date
    return [(visit.date - first).days if first and visit.date else None for visit in visits]


def segment_visits(
    visits: Sequence[Visit], stages: Sequence[Transform], *, tell: Callable[[float], None] = lambda share: None
) -> tuple[list[MetaTensor | None], list[MetaTensor | None]]:
    """Anatomy (7, *spatial) and brain (1, *spatial) of each visit, as `SegmentAnatomyd` sees them in a pair.

    Args:
        visits: as read.
        stages: of a pair's preprocessing. Without a `SegmentAnatomyd` among them there is no anatomy: None.
        tell: called with the share done.
    """
    networks = [stage.network for stage in stages if isinstance(stage, SegmentAnatomyd)]
    anatomy: list[MetaTensor | None] = [None] * len(visits)
    brains: list[MetaTensor | None] = [None] * len(visits)
    for index, visit in enumerate(visits if networks else ()):
        key = f"visit {index + 1}"
        seen = SegmentAnatomyd(key, networks[0])({key: visit.reference})
        anatomy[index], brains[index] = seen[f"{key}_anatomy"], seen[f"{key}_brain"]
        tell((index + 1) / len(visits))
    return anatomy, brains


def common_anatomy(anatomy: Sequence[MetaTensor | None], alignment: SeriesAlignment) -> dict[str, MetaTensor]:
    """`anatomy` and `brain` (1, I, J, K), as `MergeAnatomyd` names them, merged over all visits; empty without any.

    So brain and places are the same for every pair.
    """
    seen = [probability for probability in anatomy if probability is not None]
    if not seen:
        return {}
    moved = []
    for probability, mid_to_visit in zip(seen, alignment.mid_to_visits, strict=True):
        there = probability.clone()
        there.affine = torch.linalg.inv(torch.as_tensor(mid_to_visit)) @ probability.affine
        moved.append(there)
    grid = MetaTensor(torch.zeros(1, *alignment.shape), affine=torch.as_tensor(alignment.affine))
    merged = merge_anatomy(moved, grid)
    brain = MetaTensor((merged.as_tensor() > 0).to(torch.uint8), affine=merged.affine)
    return {"anatomy": merged, "brain": brain}
