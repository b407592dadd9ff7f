# SPDX-License-Identifier: Apache-2.0
"""The stages of a comparison: their names, their progress and their seconds."""

import time
from collections.abc import Callable

__all__ = ["STAGES", "Progress", "StageClock"]

Progress = Callable[[str, float], None]
"""Called with the name of a stage and the share of it that is done, from 0 to 1."""

STAGES = {
    "ReadPaird": "reading",
    "ReadUserMasksd": "reading",
    "SegmentAnatomyd": "anatomy",
    "AlignMidSpaced": "alignment",
    "MergeAnatomyd": "anatomy",
    "JudgePaird": "quality",
    "AssessRegiond": "harmonisation",
    "CopyItemsd": "harmonisation",
    "BalanceBiasd": "harmonisation",
    "HarmonizeVisitsd": "harmonisation",
    "ConcatItemsd": "harmonisation",
    "FindLesionsd": "lesions",
}
"""What the summary calls the time that a transform takes."""


class StageClock:
    """Tells progress and keeps the seconds of each stage; `stage` gives a context manager.

    Args:
        progress: called with stage and share done.

    Example:
        >>> clock = StageClock(lambda stage, share: print(stage, share))
        >>> with clock.stage("reading"):
        ...     pass
        reading 0.0
        reading 1.0
    """

    def __init__(self, progress: Progress | None):
        self.tell: Progress = progress or (lambda stage, share: None)
        self.seconds: dict[str, float] = {}
        self._stage, self._start = "", 0.0

    def stage(self, name: str) -> "StageClock":
        """The clock, set to a stage."""
        self._stage = name
        return self

    def __enter__(self) -> None:
        self.tell(self._stage, 0.0)
        self._start = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        spent = time.perf_counter() - self._start
        self.seconds[self._stage] = round(self.seconds.get(self._stage, 0.0) + spent, 3)
        if error[0] is None:
            self.tell(self._stage, 1.0)
