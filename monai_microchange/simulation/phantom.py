# SPDX-License-Identifier: Apache-2.0
"""A pair of FLAIR-like head scans in which every change is known."""

from dataclasses import dataclass, field

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from scipy import ndimage

from monai_microchange._frames import apply_affine
from monai_microchange.enums import VISITS
from monai_microchange.simulation.acquisition import Protocol, acquire, draw_pose
from monai_microchange.simulation.head import build_head
from monai_microchange.simulation.lesions import PlantedLesion, draw_lesions

__all__ = ["Phantom", "make_phantom"]

BASELINE_PROTOCOL = Protocol("axial", 1.1, 3.0, tilt_degrees=(-8.0, 0.0, 0.0), white_matter=200.0)
FOLLOWUP_PROTOCOL = Protocol("sagittal", 1.2, 2.4, tilt_degrees=(0.0, 2.0, -3.0), white_matter=140.0)

_SOFT_EDGE_MM = 0.6


@dataclass(frozen=True)
class Phantom:
    """Two scans of one simulated patient and the truth about them.

    The *anatomical frame* is that of the head itself, RAS mm, near MNI152; each visit lies in its own scanner frame.

    Args:
        seed: What it was drawn from.
        baseline: Scan (1, I, J, K), float32 holding whole numbers, with its affine (4, 4) to scanner RAS mm.
        followup: The same of the second visit, on its own grid.
        truth: `ChangeType` of each changed voxel (1, I, J, K), uint8, on the 1 mm anatomical grid, 0 elsewhere.
        baseline_lesion: Lesion at baseline (1, I, J, K), uint8, on the anatomical grid; stable lesions are in it.
        followup_lesion: Lesion at follow-up, likewise.
        anatomy_to_baseline: (4, 4) rigid, maps points of the anatomical frame to points of the baseline scan, RAS mm.
        anatomy_to_followup: The same to the follow-up scan.
        lesions: All planted lesions, stable ones last.
        protocols: How each visit was scanned, by visit.
    """

    seed: int
    baseline: MetaTensor
    followup: MetaTensor
    truth: MetaTensor
    baseline_lesion: MetaTensor
    followup_lesion: MetaTensor
    anatomy_to_baseline: NDArray[np.float64]
    anatomy_to_followup: NDArray[np.float64]
    lesions: tuple[PlantedLesion, ...] = field(repr=False)
    protocols: dict[str, Protocol] = field(repr=False)

    def scan(self, visit: str) -> MetaTensor:
        """The scan of "baseline" or "followup"."""
        return {"baseline": self.baseline, "followup": self.followup}[visit]

    def anatomy_to_scan(self, visit: str) -> NDArray[np.float64]:
        """The pose (4, 4) at "baseline" or "followup": anatomical RAS mm to scanner RAS mm."""
        return {"baseline": self.anatomy_to_baseline, "followup": self.anatomy_to_followup}[visit]

    def table(self) -> list[dict[str, object]]:
        """One row a lesion, ready for JSON: type, place, volumes and the centroid in all three frames, RAS mm."""
        return [self._row(lesion) for lesion in self.lesions]

    def _row(self, lesion: PlantedLesion) -> dict[str, object]:
        centroid = np.array(lesion.centroid_ras_mm)
        row: dict[str, object] = {
            "id": lesion.id,
            "type": "STABLE" if lesion.type is None else lesion.type.name,
            "location": str(lesion.location),
            "contrast": round(lesion.contrast, 3),
            "baseline_mm3": lesion.baseline_mm3,
            "followup_mm3": lesion.followup_mm3,
            "change_mm3": lesion.change_mm3,
            "centroid_ras_mm": np.round(centroid, 3).tolist(),
        }
        for visit in VISITS:
            row[f"{visit}_centroid_ras_mm"] = np.round(apply_affine(self.anatomy_to_scan(visit), centroid), 3).tolist()
        return row


