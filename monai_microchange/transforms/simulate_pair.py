# SPDX-License-Identifier: Apache-2.0
"""Random pairs of visits with known change: made of one scan, or of the scans of a real pair."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from monai.utils import convert_to_dst_type

from monai_microchange.data.lesion_bank import LesionBank
from monai_microchange.enums import VISITS, Anatomy, ChangeLabel
from monai_microchange.transforms.effects import Acquisition
from monai_microchange.transforms.lesion_change import mark_change, plant_lesions
from monai_microchange.transforms.lesion_recipe import LesionRecipe

__all__ = ["RandInsertChanged", "RandSimulateChanged"]

CHANGES = (ChangeLabel.GAIN, ChangeLabel.LOSS, ChangeLabel.CHANGED)


class RandSimulateChanged(MapTransform, Randomizable):
    """Turn a scan into a baseline and a follow-up between which lesions appear, grow, shrink, fade and vanish.

    Both visits then pass through an acquisition of their own, so that the pair differs in all that real pairs differ in
    beside the change. A tenth of the pairs has stable lesions only.

    Args:
        keys: one key: the scan (1, I, J, K), 1 mm, axes along RAS, air near 0. It is taken out.
        bank: lesion shapes.
        anatomy_key: `Anatomy` labels (1, I, J, K) of the scan.
        label_key: where the truth (1, I, J, K), uint8, goes: `ChangeLabel` codes, by the rule of `mark_change`.
        thickness_key: slice thickness in mm that the scan itself has, along its last axis; 1 where the key is missing.
        recipe: which lesions, how many.
        severity: of the acquisitions: 0 is harmless, 1 is what clinical scans show.

    Raises:
        ValueError: if the anatomy holds no tissue for lesions, or lies on another grid.
    """

    def __init__(
        self,
        keys: KeysCollection,
        bank: LesionBank,
        *,
        anatomy_key: str = "anatomy",
        label_key: str = "label",
        thickness_key: str = "thickness_mm",
        recipe: LesionRecipe | None = None,
        severity: float = 1.0,
    ):
        super().__init__(keys)
        self.bank = bank
        self.anatomy_key = anatomy_key
        self.label_key = label_key
        self.thickness_key = thickness_key
        self.recipe = LesionRecipe() if recipe is None else recipe
        self.severity = severity

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of `data` with "baseline", "followup", the label and "simulated" added.

        "simulated" holds, in plain values, `lesions` (one dict each: type, volumes, contrast, location, site) and
        `effects` (for each visit the names of what its acquisition did).
        """
        out = dict(data)
        (key,) = self.key_iterator(out)
        image, anatomy = _scan(out.pop(key)), _labels(out[self.anatomy_key])
        image = image / _white_matter(image, anatomy)
        already_mm = float(out.get(self.thickness_key, 1.0))
        lesions = self.recipe.draw(self.R, self.bank, anatomy, slice_mm=already_mm)
        pair = plant_lesions(np.broadcast_to(image, (2, *image.shape)), anatomy, lesions, slice_mm=already_mm)
        seen, effects = {}, {}
        for visit, scan, change in zip(VISITS, pair.scans, (pair.lost, pair.gained), strict=True):
            acquisition = Acquisition.draw(self.R, already_mm=already_mm, severity=self.severity)
            tensors = (torch.from_numpy(part)[None] for part in (scan, change, anatomy))
            out[visit], seen[visit] = acquisition(*tensors)
            effects[visit] = [type(effect).__name__ for effect in acquisition.effects]
        label = mark_change(seen["followup"][0].numpy(), seen["baseline"][0].numpy())
        out[self.label_key] = torch.from_numpy(label)[None]
        out["simulated"] = {"lesions": pair.records, "effects": effects}
        return out


