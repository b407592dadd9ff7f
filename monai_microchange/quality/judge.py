# SPDX-License-Identifier: Apache-2.0
"""The quality gate: judges whether two aligned scans may be compared, and maps what is left of misalignment."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform, generate_spatial_bounding_box

from monai_microchange._frames import apply_affine, spacing_from_affine
from monai_microchange.data import InputError
from monai_microchange.enums import VISITS, Verdict
from monai_microchange.quality._coverage import coverage
from monai_microchange.quality._likeness import likeness
from monai_microchange.quality.acquisition import Acquisition
from monai_microchange.quality.comparability import Comparability
from monai_microchange.quality.image_rules import image_reasons
from monai_microchange.quality.measures import PairMeasures, measure_scan
from monai_microchange.quality.misalignment import Misalignment, residual_misalignment
from monai_microchange.quality.protocol_rules import protocol_reasons
from monai_microchange.transforms import foreground

__all__ = ["JudgePaird"]

MARGIN_MM = 8.0
"""How far around the judged region the scans are looked at."""


class JudgePaird(MapTransform):
    """Judge whether two visits may be compared, and measure how far apart they still lie.

    Stands after `AlignMidSpaced` (and `MergeAnatomyd`, where there is an anatomy). Reads the scans in mid-space, the
    `pair` as it was read, `mid_space`, `registration`, and, where they are, `brain`, `anatomy`, the user's
    `brain_mask`, `field_of_view`, and each visit's own brain mask (`baseline_brain`). Without a brain all that is not
    air is judged, and neither structure nor misalignment forbids the comparison: organs move by themselves. Of several
    modalities the first is judged.

    Args:
        force: go on at `do not compare`.

    Returns:
        A copy of the data with `misalignment`, (1, I, J, K) float32 in mm on the scans' grid, 0 outside the brain; and
        `comparability`, a `Comparability`.

    Raises:
        InputError: if the verdict is `do not compare`, with the reasons; or the scans have no region in common.
    """

    def __init__(self, *, force: bool = False):
        super().__init__(VISITS)
        self.force = force

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the verdict and the map to `data`."""
        out = dict(data)
        part = _Part.of(out)
        acquisitions = [Acquisition.of(getattr(out["pair"], visit), out["mid_space"].mid_to(visit)) for visit in VISITS]
        resolutions = np.stack([acquisition.resolution_mm(part.affine) for acquisition in acquisitions])
        found = residual_misalignment(
            part.scans["baseline"].as_tensor(),
            part.scans["followup"].as_tensor(),
            part.mask,
            spacing_mm=part.spacing_mm,
            resolution_mm=resolutions.max(axis=0),
        )
        measures = _measure(out, part, found, resolutions.max(axis=0))
        reasons = protocol_reasons(*acquisitions)
        is_head = any(key in data for key in ("anatomy", "brain", "brain_mask"))
        reasons += image_reasons(measures, resolutions.max(axis=0) / resolutions.min(axis=0), is_head=is_head)
        reasons.sort(key=lambda reason: -reason.verdict.severity)
        protocols = {visit: acquisition.record() for visit, acquisition in zip(VISITS, acquisitions, strict=True)}
        out["comparability"] = Comparability(tuple(reasons), {"acquisition": protocols, **measures.record()})
        distance = torch.zeros(1, *out["baseline"].shape[1:])
        distance[part.box] = found.distance_mm
        out["misalignment"] = MetaTensor(distance, affine=out["baseline"].affine)
        self._stop(out["comparability"])
        return out

    def _stop(self, comparability: Comparability) -> None:
        if comparability.verdict is Verdict.DO_NOT_COMPARE and not self.force:
            worst = [r.sentence for r in comparability.reasons if r.verdict is Verdict.DO_NOT_COMPARE]
            raise InputError(
                f"baseline and followup: do not compare. {' '.join(worst)} Check the scans, or use --force to compare "
                "all the same."
            )


