# SPDX-License-Identifier: Apache-2.0
"""What becomes of a lesion between the visits: its volume and strength at each."""

from dataclasses import dataclass

import numpy as np

from monai_microchange.enums import ChangeType

__all__ = ["LesionCourse", "LesionState"]

VOLUME_MEDIAN_MM3 = 11.0
VOLUME_SPREAD = 1.9
VOLUME_LIMITS_MM3 = (3.0, 4000.0)
"""Changed volume: log-normal. Slices make a lesion look larger and hide the smallest: what is marked in the end has a
median of 47 mm3 (10 % below 14, 10 % above 258). Experts' marks have 46 (12, 322; 741 marks in 18 patients, of the data
of Lesjak 2016, doi 10.1007/s12021-016-9301-1)."""

GROWTH_RANGE = (1.15, 5.0)
"""Volume after growth as a share of the volume before."""

GROWTH_MAX_MM3 = 6000.0


@dataclass(frozen=True)
class LesionState:
    """A lesion at one visit.

    Attributes:
        volume_mm3: 0 where there is none.
        strength: share of its contrast that it has at this visit; less than 1 where it fades.
    """

    volume_mm3: float
    strength: float = 1.0


@dataclass(frozen=True)
class LesionCourse:
    """A lesion at both visits.

    Example:
        >>> course = LesionCourse(LesionState(0.0), LesionState(40.0))
        >>> course.change_type.name, course.swapped.change_type.name
        ('NEW', 'RESOLVED')
    """

    baseline: LesionState
    followup: LesionState

    @property
    def swapped(self) -> "LesionCourse":
        """The same course with the visits exchanged."""
        return LesionCourse(self.followup, self.baseline)

    @property
    def largest_mm3(self) -> float:
        """The larger of the two volumes."""
        return max(self.baseline.volume_mm3, self.followup.volume_mm3)

    @property
    def change_type(self) -> ChangeType | None:
        """The kind of change; None if the lesion is stable. A lesion that only fades counts as shrinking."""
        before, after = (state.volume_mm3 * state.strength for state in (self.baseline, self.followup))
        if before == after:
            return None
        if before == 0 or after == 0:
            return ChangeType.NEW if before == 0 else ChangeType.RESOLVED
        return ChangeType.ENLARGING if after > before else ChangeType.SHRINKING

    @classmethod
    def draw(cls, random: np.random.RandomState, *, changes: bool = True) -> "LesionCourse":
        """Any course: new or resolved (half), larger or smaller (a third), faded or revived (a sixth), or stable.

        What changes is drawn as a gain and then reversed in half of the cases: time has no direction of its own.

        Args:
            random: where the draws come from.
            changes: False gives a stable lesion.
        """
        changed = np.exp(np.log(VOLUME_MEDIAN_MM3) + VOLUME_SPREAD * random.standard_normal())
        changed = float(np.clip(changed, *VOLUME_LIMITS_MM3))
        if not changes:
            state = LesionState(changed * float(random.uniform(1, 4)))
            return cls(state, state)
        kind = random.choice(3, p=[1 / 2, 1 / 3, 1 / 6])
        if kind == 0:
            gain = cls(LesionState(0.0), LesionState(changed))
        elif kind == 1:
            ratio = float(np.exp(random.uniform(*np.log(GROWTH_RANGE))))
            after = min(changed * ratio / (ratio - 1), max(GROWTH_MAX_MM3, 1.2 * changed))
            gain = cls(LesionState(after - changed), LesionState(after))
        else:
            rest = LesionState(changed * float(random.uniform(0.4, 0.9)), float(random.uniform(0.1, 0.5)))
            gain = cls(rest, LesionState(changed))
        return gain if random.random_sample() < 0.5 else gain.swapped
