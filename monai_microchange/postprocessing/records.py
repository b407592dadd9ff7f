# SPDX-License-Identifier: Apache-2.0
"""What is handed to, and comes out of, the listing of lesions: maps of mid-space and one record per lesion."""

from dataclasses import dataclass

import numpy as np

from monai_microchange.enums import ChangeType, Location

__all__ = ["Lesion", "MidMaps"]

Point = tuple[float, float, float]
Index = tuple[int, int, int]


@dataclass(frozen=True)
class Lesion:
    """One lesion over both visits, a row of the table. Volumes and places are measured in mid-space.

    Args:
        id: number from 1, as in the map of lesion numbers.
        change_type: type of its largest component of change; None for a stable lesion.
        baseline_volume_mm3: its volume in the baseline lesion mask.
        followup_volume_mm3: its volume in the follow-up lesion mask.
        gain_mm3: volume that turned into lesion.
        loss_mm3: volume that turned back. A lesion may have both.
        centroid_ras_mm: centre of its changed voxels; of all its voxels if it is stable.
        bbox_ijk: box about the same voxels, first index and index past the last, along i, j, k.
        bbox_ras_mm: least and greatest RAS coordinate over the corners of that box (voxel faces).
        location: where in the brain it lies.
        confidence: 0 to 1, of its largest component of change: the calibrated probability that the change is true,
            where the bundle has a `ConfidenceModel`, else the mean probability of change; if it is stable, 1 minus the
            greatest probability of change in it.
        intensity_change: mean of follow-up minus baseline over its changed voxels (all its voxels if it is stable), in
            the unit of the harmonised images, robust standard deviations.
        note: what a reader of the row must know; empty as a rule.
    """

    id: int
    change_type: ChangeType | None
    baseline_volume_mm3: float
    followup_volume_mm3: float
    gain_mm3: float
    loss_mm3: float
    centroid_ras_mm: Point
    bbox_ijk: tuple[Index, Index]
    bbox_ras_mm: tuple[Point, Point]
    location: Location
    confidence: float
    intensity_change: float
    note: str = ""

    @property
    def type_name(self) -> str:
        """The type in lower case: new, enlarging, shrinking, resolved or stable."""
        return "stable" if self.change_type is None else self.change_type.name.lower()

    @property
    def change_mm3(self) -> float:
        """Gain minus loss."""
        return self.gain_mm3 - self.loss_mm3


@dataclass(frozen=True, eq=False)
class MidMaps:
    """What is known of each voxel of mid-space when lesions are listed: arrays (I, J, K) on one grid.

    Args:
        baseline: harmonised baseline image, in robust standard deviations.
        followup: harmonised follow-up image.
        baseline_lesion: lesion at baseline, nonzero inside.
        followup_lesion: lesion at follow-up.
        gain_probability: probability that tissue turned into lesion.
        loss_probability: probability that lesion turned back.
        affine: (4, 4), voxel to RAS mm.
        anatomy: `Anatomy` label of each voxel, None if unknown.
    """

    baseline: np.ndarray
    followup: np.ndarray
    baseline_lesion: np.ndarray
    followup_lesion: np.ndarray
    gain_probability: np.ndarray
    loss_probability: np.ndarray
    affine: np.ndarray
    anatomy: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Refuse maps that do not share one 3D grid."""
        names = ("baseline", "followup", "baseline_lesion", "followup_lesion", "gain_probability", "loss_probability")
        shapes = {name: np.shape(getattr(self, name)) for name in (*names, *["anatomy"] * (self.anatomy is not None))}
        if len(set(shapes.values())) != 1 or len(shapes["baseline"]) != 3:
            raise ValueError(f"expected 3D maps of one shape, got {shapes}: put all of them on the mid-space grid")
        if np.shape(self.affine) != (4, 4):
            raise ValueError(f"expected an affine of shape (4, 4), got {np.shape(self.affine)}")

    @property
    def swapped(self) -> "MidMaps":
        """The same maps with the visits exchanged."""
        return MidMaps(
            baseline=self.followup,
            followup=self.baseline,
            baseline_lesion=self.followup_lesion,
            followup_lesion=self.baseline_lesion,
            gain_probability=self.loss_probability,
            loss_probability=self.gain_probability,
            affine=self.affine,
            anatomy=self.anatomy,
        )
