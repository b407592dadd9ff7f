# SPDX-License-Identifier: Apache-2.0
"""Pairs whose truth is known, on whole brains: re-scans of one scan, with lesions put in or without, and real pairs.

All come as a dictionary of arrays (1, I, J, K): baseline, followup, anatomy, brain and label.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser

from monai_microchange._shipped import shipped_bundle
from monai_microchange.data import LesionBank
from monai_microchange.enums import VISITS, Anatomy
from monai_microchange.transforms import LesionRecipe, mark_change, plant_lesions
from monai_microchange.transforms.effects import Acquisition, BiasField, ContrastCurve, RicianNoise, SliceProtocol
from monai_microchange.transforms.simulated_lesion import SimulatedLesion

__all__ = ["HELD_OUT_SCANS", "LESIONS_PER_PAIR", "SEVERITIES", "Rescans", "real_pair", "rescan_acquisition"]

HELD_OUT_SCANS = {
    "patient01": (("study1_FLAIR.nii.gz", 4.0), ("study2_FLAIR.nii.gz", 3.0)),
    "patient19": (("study1_FLAIR.nii.gz", 3.3), ("study2_FLAIR.nii.gz", 3.0)),
}
"""Scans of the patients that are held out in turn, with the thickness of their slices in mm."""

LESIONS_PER_PAIR = 24
APART_MM = 8
SEVERITIES = (0.5, 1.0)
"""Of a re-scan: a scanner used twice, and two scanners."""

ONE_LESION = LesionRecipe(count=(1, 1), no_change_share=0.0, changing_share=0.8)


def rescan_acquisition(random: np.random.RandomState, *, already_mm: float, severity: float) -> Acquisition:
    """Slices of another thickness and angle, sub-voxel misalignment, contrast curve, bias and noise; nothing else."""
    return Acquisition(
        head=(ContrastCurve.draw(random, severity=severity), BiasField.draw(random, severity=severity)),
        slices=SliceProtocol.draw(random, severity=severity, already_mm=already_mm),
        scanner=(RicianNoise.draw(random, severity=severity),),
    )


@dataclass(frozen=True)
class Rescans:
    """Re-scans of one scan.

    Attributes:
        image: (I, J, K), 1 mm, RAS, white matter 1.
        anatomy: `Anatomy` labels (I, J, K).
        brain: (I, J, K), bool.
        thickness_mm: of the slices that the scan was made of.
        bank: shapes of lesions.
    """

    image: np.ndarray
    anatomy: np.ndarray
    brain: np.ndarray
    thickness_mm: float
    bank: LesionBank

    @classmethod
    def of(cls, root: Path, scan: Path, thickness_mm: float) -> "Rescans":
        """Prepare a scan as training does."""
        parser = _train_config(root)
        data = parser.get_parsed_content("prepare_scan")({"image": str(scan), "thickness_mm": thickness_mm})
        image, anatomy, brain = (np.asarray(data[key])[0] for key in ("image", "anatomy", "brain"))
        anatomy = np.ascontiguousarray(anatomy.astype(np.uint8))
        level = float(np.median(image[anatomy == Anatomy.WHITE_MATTER]))
        bank = LesionBank(root / "lesion_shapes" / "shapes.npz")
        return cls(image.astype(np.float32) / level, anatomy, brain > 0, thickness_mm, bank)

    def pair(self, random: np.random.RandomState, *, severity: float, changes: bool) -> dict[str, Any]:
        """One pair; a severity of 1 is that of two scanners."""
        lesions = list(self._lesions(random)) if changes else []
        twice = np.broadcast_to(self.image, (2, *self.image.shape))
        planted = plant_lesions(twice, self.anatomy, lesions, slice_mm=self.thickness_mm)
        data: dict[str, Any] = {"severity": severity, "lesions": planted.records}
        seen = {}
        anatomy = torch.from_numpy(self.anatomy)[None]
        for visit, scan, change in zip(VISITS, planted.scans, (planted.lost, planted.gained), strict=True):
            acquisition = rescan_acquisition(random, already_mm=self.thickness_mm, severity=severity)
            data[visit], seen[visit] = acquisition(
                torch.from_numpy(scan)[None], torch.from_numpy(change)[None], anatomy
            )
        label = mark_change(seen["followup"][0].numpy(), seen["baseline"][0].numpy())
        data |= {
            "anatomy": anatomy,
            "brain": torch.from_numpy(self.brain)[None],
            "label": torch.from_numpy(label)[None],
        }
        return _as_in_mid_space(data)

    def _lesions(self, random: np.random.RandomState) -> Iterator[SimulatedLesion]:
        """Lesions well apart from each other, so that each is found or missed by itself."""
        taken = np.zeros(self.anatomy.shape, dtype=bool)
        for _ in range(LESIONS_PER_PAIR):
            for lesion in ONE_LESION.draw(random, self.bank, self.anatomy, slice_mm=self.thickness_mm, avoid=taken):
                low = np.maximum(lesion.corner - APART_MM, 0)
                high = lesion.corner + lesion.forms.shape[1:] + APART_MM
                taken[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
                yield lesion


def real_pair(root: Path, patient: str) -> dict[str, Any]:
    """The pair of a patient with an expert's mask of change, aligned, as training would see it."""
    parser = _train_config(root, "real_pairs.yaml")
    number = [one["name"] for one in parser["pairs"]].index(patient)
    parser.update({"fold": parser["pairs"][number]["fold"]})
    (record,) = parser.get_parsed_content("validate#pairs")
    return {**parser.get_parsed_content("prepare_pair")(record), "lesions": [], "severity": -1.0}


def _train_config(root: Path, *supplements: str) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config([str(shipped_bundle() / "configs" / name) for name in ("train.yaml", *supplements)])
    parser.update({"data_root": str(root), "bundle_root": str(shipped_bundle())})
    return parser


def _as_in_mid_space(data: Mapping[str, Any]) -> dict[str, Any]:
    """Axes turned from RAS to the left, back, up of mid-space, also in what is known of the lesions."""
    out = {key: torch.flip(part, (1, 2)) if isinstance(part, torch.Tensor) else part for key, part in data.items()}
    size = data["label"].shape[1:]
    out["lesions"] = [
        {**one, "site": [size[0] - 1 - one["site"][0], size[1] - 1 - one["site"][1], one["site"][2]]}
        for one in data["lesions"]
    ]
    return out