@dataclass(frozen=True, eq=False)
class _Part:
    """The part of mid-space that holds the judged region: all else would only cost time.

    Attributes:
        box: where it lies in (1, I, J, K).
        scans: (1, i, j, k) by visit.
        mask: (1, i, j, k), bool.
        anatomy: `Anatomy` labels (1, i, j, k), or None.
    """

    box: tuple[slice, ...]
    scans: dict[str, MetaTensor]
    mask: torch.Tensor
    anatomy: torch.Tensor | None

    @classmethod
    def of(cls, data: Mapping[Hashable, Any]) -> "_Part":
        """The part around the region, with a margin that smoothing needs."""
        mask, affine = _judged_region(data), data["baseline"].affine.numpy()
        margin = int(np.ceil(MARGIN_MM / spacing_from_affine(affine)[0]))
        start, end = generate_spatial_bounding_box(mask, margin=margin, allow_smaller=True)
        box = (slice(None), *(slice(low, high) for low, high in zip(start, end, strict=True)))
        moved = affine.copy()
        moved[:3, 3] = apply_affine(affine, np.asarray(start))
        scans = {visit: MetaTensor(data[visit].as_tensor()[box], affine=torch.from_numpy(moved)) for visit in VISITS}
        return cls(box, scans, mask[box], data["anatomy"].as_tensor()[box] if "anatomy" in data else None)

    @property
    def affine(self) -> np.ndarray:
        """Voxel to RAS mm of mid-space (4, 4)."""
        return self.scans["baseline"].affine.numpy()

    @property
    def spacing_mm(self) -> float:
        """Voxel size."""
        return float(spacing_from_affine(self.affine)[0])


def _judged_region(data: Mapping[Hashable, Any]) -> torch.Tensor:
    """Mask (1, I, J, K) of the brain, else of the head or body, that both scans show."""
    given = data.get("brain_mask", data.get("brain"))
    region = foreground([data[visit] for visit in VISITS]) if given is None else torch.as_tensor(given.as_tensor())
    if "field_of_view" in data:
        region = region * torch.as_tensor(data["field_of_view"].as_tensor())
    if not bool((region > 0).any()):
        raise InputError(
            "baseline and followup: expected scans that show one region, got none in common; do they show the same "
            "part of the body?"
        )
    return region > 0


def _measure(data: Mapping[Hashable, Any], part: _Part, found: Misalignment, resolution_mm: np.ndarray) -> PairMeasures:
    pair, space, registration = data["pair"], data["mid_space"], data["registration"]
    measured = {
        visit: measure_scan(
            part.scans[visit], getattr(pair, visit).reference, space.mid_to(visit), part.mask, part.anatomy
        )
        for visit in VISITS
    }
    grey, structure, edges = likeness(
        [part.scans[visit].as_tensor() for visit in VISITS],
        part.mask,
        spacing_mm=part.spacing_mm,
        resolution_mm=resolution_mm,
    )
    distances = found.distance_mm[part.mask].numpy()
    return PairMeasures(
        **measured,
        coverage=_coverage(data),
        correlation=grey,
        structure_correlation=structure,
        normalized_mutual_information=registration.normalized_mutual_information,
        edge_distance_mm=edges,
        inverse_consistency_mm=registration.inverse_consistency_mm,
        misalignment_mm={
            "median": float(np.median(distances)),
            "p95": float(np.percentile(distances, 95)),
            "estimated_share": found.estimated_share,
        },
    )


def _coverage(data: Mapping[Hashable, Any]) -> float:
    """Of each visit's own brain mask where there is one, else of all that is not air in its native scan."""
    regions, affines, fields = [], [], []
    for visit in VISITS:
        native = getattr(data["pair"], visit).reference
        to_mid = np.linalg.inv(data["mid_space"].mid_to(visit)) @ native.affine.numpy()
        fields.append((to_mid, tuple(native.shape[1:])))
        brain = data.get(f"{visit}_brain")
        # every fourth voxel will do for a share
        regions.append(brain.as_tensor() if brain is not None else foreground([native])[:, ::4, ::4, ::1])
        affines.append(brain.affine.numpy() if brain is not None else to_mid @ np.diag([4.0, 4.0, 1.0, 1.0]))
    return coverage((regions[0], regions[1]), (affines[0], affines[1]), (fields[0], fields[1]))
