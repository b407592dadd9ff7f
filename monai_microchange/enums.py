# SPDX-License-Identifier: Apache-2.0
"""Names that the whole package agrees on: visits, kinds of change, anatomy labels and the files of a result folder."""

from enum import IntEnum, StrEnum

__all__ = ["VISITS", "Anatomy", "ChangeLabel", "ChangeType", "Location", "ResultFile", "Verdict"]

VISITS = ("baseline", "followup")
"""The two visits, in the order in which they are given everywhere."""


class ChangeType(IntEnum):
    """Kinds of change, numbered as in `mid/change.nii.gz` (0 there is "no change")."""

    NEW = 1
    ENLARGING = 2
    SHRINKING = 3
    RESOLVED = 4

    @property
    def swapped(self) -> "ChangeType":
        """The same change seen with the visits exchanged.

        >>> ChangeType.NEW.swapped.name
        'RESOLVED'
        """
        return ChangeType(5 - self)

    @property
    def is_gain(self) -> bool:
        """Whether tissue turned into lesion (new, enlarging) rather than back (shrinking, resolved)."""
        return self in (ChangeType.NEW, ChangeType.ENLARGING)


class ChangeLabel(IntEnum):
    """What a training label says of a voxel; the first three are also the classes of the network's logits."""

    NONE = 0
    GAIN = 1
    LOSS = 2
    CHANGED = 3
    """Gain or loss: the label does not say which."""
    UNKNOWN = 4
    """Nobody judged this voxel; it teaches nothing."""


class Anatomy(IntEnum):
    """Labels of the coarse anatomical map that gives brain region, white-matter reference and lesion location."""

    BACKGROUND = 0
    WHITE_MATTER = 1
    CORTEX = 2
    DEEP_GREY = 3
    VENTRICLE = 4
    INFRATENTORIAL = 5
    OUTER_CSF = 6


class Location(StrEnum):
    """Where a lesion lies, in the terms of the McDonald criteria (Thompson 2018, doi 10.1016/S1474-4422(17)30470-2)."""

    PERIVENTRICULAR = "periventricular"
    JUXTACORTICAL = "juxtacortical"
    INFRATENTORIAL = "infratentorial"
    DEEP = "deep"
    UNKNOWN = "unknown"


class Verdict(StrEnum):
    """Whether two acquisitions may be compared, from the best to the worst."""

    COMPARABLE = "comparable"
    READ_WITH_CARE = "read with care"
    DO_NOT_COMPARE = "do not compare"

    @property
    def severity(self) -> int:
        """0 for the best.

        >>> max(Verdict, key=lambda verdict: verdict.severity).value
        'do not compare'
        """
        return list(Verdict).index(self)


class ResultFile(StrEnum):
    """Files of a result folder, relative to it. `{visit}` is one of `VISITS`; README.md says what each holds.

    `WARP`, `INVERSE_WARP` and `JACOBIAN` are there only if the scans were bent onto each other.
    """

    MID_SCAN = "mid/{visit}.nii.gz"
    MID_CHANGE = "mid/change.nii.gz"
    MID_LESION = "mid/{visit}_lesion.nii.gz"
    MID_ASSESSED = "mid/assessed.nii.gz"
    MID_MISALIGNMENT = "mid/misalignment.nii.gz"
    GAIN_PROBABILITY = "mid/gain_probability.nii.gz"
    LOSS_PROBABILITY = "mid/loss_probability.nii.gz"
    NATIVE_CHANGE = "{visit}_space/change.nii.gz"
    TRANSFORM = "transforms/{visit}_to_mid.tfm"
    WARP = "transforms/{visit}_to_mid_warp.h5"
    INVERSE_WARP = "transforms/{visit}_to_mid_warp_inverse.h5"
    JACOBIAN = "mid/jacobian.nii.gz"
    SEGMENTATION = "change.seg.nrrd"
    TABLE = "lesions.csv"
    PROVENANCE = "result.json"
