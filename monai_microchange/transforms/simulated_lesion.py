# SPDX-License-Identifier: Apache-2.0
"""One simulated lesion: how it looks, and which voxels it covers at each visit."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import ndimage as ndi

from monai_microchange.transforms.lesion_course import LesionCourse
from monai_microchange.transforms.lesion_shape import direction_step, occupancy, solve_level
from monai_microchange.transforms.lesion_site import LesionSite

__all__ = ["LesionLook", "SimulatedLesion", "grow_form"]

ABSENT_MM = 99.0
"""Distance to the surface of a lesion that is not there."""

FADING_MM = 3.0
"""A lesion of this radius needs twice the contrast to be seen as well as a large one."""


@dataclass(frozen=True)
class LesionLook:
    """How a lesion shows in a scan.

    Attributes:
        contrast: how much brighter than white matter it is, as a share of it.
        fill: from 0, where it takes on the brightness of the tissue it lies in (dark next to CSF), to 1 (it does not).
        edge_mm: width of its border; 1 is sharp.
        halo: contrast of the penumbra as a share of the lesion's.
        halo_mm: how far the penumbra reaches beyond the surface.
        core_mm: depth from which on the lesion is dark; None if it nowhere is.
        core_brightness: of the dark core, white matter being 1.
        texture: coarse pattern (n, n, n) by which the contrast varies inside, as a share of it.
        drift: how much stronger it shows at the follow-up without having changed, as a share; scanners differ in that.
    """

    contrast: float
    fill: float = 0.6
    edge_mm: float = 1.0
    halo: float = 0.0
    halo_mm: float = 1.0
    core_mm: float | None = None
    core_brightness: float = 0.6
    texture: np.ndarray = field(default_factory=lambda: np.zeros((1, 1, 1)))
    drift: float = 0.0

    @classmethod
    def draw(
        cls,
        random: np.random.RandomState,
        *,
        contrast_range: tuple[float, float] = (0.08, 1.0),
        radius_mm: float = 5.0,
    ) -> "LesionLook":
        """Any look: the contrast evenly over its logarithm, a penumbra in half of all, a dark core in a few.

        Args:
            random: where the draws come from.
            contrast_range: smallest and greatest; the smallest rises for small lesions, which slices make fainter.
            radius_mm: of the lesion; a small one has no wide border.
        """
        low, high = contrast_range
        low = min(low * (1 + (FADING_MM / radius_mm) ** 2), high)
        return cls(
            contrast=float(np.exp(random.uniform(np.log(low), np.log(high)))),
            fill=float(random.uniform(0.2, 0.9)),
            edge_mm=float(random.uniform(1.0, max(1.0, min(radius_mm, 2.5)))),
            halo=float(random.uniform(0.1, 0.35)) if random.random_sample() < 0.5 else 0.0,
            halo_mm=float(random.uniform(1.0, 3.0)),
            core_mm=float(random.uniform(1.5, 3.0)) if random.random_sample() < 0.05 else None,
            core_brightness=float(random.uniform(0.3, 0.9)),
            texture=random.normal(0, random.uniform(0.0, 0.15), (4, 4, 4)),
            drift=float(random.normal(0, 0.05)),
        )


def grow_form(
    form: np.ndarray, course: LesionCourse, *, direction: np.ndarray | None = None, edge_mm: float = 1.0
) -> np.ndarray:
    """Move the surface of a form so that it has the volumes of a course; the smaller lies within the larger.

    Args:
        form: signed distance (i, j, k), mm, 1 mm voxels.
        course: gives the volumes.
        direction: (3,) towards which the lesion grows more; shorter than 1. None is even growth.
        edge_mm: width of the border.

    Returns:
        Signed distances at baseline and follow-up, (2, i, j, k).

    Example:
        >>> from monai_microchange.transforms.lesion_course import LesionState
        >>> ball = np.sqrt(((np.indices((15, 15, 15)) - 7) ** 2).sum(axis=0)) - 3
        >>> forms = grow_form(ball, LesionCourse(LesionState(100.0), LesionState(200.0)))
        >>> [round(float(occupancy(f).sum())) for f in forms]
        [100, 200]
    """
    volumes = [course.baseline.volume_mm3, course.followup.volume_mm3]
    largest = form - solve_level(form, max(volumes), edge_mm=edge_mm)
    step = 1.0 if direction is None else direction_step(form.shape, direction)
    forms = np.full((2, *form.shape), ABSENT_MM, dtype=np.float32)
    for visit, volume in enumerate(volumes):
        if volume == max(volumes):
            forms[visit] = largest
        elif volume > 0:
            forms[visit] = largest - solve_level(largest, volume, step=step, edge_mm=edge_mm) * step
    return forms


@dataclass(frozen=True)
class SimulatedLesion:
    """A lesion with its place in a scan.

    Attributes:
        course: what becomes of it.
        look: how it shows.
        forms: signed distances (2, i, j, k) at baseline and follow-up, as `grow_form` gives them.
        corner: voxel of the scan (3,) that the first voxel of the forms lies on; may lie outside.
        site: category of the place.
    """

    course: LesionCourse
    look: LesionLook
    forms: np.ndarray
    corner: np.ndarray
    site: LesionSite

    @property
    def swapped(self) -> "SimulatedLesion":
        """The same lesion with the visits exchanged."""
        look = replace(self.look, drift=-self.look.drift)
        return replace(self, course=self.course.swapped, look=look, forms=self.forms[::-1])

    def covered(self) -> np.ndarray:
        """Share of each voxel that the lesion covers at each visit, (2, i, j, k), without the penumbra."""
        return occupancy(self.forms, edge_mm=self.look.edge_mm)

    def presence(self) -> np.ndarray:
        """Share of the lesion's contrast that each voxel shows at each visit, (2, i, j, k), with the penumbra."""
        halo = self.look.halo * np.clip(1 - self.forms / self.look.halo_mm, 0, 1)
        strength = np.array([self.course.baseline.strength, self.course.followup.strength])
        return np.maximum(self.covered(), halo) * strength[:, None, None, None]

    def contrast(self) -> np.ndarray | float:
        """How much brighter than white matter each voxel (i, j, k) would be that is all lesion."""
        if not self.look.texture.any():
            return self.look.contrast
        zoom = np.asarray(self.forms.shape[1:]) / np.asarray(self.look.texture.shape)
        pattern = ndi.zoom(self.look.texture.astype(np.float32), zoom, order=1, mode="nearest", grid_mode=True)
        return self.look.contrast * (1 + pattern)

    def brightness(self, tissue: np.ndarray, contrast: np.ndarray | float) -> np.ndarray:
        """What voxels become that are all lesion.

        White matter becomes 1 + contrast; darker tissue (CSF in a part of the voxel) less, as `fill` says; brighter
        tissue never becomes darker.

        Args:
            tissue: brightness (i, j, k) without the lesion, white matter being 1.
            contrast: as `contrast()` gives it.

        Returns:
            (i, j, k).
        """
        filled = self.look.fill + (1 - self.look.fill) * np.minimum(tissue, 1)
        return np.maximum(tissue, (1 + contrast) * filled)

    def with_core(self, brightness: np.ndarray) -> np.ndarray:
        """The same (i, j, k), with the dark core if the lesion has one."""
        if self.look.core_mm is None:
            return brightness
        share = occupancy(self.forms.min(axis=0) + self.look.core_mm)
        return brightness + share * (self.look.core_brightness - brightness)

    def record(self, volumes_mm3: tuple[float, float]) -> Mapping[str, Any]:
        """What was planted, in plain values.

        Args:
            volumes_mm3: at baseline and follow-up, as they came out in the scan.
        """
        kind = self.course.change_type
        middle = self.corner + (np.asarray(self.forms.shape[1:]) - 1) // 2
        return {
            "type": "STABLE" if kind is None else kind.name,
            "baseline_mm3": round(float(volumes_mm3[0]), 2),
            "followup_mm3": round(float(volumes_mm3[1]), 2),
            "baseline_strength": self.course.baseline.strength,
            "followup_strength": self.course.followup.strength,
            "contrast": self.look.contrast,
            "location": self.site.value,
            "site": [int(i) for i in middle],
        }
