# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a user's data, one line for each fault."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

__all__ = ["Fault", "FaultKind", "Severity", "has_errors"]


class Severity(StrEnum):
    """Whether the data can be used all the same."""

    ERROR = "error"
    WARNING = "warning"


class FaultKind(StrEnum):
    """What is wrong, in a word that does not change from one version to the next."""

    MISSING_FILE = "missing-file"
    UNUSABLE_SCAN = "unusable-scan"
    HEADER_CONFLICT = "header-conflict"
    SPACING = "spacing"
    EXTENT = "extent"
    OTHER_GRID = "other-grid"
    OTHER_CONTRAST = "other-contrast"
    SAME_SCAN = "same-scan"
    OTHER_PATIENT = "other-patient"
    FOLD_LEAK = "fold-leak"
    DATE_ORDER = "date-order"
    VISIT_ORDER = "visit-order"
    ONE_VISIT = "one-visit"
    NO_SCAN = "no-scan"
    DUPLICATE = "duplicate"
    MISNAMED = "misnamed"
    BAD_TABLE = "bad-table"
    UNUSABLE_LABEL = "unusable-label"
    LABEL_VALUES = "label-values"
    LABEL_OUTSIDE = "label-outside"
    LABEL_EMPTY = "label-empty"
    LABEL_FRAME = "label-frame"
    LABEL_CHOICE = "label-choice"
    UNUSABLE_MASK = "unusable-mask"


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with one file or folder.

    Args:
        kind: what is wrong.
        path: file or folder, as the user gave it.
        message: what was expected, what came, what to do; one sentence.
        severity: an error keeps the pairs from being used, a warning does not.
        cases: names of the pairs that it touches.

    Example:
        >>> print(Fault(FaultKind.ONE_VISIT, "sub-01", "expected two visits, got one; the patient is left out."))
        sub-01: expected two visits, got one; the patient is left out.
    """

    kind: FaultKind
    path: str | Path
    message: str
    severity: Severity = Severity.ERROR
    cases: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.path}: {' '.join(self.message.split())}"

    @property
    def is_error(self) -> bool:
        """Whether its pairs cannot be used."""
        return self.severity is Severity.ERROR


def has_errors(faults: Iterable[Fault]) -> bool:
    """Whether any fault is an error.

    >>> has_errors([Fault(FaultKind.ONE_VISIT, "sub-01", "one visit", Severity.WARNING)])
    False
    """
    return any(fault.is_error for fault in faults)
