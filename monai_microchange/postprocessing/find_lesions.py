# SPDX-License-Identifier: Apache-2.0
"""The way from a network's logits to lesions, as one MONAI transform."""

import math
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from monai_microchange._frames import spacing_from_affine
from monai_microchange.enums import VISITS
from monai_microchange.postprocessing.candidates import describe_candidates
from monai_microchange.postprocessing.confidence import ConfidenceModel
from monai_microchange.postprocessing.hyperintensity import visit_lesions
from monai_microchange.postprocessing.lesions import list_lesions
from monai_microchange.postprocessing.records import MidMaps
from monai_microchange.postprocessing.types import ChangeMaps, find_changes

__all__ = ["FindLesionsd"]

FOR_OTHER = " for other weights, another region or other voxels"


class FindLesionsd(MapTransform):
    """Turn logits into maps of change and a list of lesions.

    Reads the logits (3, I, J, K) under its key, and from the preprocessing `baseline_harmonized`,
    `followup_harmonized`, `brain`, `assessed`, and where there are any `anatomy`, `baseline_lesion`,
    `followup_lesion`, `mid_space`; for a calibrated confidence also `depth_mm`, and `baseline_input`,
    `followup_input` (2, I, J, K), what the network was shown of the first modality. Adds

    - `gain_probability`, `loss_probability` (1, I, J, K), zero where nothing was assessed;
    - `baseline_lesion`, `followup_lesion` (1, I, J, K) uint8, unless they are there, and `lesion_source` by visit;
    - `change` (1, I, J, K) uint8, `ChangeType`; `lesion_ids` (1, I, J, K) int32; `lesions`, a list of `Lesion`;
    - `operating_point`, the numbers by which they were found, for the record.

    A row's volume at a visit is that of the visit's mask together with what the change adds to it: gained voxels at
    follow-up, lost ones at baseline. Where the way from mid-space to the scans is not rigid, volumes are those in the
    scan that shows them: a gain in the follow-up's space, a loss in the baseline's. So a lesion that did not change
    keeps different volumes at both visits where all tissue shrank by atrophy, and no gain or loss. What the options
    say of volume, such as the least one, is measured in mid-space, the same for both visits.

    Args:
        keys: the logits.
        threshold: a voxel changed if gain or loss is likelier than this.
        seed_threshold: a component of change must hold a voxel in which it is likelier than this, and which lies in
            `seed_region`, where the data have one.
        min_volume_mm3: smaller components are dropped.
        confidence: gives each component the probability that it is true; None leaves the network's own.
        false_per_pair: drop components by their confidence so that a pair without change has so many false lesions on
            average; None, infinity (also as text), or no confidence keeps all.

    Raises:
        ValueError: if a number is out of its range.
        InputError: if `false_per_pair` is stricter than what was measured.
    """

    def __init__(
        self,
        keys: KeysCollection = "pred",
        *,
        threshold: float = 0.5,
        seed_threshold: float = 0.0,
        min_volume_mm3: float = 3.0,
        confidence: ConfidenceModel | None = None,
        false_per_pair: float | None = None,
    ):
        super().__init__(keys)
        if not 0 < threshold < 1:
            raise ValueError(f"threshold must be between 0 and 1; got {threshold}")
        self.threshold = threshold
        self.seed_threshold = seed_threshold
        self.min_volume_mm3 = min_volume_mm3
        self.confidence = confidence
        rate = math.inf if false_per_pair in (None, "null", "none") else float(false_per_pair)  # type: ignore[arg-type]
        keeps_all = confidence is None or math.isinf(rate)
        self.false_per_pair = None if keeps_all else rate
        self.least_confidence = 0.0 if confidence is None or keeps_all else confidence.least_confidence(rate)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Find the lesions in `data`."""
        out = dict(data)
        (key,) = self.key_iterator(out)
        affine = out["assessed"].affine
        assessed = out["assessed"].as_tensor()
        probability = torch.as_tensor(out[key]).as_subclass(torch.Tensor).float().cpu().softmax(dim=0)
        gain, loss = (probability[i].where(assessed[0] > 0, 0.0).numpy() for i in (1, 2))
        self._add_visit_lesions(out)
        before, after = (np.asarray(out[f"{visit}_lesion"].as_tensor()[0]) > 0 for visit in VISITS)
        changes = find_changes(
            gain,
            loss,
            before,
            after,
            assessed[0].numpy(),
            spacing_mm=spacing_from_affine(affine.numpy()).tolist(),
            threshold=self.threshold,
            seed_threshold=self.seed_threshold,
            seed_region=np.asarray(out["seed_region"].as_tensor()[0]) if "seed_region" in out else None,
            min_volume_mm3=self.min_volume_mm3,
        )
        if self.confidence is not None:
            changes = self._sure_enough(self.confidence, changes, (gain, loss), out)
        looked_at = assessed[0].numpy() > 0
        gained, lost = changes.gain_labels > 0, changes.loss_labels > 0
        maps = MidMaps(
            baseline=np.asarray(out["baseline_harmonized"][0]),
            followup=np.asarray(out["followup_harmonized"][0]),
            # what was not assessed cannot be called stable
            baseline_lesion=(before & looked_at) | lost,
            followup_lesion=(after & looked_at) | gained,
            gain_probability=gain,
            loss_probability=loss,
            affine=affine.numpy(),
            anatomy=np.asarray(out["anatomy"].as_tensor()[0]) if "anatomy" in out else None,
        )
        space = out.get("mid_space")
        ids, out["lesions"] = list_lesions(
            changes,
            maps,
            min_volume_mm3=self.min_volume_mm3,
            determinants=(1.0, 1.0)
            if space is None
            else (space.volume_ratio("baseline"), space.volume_ratio("followup")),
        )
        for name, array in (
            ("gain_probability", gain.astype(np.float32)),
            ("loss_probability", loss.astype(np.float32)),
            ("change", changes.change),
            ("lesion_ids", ids),
        ):
            out[name] = MetaTensor(torch.from_numpy(array)[None], affine=affine)
        names = ("threshold", "seed_threshold", "min_volume_mm3", "false_per_pair", "least_confidence")
        out["operating_point"] = {name: getattr(self, name) for name in names}
        out["operating_point"]["confidence"] = "the network's own probability"
        if self.confidence is not None:
            same = not self.confidence.of_other_weights and "seed_region" in out and _is_unit(affine.numpy())
            out["operating_point"]["confidence"] = f"calibrated{'' if same else FOR_OTHER}"
        return out

    def _sure_enough(
        self,
        model: ConfidenceModel,
        changes: ChangeMaps,
        probabilities: tuple[np.ndarray, np.ndarray],
        data: Mapping[Hashable, Any],
    ) -> ChangeMaps:
        """The components that are sure enough, with their confidence."""
        baseline, followup = (np.asarray(data[f"{visit}_input"][:2]) for visit in VISITS)
        depth = np.asarray(data["depth_mm"].as_tensor()[0])
        spacing_mm = float(spacing_from_affine(data["assessed"].affine.numpy()).mean())
        gain, loss = (
            model(describe_candidates(labels, probability, darker, brighter, depth, spacing_mm=spacing_mm))
            for labels, probability, darker, brighter in (
                (changes.gain_labels, probabilities[0], baseline, followup),
                (changes.loss_labels, probabilities[1], followup, baseline),
            )
        )
        return changes.surer_than(gain, loss, self.least_confidence)

    def _add_visit_lesions(self, out: dict[Hashable, Any]) -> None:
        anatomy = out["anatomy"].as_tensor()[0].numpy() if "anatomy" in out else None
        source = {}
        for visit in VISITS:
            name = f"{visit}_lesion"
            source[visit] = "mask given by the user" if name in out else "rule: brighter than white matter"
            if name not in out:
                harmonized = out[f"{visit}_harmonized"]
                mask = visit_lesions(
                    np.asarray(harmonized[0]),
                    out["brain"].as_tensor()[0].numpy(),
                    anatomy,
                    spacing_mm=spacing_from_affine(out["brain"].affine.numpy()).tolist(),
                )
                out[name] = MetaTensor(torch.from_numpy(mask)[None], affine=out["brain"].affine)
        out["lesion_source"] = source


def _is_unit(affine: np.ndarray) -> bool:
    """Whether voxels are of 1 mm, as those of the pairs were to which confidence is fitted."""
    return bool(np.allclose(spacing_from_affine(affine), 1.0, atol=1e-3))