class RandInsertChanged(MapTransform, Randomizable):
    """Put more change into a real pair: its confounders are real, and so is what changed in it already.

    Lesions are planted at a distance from all change that the label marks already; where nobody judged, they are all
    that is known. They are as blurred as the scans' slices; nothing else is done to the scans.

    Args:
        keys: two keys: baseline and follow-up, (1, I, J, K) on one 1 mm grid, the last axis up or down.
        bank: lesion shapes.
        anatomy_key: `Anatomy` labels (1, I, J, K).
        label_key: `ChangeLabel` codes (1, I, J, K) of the real change; without the key the pair counts as unchanged.
        thickness_key: slice thickness in mm, along the last axis; one number or one per visit, of which the larger
            counts. 1 where the key is missing.
        recipe: which lesions, how many.

    Raises:
        ValueError: if there are not two keys, or the scans, the anatomy and the label lie on different grids.
    """

    def __init__(
        self,
        keys: KeysCollection,
        bank: LesionBank,
        *,
        anatomy_key: str = "anatomy",
        label_key: str = "label",
        thickness_key: str = "thickness_mm",
        recipe: LesionRecipe | None = None,
    ):
        super().__init__(keys)
        if len(self.keys) != 2:
            raise ValueError(f"expected the keys of baseline and follow-up, got {self.keys}")
        self.bank = bank
        self.anatomy_key = anatomy_key
        self.label_key = label_key
        self.thickness_key = thickness_key
        self.recipe = LesionRecipe() if recipe is None else recipe

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of `data` with the lesions in both scans and in the label, and "simulated" added."""
        out = dict(data)
        anatomy = _labels(out[self.anatomy_key])
        scans = [_scan(out[key]) for key in self.keys]
        known = _labels(out[self.label_key]) if self.label_key in out else np.zeros_like(anatomy)
        if {scan.shape for scan in scans} | {known.shape} != {anatomy.shape}:
            shapes = [scan.shape for scan in scans]
            raise ValueError(
                f"expected all on the grid {anatomy.shape} of the anatomy, got {shapes} and a label of {known.shape}"
            )
        levels = [_white_matter(scan, anatomy) for scan in scans]
        slice_mm = float(np.max(out.get(self.thickness_key, 1.0)))
        lesions = self.recipe.draw(self.R, self.bank, anatomy, slice_mm=slice_mm, avoid=np.isin(known, CHANGES))
        normal = np.stack([scan / level for scan, level in zip(scans, levels, strict=True)])
        pair = plant_lesions(normal, anatomy, lesions, slice_mm=slice_mm)
        for key, scan, level in zip(self.keys, pair.scans, levels, strict=True):
            out[key] = convert_to_dst_type(torch.from_numpy(scan * level)[None], torch.as_tensor(out[key]))[0]
        planted = mark_change(pair.gained, pair.lost)
        free = ~np.isin(known, CHANGES) & (planted != ChangeLabel.NONE)
        label = np.where(free, planted, known)
        like = torch.as_tensor(out.get(self.label_key, out[self.anatomy_key]))
        out[self.label_key] = convert_to_dst_type(torch.from_numpy(label)[None], like)[0]
        out["simulated"] = {"lesions": pair.records, "effects": {key: [] for key in self.keys}}
        return out


def _scan(image: Any) -> np.ndarray:
    """The first channel of an image (1, I, J, K), float32."""
    return np.asarray(image, dtype=np.float32)[0]


def _labels(labels: Any) -> np.ndarray:
    """The first channel of a label map (1, I, J, K), uint8."""
    return np.ascontiguousarray(np.asarray(labels)[0].astype(np.uint8))


def _white_matter(image: np.ndarray, anatomy: np.ndarray) -> float:
    """Median brightness of white matter, which becomes 1: then contrasts mean the same in every scan."""
    white = image[anatomy == Anatomy.WHITE_MATTER]
    if white.size == 0:
        raise ValueError("the anatomy holds no white matter to scale the scan by: is it the label map of this scan?")
    return max(float(np.median(white)), 1e-6)
