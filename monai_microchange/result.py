# SPDX-License-Identifier: Apache-2.0
"""What a comparison gives: maps, lesions, and how they came about."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.data import MetaTensor

from monai_microchange.enums import ChangeType
from monai_microchange.postprocessing import Lesion
from monai_microchange.quality import Comparability
from monai_microchange.transforms import MidSpace

__all__ = ["ChangeResult"]


@dataclass(frozen=True, eq=False)
class ChangeResult:
    """Answer to: what is new, what grew, what shrank, what is gone?

    All maps are (1, I, J, K) in mid-space, with their affine to RAS mm.

    Attributes:
        lesions: one entry a lesion, changed ones first; stable ones have no `change_type`.
        change: uint8, `ChangeType` of each changed voxel.
        lesion_ids: int32, number of the lesion in each voxel, as in `lesions`.
        gain_probability: probability that tissue turned into lesion.
        loss_probability: probability that lesion turned back.
        baseline: baseline scan in mid-space.
        followup: follow-up scan in mid-space.
        baseline_lesion: uint8, lesion at baseline.
        followup_lesion: uint8, lesion at follow-up.
        assessed: uint8, 1 where a change could have been seen.
        misalignment: float32, mm that the scans still lie apart, 0 outside the brain (or head).
        comparability: whether the two acquisitions may be compared, and why (not).
        native_change: change on each visit's own grid, by visit.
        space: mid-space and how it maps to each visit.
        interval_days: days between the visits, where known.
        provenance: what `result.json` holds.
        folder: where the result was written, if it was.
    """

    lesions: tuple[Lesion, ...]
    change: MetaTensor
    lesion_ids: MetaTensor
    gain_probability: MetaTensor
    loss_probability: MetaTensor
    baseline: MetaTensor
    followup: MetaTensor
    baseline_lesion: MetaTensor
    followup_lesion: MetaTensor
    assessed: MetaTensor
    misalignment: MetaTensor
    comparability: Comparability
    native_change: dict[str, MetaTensor]
    space: MidSpace
    interval_days: int | None
    provenance: dict[str, Any]
    folder: Path | None = None

    @property
    def counts(self) -> dict[str, int]:
        """How many lesions there are of each type, stable ones included."""
        seen = Counter(lesion.type_name for lesion in self.lesions)
        return {name: seen[name] for name in (*(kind.name.lower() for kind in ChangeType), "stable")}
