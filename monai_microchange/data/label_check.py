# SPDX-License-Identifier: Apache-2.0
"""Looks for everything that is wrong with the label and the masks of a pair."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import MetaTensor

from monai_microchange._frames import apply_affine
from monai_microchange.data.datalist import MASK_KEYS, LabelledPair
from monai_microchange.data.errors import InputError
from monai_microchange.data.faults import Fault, FaultKind, Severity
from monai_microchange.data.mask import read_mask_like
from monai_microchange.data.visit import Visit
from monai_microchange.data.volume import read_volume
from monai_microchange.enums import ChangeType

__all__ = ["check_label", "check_masks"]

MOST_CHANGED = 0.1
"""Share of a label's voxels above which it looks like a mask turned inside out."""

LEAST_INSIDE = 0.95
"""Share of a label's changed voxels that should lie inside the scan."""


def check_label(case: LabelledPair, baseline: Visit | None, followup: Visit | None) -> list[Fault]:
    """What is wrong with the label of a pair; faults without their cases.

    Args:
        case: the pair; nothing is wrong with one that has no label.
        baseline: as read, None where it cannot be.
        followup: the same.
    """
    if case.label is None:
        return []
    try:
        label = read_volume(case.label, allow_constant=True)
    except InputError as error:
        kind = FaultKind.UNUSABLE_LABEL if Path(case.label).exists() else FaultKind.MISSING_FILE
        return [Fault(kind, case.label, _without(error, case.label))]
    faults = [*_check_values(case, label), *_check_place(case, label, baseline, followup)]
    if case.ignore is not None:
        try:
            read_mask_like(case.ignore, label, what="ignore", allow_empty=True)
        except InputError as error:
            faults.append(Fault(FaultKind.UNUSABLE_MASK, case.ignore, _without(error, case.ignore)))
    return faults


def check_masks(case: LabelledPair, baseline: Visit | None, followup: Visit | None) -> Iterator[Fault]:
    """What is wrong with the brain mask and the lesion masks of a pair; faults without their cases."""
    for key in MASK_KEYS:
        path, visit = getattr(case, key), followup if key.startswith("followup") else baseline
        if path is None or visit is None:
            continue
        try:
            read_mask_like(path, visit.reference, what=key.replace("_", " "), allow_empty=key != "brain_mask")
        except InputError as error:
            yield Fault(FaultKind.UNUSABLE_MASK, path, _without(error, path))


def _without(error: InputError, path: Any) -> str:
    """The message without the path, which begins the line anyhow."""
    return str(error).split(f"{path}: ", 1)[-1]


def _check_values(case: LabelledPair, label: MetaTensor) -> Iterator[Fault]:
    voxels, path = label.numpy(), str(case.label)
    values = set(np.unique(voxels).tolist()) - {0.0}
    strange = sorted(values - set(map(float, ChangeType)))
    if case.signed and strange:
        kinds = ", ".join(f"{int(kind)} {kind.name.lower()}" for kind in ChangeType)
        message = (
            f"expected the values 0, {kinds}, got {', '.join(f'{value:g}' for value in strange[:3])}; correct it, or "
            "say that it has no direction (--unsigned)."
        )
        yield Fault(FaultKind.LABEL_VALUES, path, message)
    if not case.signed and len(values) > 1:
        message = (
            f"expected 0 and one other value, got {len(values)} others; all count as changed: check that it is right."
        )
        yield Fault(FaultKind.LABEL_VALUES, path, message, Severity.WARNING)
    if not values:
        message = "expected changed voxels, got none; right only if nothing changed."
        yield Fault(FaultKind.LABEL_EMPTY, path, message, Severity.WARNING)
    share = float((voxels > 0).mean())
    if share > MOST_CHANGED:
        message = f"expected change in a small part, got {share:.0%} of all voxels; is it turned inside out?"
        yield Fault(FaultKind.LABEL_VALUES, path, message, Severity.WARNING)


def _check_place(
    case: LabelledPair, label: MetaTensor, baseline: Visit | None, followup: Visit | None
) -> Iterator[Fault]:
    if baseline is None:
        return
    path = str(case.label)
    whole = np.stack(np.meshgrid(*(np.linspace(0, size - 1, 9) for size in label.shape[1:]), indexing="ij"), axis=-1)
    if not _share_inside(whole.reshape(-1, 3), label, case.label_to_baseline, baseline):
        message = "expected a grid that overlaps the baseline scan, got one elsewhere; give its label_to_baseline."
        yield Fault(FaultKind.LABEL_OUTSIDE, path, message)
        return
    changed = np.argwhere(label.numpy()[0] > 0)
    inside = _share_inside(changed, label, case.label_to_baseline, baseline) if len(changed) else 1.0
    if inside < LEAST_INSIDE:
        message = f"expected all change inside the baseline scan, got {inside:.0%} of it; check its label_to_baseline."
        severity = Severity.WARNING if inside > 0 else Severity.ERROR
        yield Fault(FaultKind.LABEL_OUTSIDE, path, message, severity)
    given = not np.array_equal(case.label_to_baseline, np.eye(4))
    if followup is not None and not given and _on_grid(label, followup) and not _on_grid(label, baseline):
        message = (
            "expected a label in the baseline's space, got one on the follow-up's grid; right only if the scans are "
            "aligned, else give its label_to_baseline."
        )
        yield Fault(FaultKind.LABEL_FRAME, path, message, Severity.WARNING)


def _share_inside(voxels: np.ndarray, label: MetaTensor, label_to_baseline: np.ndarray, baseline: Visit) -> float:
    """Share of voxels (n, 3) of the label whose centres lie inside the baseline scan."""
    to_scan = np.linalg.inv(baseline.affine) @ label_to_baseline @ label.affine.numpy()
    index = apply_affine(to_scan, voxels)
    return float(((index >= -0.5) & (index <= np.asarray(baseline.shape) - 0.5)).all(axis=1).mean())


def _on_grid(label: MetaTensor, visit: Visit) -> bool:
    same_shape = tuple(label.shape[1:]) == visit.shape
    return same_shape and np.allclose(label.affine.numpy(), visit.affine, atol=1e-3)
