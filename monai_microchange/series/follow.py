# SPDX-License-Identifier: Apache-2.0
"""Follow each lesion through a series: where it is at each visit, and what became of it in each pair."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from monai.data import MetaTensor

from monai_microchange._frames import apply_affine, spacing_from_affine
from monai_microchange.enums import VISITS, ChangeType
from monai_microchange.postprocessing import locate_lesions
from monai_microchange.result import ChangeResult
from monai_microchange.series.identities import number_over_visits, with_series_ids
from monai_microchange.series.records import SeriesLesion, SeriesVisit

__all__ = ["FollowedLesions", "follow_lesions"]

Pairs = Mapping[tuple[int, int], ChangeResult]
FollowedLesions = tuple[
    dict[tuple[int, int], ChangeResult], tuple[SeriesVisit, ...], tuple[SeriesLesion, ...], MetaTensor
]
"""Pairs with the numbers of the series, visits, lesions, and the map of their numbers over all visits."""


def follow_lesions(pairs: Pairs, *, days: Sequence[int | None], anatomy: MetaTensor | None = None) -> FollowedLesions:
    """Number the lesions over all visits and measure each at each visit.

    A lesion is at a visit where the lesion mask of any of the visit's pairs says so, or the change of such a pair adds
    to it (gain up to this visit, loss from it on). So its volume is at least what any pair's table has.

    Args:
        pairs: result of each pair, by the visits' numbers from 1, all on one grid.
        days: from the first visit to each.
        anatomy: `Anatomy` labels (1, I, J, K) on that grid, which give the lesions their places.

    Returns:
        As `FollowedLesions`.
    """
    results = list(pairs.values())
    affine = results[0].change.affine
    series_ids = number_over_visits([_plain(r.lesion_ids) for r in results], [_plain(r.change) for r in results])
    labels = None if anatomy is None else _plain(anatomy)
    places = locate_lesions(series_ids, labels, spacing_mm=spacing_from_affine(affine.numpy()).tolist())
    numbered = {pair: with_series_ids(result, series_ids, places) for pair, result in pairs.items()}
    visits = tuple(_visit(number, numbered, series_ids, days[number - 1]) for number in range(1, len(days) + 1))
    volumes = np.stack([_volumes_mm3(visit, len(places)) for visit in visits], axis=-1)
    centres = _centres(series_ids, affine.numpy(), len(places))
    rows = {pair: {row.id: row for row in result.lesions} for pair, result in numbered.items()}
    lesions = tuple(
        SeriesLesion(
            id=number,
            location=place,
            centroid_ras_mm=tuple(centres[number - 1].tolist()),
            volumes_mm3=tuple(volumes[number - 1].tolist()),
            rows={pair: of_pair[number] for pair, of_pair in rows.items() if number in of_pair},
        )
        for number, place in enumerate(places, start=1)
    )
    return numbered, visits, lesions, MetaTensor(torch.from_numpy(series_ids)[None], affine=affine)


def _plain(image: MetaTensor) -> np.ndarray:
    return np.asarray(image.as_tensor()[0])


def _visit(number: int, pairs: Pairs, series_ids: np.ndarray, days: int | None) -> SeriesVisit:
    """One visit, from the pairs that it takes part in."""
    of_visit = [(VISITS[pair.index(number)], result) for pair, result in pairs.items() if number in pair]
    name, first = of_visit[0]
    mask, there = np.zeros(series_ids.shape, bool), np.zeros(series_ids.shape, bool)
    for visit, result in of_visit:
        lesion, change = _plain(getattr(result, f"{visit}_lesion")) > 0, _plain(result.change)
        kinds = [kind for kind in ChangeType if kind.is_gain == (visit == "followup")]
        mask |= lesion
        there |= (lesion | np.isin(change, kinds)) & (_plain(result.lesion_ids) > 0)
    affine = first.change.affine
    return SeriesVisit(
        number=number,
        days=days,
        scan=getattr(first, name),
        lesion=MetaTensor(torch.from_numpy(mask.astype(np.uint8))[None], affine=affine),
        lesion_ids=MetaTensor(torch.from_numpy(np.where(there, series_ids, 0).astype(np.int32))[None], affine=affine),
        mid_to_visit=first.space.mid_to(name),
    )


def _volumes_mm3(visit: SeriesVisit, n: int) -> np.ndarray:
    """Volume of each lesion at a visit (n,), in the visit's own millimetres."""
    voxel_mm3 = abs(np.linalg.det(visit.mid_to_visit[:3, :3] @ visit.scan.affine.numpy()[:3, :3]))
    return np.bincount(_plain(visit.lesion_ids).ravel(), minlength=n + 1)[1:] * voxel_mm3


def _centres(series_ids: np.ndarray, affine: np.ndarray, n: int) -> np.ndarray:
    """Centre of each lesion over all visits (n, 3), RAS mm."""
    voxels = np.argwhere(series_ids)
    ids = series_ids[tuple(voxels.T)]
    size = np.maximum(np.bincount(ids, minlength=n + 1), 1)
    mean = np.stack([np.bincount(ids, axis, minlength=n + 1) / size for axis in voxels.T], axis=-1)
    return apply_affine(affine, mean[1:])