def make_phantom(
    seed: int = 0,
    *,
    n_per_type: int = 2,
    n_stable: int = 4,
    baseline_protocol: Protocol = BASELINE_PROTOCOL,
    followup_protocol: Protocol = FOLLOWUP_PROTOCOL,
    max_degrees: float = 5.0,
    max_mm: float = 6.0,
) -> Phantom:
    """Make a pair of head scans with lesions that are new, enlarging, shrinking, resolved and stable.

    One head is built on the MNI152 tissue maps, bent by the seed, given lesions for each visit, and scanned twice: in
    its own pose, orientation, slice thickness, coil bias, noise and intensity scale each time. About ten seconds.

    Args:
        seed: Everything is drawn from it: equal seeds and options give equal voxels.
        n_per_type: Lesions of each of the four kinds of change. 0 gives a pair without change.
        n_stable: Lesions that are the same at both visits.
        baseline_protocol: How the first visit is scanned. By default axial slices, 1.1 x 1.1 x 3 mm.
        followup_protocol: How the second is. By default sagittal slices, 1.2 x 1.2 x 2.4 mm.
        max_degrees: Largest rotation of the head about each axis at each visit.
        max_mm: Largest shift along each axis at each visit.

    Returns:
        The scans and the truth.

    Raises:
        ValueError: A count is negative, or so many lesions were asked for that they do not fit.
        ImportError: nilearn, which carries the tissue maps, is not installed.

    Example:
        >>> phantom = make_phantom(7)  # doctest: +SKIP
        >>> sorted({row["type"] for row in phantom.table()})  # doctest: +SKIP
        ['ENLARGING', 'NEW', 'RESOLVED', 'SHRINKING', 'STABLE']
    """
    if n_per_type < 0 or n_stable < 0:
        raise ValueError(f"numbers of lesions must not be negative, got n_per_type={n_per_type}, n_stable={n_stable}")
    rng = np.random.default_rng(seed)
    head = build_head(rng)
    lesions = draw_lesions(rng, head.labels, head.affine, n_per_type=n_per_type, n_stable=n_stable)
    protocols = dict(zip(VISITS, (baseline_protocol, followup_protocol), strict=True))
    present = {visit: _lesion_ids(lesions, visit, head.labels.shape) for visit in VISITS}
    scans, poses = {}, {}
    for visit, protocol in protocols.items():
        poses[visit] = draw_pose(rng, max_degrees=max_degrees, max_mm=max_mm)
        painted = _paint(head.flair, lesions, present[visit])
        scans[visit] = _as_metatensor(*acquire(rng, painted, head.affine, poses[visit], protocol), torch.float32)
    return Phantom(
        seed=seed,
        baseline=scans["baseline"],
        followup=scans["followup"],
        truth=_as_metatensor(_change_map(lesions, **present), head.affine, torch.uint8),
        baseline_lesion=_as_metatensor(present["baseline"] > 0, head.affine, torch.uint8),
        followup_lesion=_as_metatensor(present["followup"] > 0, head.affine, torch.uint8),
        anatomy_to_baseline=poses["baseline"],
        anatomy_to_followup=poses["followup"],
        lesions=tuple(lesions),
        protocols=protocols,
    )


def _lesion_ids(lesions: list[PlantedLesion], visit: str, shape: tuple[int, ...]) -> NDArray[np.uint16]:
    """Number of the lesion that holds a voxel (I, J, K) at a visit, 0 for none."""
    ids = np.zeros(shape, np.uint16)
    for lesion in lesions:
        voxels = lesion.baseline_voxels if visit == "baseline" else lesion.followup_voxels
        ids[tuple(voxels.T)] = lesion.id
    return ids


def _paint(flair: NDArray[np.float32], lesions: list[PlantedLesion], ids: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The head with its lesions of one visit, soft at their edges; the tissue's own texture stays."""
    gain = np.array([0.0, *(lesion.contrast - 1 for lesion in lesions)], np.float32)[ids]
    return flair * (1 + ndimage.gaussian_filter(gain, _SOFT_EDGE_MM))


def _change_map(
    lesions: list[PlantedLesion], baseline: NDArray[np.uint16], followup: NDArray[np.uint16]
) -> NDArray[np.uint8]:
    """`ChangeType` where a lesion is present at one visit only. Each change is one component, so its lesion's type."""
    types = np.array([0, *(lesion.type or 0 for lesion in lesions)], np.uint8)
    return np.where(baseline != followup, types[np.maximum(baseline, followup)], 0).astype(np.uint8)


def _as_metatensor(array: NDArray, affine: NDArray[np.float64], dtype: torch.dtype) -> MetaTensor:
    tensor = torch.from_numpy(array[None]).to(dtype)
    return MetaTensor(tensor, affine=torch.from_numpy(affine.copy()))
