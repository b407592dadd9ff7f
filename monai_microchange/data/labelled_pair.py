# SPDX-License-Identifier: Apache-2.0
"""Two visits, and where it is known what truly changed between them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from monai_microchange.enums import VISITS

__all__ = ["MASK_KEYS", "LabelledPair"]

MASK_KEYS = ("brain_mask", "baseline_lesion", "followup_lesion")


@dataclass(frozen=True, eq=False)
class LabelledPair:
    """Two visits and what truly changed between them. `read_datalist` makes these.

    Attributes:
        name: of the case; its result goes into a folder of this name.
        baseline: scan, as `compare` takes it.
        followup: the same of the later visit.
        label: file with a change map on any grid: 1 new, 2 enlarging, 3 shrinking, 4 resolved; None where nobody
            judged the pair.
        label_to_baseline: (4, 4), points of the label to points of the baseline scan, RAS mm; identity where the label
            lies in the baseline's space.
        signed: False for a label that only says that something changed (above 0), not in which direction.
        ignore: mask file in the label's space of what nobody judged (above 0.5), on any grid.
        brain_mask: mask file in the baseline's space.
        baseline_lesion: lesion mask in the baseline's space.
        followup_lesion: lesion mask in the follow-up's space.
        patient: whose scans these are; by default the case's name.
        fold: of a cross-validation, the same for all pairs of a patient.
        interval_days: days from baseline to follow-up.
    """

    name: str
    baseline: Any
    followup: Any
    label: str | Path | None = None
    label_to_baseline: np.ndarray = field(default_factory=lambda: np.eye(4))
    signed: bool = True
    brain_mask: str | Path | None = None
    baseline_lesion: str | Path | None = None
    followup_lesion: str | Path | None = None
    ignore: str | Path | None = None
    patient: str = ""
    fold: int | None = None
    interval_days: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "patient", self.patient or self.name)

    @property
    def pair(self) -> dict[str, Any]:
        """What is compared: the visits and the user's masks."""
        return {key: getattr(self, key) for key in (*VISITS, *MASK_KEYS)}

    @property
    def labelled(self) -> bool:
        """Whether anybody judged the pair."""
        return self.label is not None

    @property
    def record(self) -> dict[str, Any]:
        """The pair as a training pipeline takes it: `ReadPaird` and `ReadChangeLabeld` find their keys in it."""
        record = {"name": self.name, **{key: value for key, value in self.pair.items() if value is not None}}
        if self.label is not None:
            record |= {"label_file": self.label, "label_signed": self.signed}
            record["label_to_baseline"] = self.label_to_baseline.tolist()
            if self.ignore is not None:
                record["label_ignore"] = self.ignore
        return record
