# SPDX-License-Identifier: Apache-2.0
"""Choices of a comparison, checked when made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from monai_microchange.data import InputError
from monai_microchange.transforms.registration import DEGREES_OF_FREEDOM

__all__ = ["CompareOptions"]

CONFIG_SIGNS = ("$", "@", "%")
"""What MONAI's configuration takes for code, a reference or a macro; no text from the user may begin so."""


@dataclass(frozen=True)
class CompareOptions:
    """Choices of a comparison; the command's options of the same names. None leaves a choice to the bundle.

    Attributes:
        weights: file with weights to use in place of the bundle's.
        device: `auto`, `cpu` or `cuda`.
        roi: `brain` (the anatomy network finds it), or `none`: look everywhere but in air, for other organs.
        brain_mask: mask file in the baseline's space, in place of the network's.
        baseline_lesions: lesion mask in the baseline's space, in place of the rule.
        followup_lesions: lesion mask in the follow-up's space, in place of the rule.
        baseline_series: which DICOM series of the baseline's folder.
        followup_series: which DICOM series of the follow-up's folder.
        false_per_pair: how many false lesions a pair without change may have on average: fewer are surer, and fewer are
            found. 0 < number; `inf` keeps all that the network found.
        degrees_of_freedom: of the alignment: 6 (rigid), 7, 9 or 12 (affine).
        deformable: bend the scans onto each other too, as atrophy may ask for.
        force: compare although PatientIDs differ, the follow-up is the older one, the alignment is uncertain, or the
            verdict on the two acquisitions is `do not compare`.
        allow_identical: compare a scan with itself.
        overwrite: replace an earlier result.
    """

    weights: str | Path | None = None
    device: str | None = None
    roi: str | None = None
    brain_mask: str | Path | None = None
    baseline_lesions: str | Path | None = None
    followup_lesions: str | Path | None = None
    baseline_series: str | None = None
    followup_series: str | None = None
    false_per_pair: float | None = None
    degrees_of_freedom: int | None = None
    deformable: bool = False
    force: bool = False
    allow_identical: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Refuse values that no option has."""
        if self.roi not in (None, "brain", "none"):
            raise InputError(f"roi: expected brain or none, got {self.roi!r}.")
        if self.device not in (None, "auto", "cpu", "cuda"):
            raise InputError(f"device: expected auto, cpu or cuda, got {self.device!r}.")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError("device: expected a CUDA device, found none; use --device cpu.")
        if self.false_per_pair is not None and not self.false_per_pair > 0:
            raise InputError(f"false_per_pair: expected a number above 0, got {self.false_per_pair:g}.")
        if self.degrees_of_freedom not in (None, *DEGREES_OF_FREEDOM):
            raise InputError(
                f"degrees_of_freedom: expected {', '.join(map(str, DEGREES_OF_FREEDOM))}, got "
                f"{self.degrees_of_freedom!r}."
            )
        for series in (self.baseline_series, self.followup_series):
            if series is not None and series.startswith(CONFIG_SIGNS):
                raise InputError(f"series: expected a UID, number or description, got {series!r}.")

    def settings(self) -> dict[str, Any]:
        """What of a bundle's configuration the choices replace. An absolute path is never taken for code."""
        names = ("device", "roi", "baseline_series", "followup_series", "false_per_pair", "degrees_of_freedom")
        chosen: dict[str, Any] = {name: getattr(self, name) for name in names}
        if self.weights is not None:
            chosen["weights"] = str(Path(self.weights).absolute())
        chosen |= {name: True for name in ("deformable", "force", "allow_identical") if getattr(self, name)}
        return {name: value for name, value in chosen.items() if value is not None}
