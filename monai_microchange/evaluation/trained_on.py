# SPDX-License-Identifier: Apache-2.0
"""Keep scores honest: no case that the weights learnt from."""

from collections.abc import Sequence
from pathlib import Path

from monai_microchange.data.datalist import LabelledPair
from monai_microchange.enums import VISITS
from monai_microchange.networks.weights import training_record
from monai_microchange.training.inputs import hash_inputs

__all__ = ["TRAINED_ON", "cases_trained_on", "record_is_complete"]

TRAINED_ON = "TRAINING-SET SCORES: the weights learnt from these scans"


def cases_trained_on(cases: Sequence[LabelledPair], weights: str | Path) -> list[str]:
    """Names of the cases of which a scan, byte for byte, is among the files that weights learnt from.

    The same scan in another format, or another scan of the same patient, is not recognised.

    Args:
        cases: pairs; only their scans are looked at, since two labels may be equal by chance (nothing changed).
        weights: file whose record says what it learnt from; one that says nothing knows of no case.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file holds no weights.
    """
    record = training_record(weights)
    learnt = set(record["inputs"].values()) if record else set()
    if not learnt:
        return []
    return [
        case.name
        for case in cases
        if learnt & set(hash_inputs([{visit: getattr(case, visit) for visit in VISITS}]).values())
    ]


def record_is_complete(weights: str | Path) -> bool:
    """Whether weights name every file that they learnt from."""
    record = training_record(weights)
    return bool(record and record.get("inputs_complete", False))
