# SPDX-License-Identifier: Apache-2.0
"""The verdict on a pair of acquisitions, with its reasons and what was measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from monai_microchange.enums import Verdict

__all__ = ["Comparability", "Reason"]


@dataclass(frozen=True)
class Reason:
    """One thing that differs between two scans.

    Attributes:
        verdict: what it alone would lead to.
        about: short name of what differs, as in `THRESHOLDS`.
        sentence: what differs, by how much, and what it means for reading change.
    """

    verdict: Verdict
    about: str
    sentence: str


@dataclass(frozen=True)
class Comparability:
    """Whether two scans may be compared.

    Attributes:
        reasons: what differs, worst first; none if the scans are alike in all that was looked at.
        measures: numbers behind the reasons, ready for JSON.

    Example:
        >>> Comparability().verdict.value
        'comparable'
    """

    reasons: tuple[Reason, ...] = ()
    measures: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def verdict(self) -> Verdict:
        """The worst of the reasons' verdicts."""
        verdicts = [reason.verdict for reason in self.reasons]
        return max([Verdict.COMPARABLE, *verdicts], key=lambda verdict: verdict.severity)

    def record(self) -> dict[str, Any]:
        """What `result.json` holds under `comparability`."""
        reasons = [
            {"verdict": str(reason.verdict), "about": reason.about, "text": reason.sentence} for reason in self.reasons
        ]
        return {"verdict": str(self.verdict), "reasons": reasons, "measures": dict(self.measures)}
