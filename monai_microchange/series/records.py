# SPDX-License-Identifier: Apache-2.0
"""What the comparison of a series gives: visits, pairs, and lesions followed over all of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import MetaTensor

from monai_microchange.enums import Location
from monai_microchange.postprocessing import Lesion
from monai_microchange.result import ChangeResult

__all__ = ["SeriesLesion", "SeriesResult", "SeriesVisit", "pair_name"]


def pair_name(pair: tuple[int, int]) -> str:
    """Name of a pair's folder.

    >>> pair_name((1, 12))
    '01_12'
    """
    return f"{pair[0]:02d}_{pair[1]:02d}"


@dataclass(frozen=True, eq=False)
class SeriesVisit:
    """One visit in the common space. Maps are (1, I, J, K) with their affine to RAS mm.

    Attributes:
        number: from 1, in the order given.
        days: since the first visit, None where a date is unknown.
        scan: the scan in the common space.
        lesion: uint8, 1 where the lesion mask of any of the visit's pairs has lesion.
        lesion_ids: int32, number of the lesion in each voxel that is lesion at this visit: the mask, and what the
            change of the visit's pairs adds to it.
        mid_to_visit: (4, 4), points of the common space to points of the scan, RAS mm.
    """

    number: int
    days: int | None
    scan: MetaTensor
    lesion: MetaTensor
    lesion_ids: MetaTensor
    mid_to_visit: np.ndarray


@dataclass(frozen=True)
class SeriesLesion:
    """One lesion over all visits.

    Attributes:
        id: number from 1, the same at each visit and in each pair.
        location: where in the brain it lies.
        centroid_ras_mm: centre of all its voxels at all visits.
        volumes_mm3: its volume at each visit; 0 where it is not seen.
        rows: its row in each pair that lists it, by the visits' numbers.
    """

    id: int
    location: Location
    centroid_ras_mm: tuple[float, float, float]
    volumes_mm3: tuple[float, ...]
    rows: dict[tuple[int, int], Lesion]

    def type_name(self, pair: tuple[int, int]) -> str:
        """Type of its change in a pair; empty where the pair does not list it."""
        return self.rows[pair].type_name if pair in self.rows else ""

    @property
    def changed_mm3(self) -> float:
        """Gain and loss, summed over consecutive visits."""
        return sum(row.gain_mm3 + row.loss_mm3 for (a, b), row in self.rows.items() if b == a + 1)


@dataclass(frozen=True, eq=False)
class SeriesResult:
    """Answer to: how did each lesion fare from visit to visit?

    Attributes:
        visits: in the order given.
        pairs: full result of each pair, by the visits' numbers from 1: consecutive ones, and the first with the last.
            Their lesion numbers are those of the series.
        lesions: in order of number.
        lesion_ids: (1, I, J, K) int32, number of the lesion in each voxel, over all visits.
        loop_closure_mm: how well the registrations around loops of three visits close.
        provenance: what `series.json` holds.
        folder: where the result was written, if it was.
    """

    visits: tuple[SeriesVisit, ...]
    pairs: dict[tuple[int, int], ChangeResult]
    lesions: tuple[SeriesLesion, ...]
    lesion_ids: MetaTensor
    loop_closure_mm: float | None
    provenance: dict[str, Any]
    folder: Path | None = None
