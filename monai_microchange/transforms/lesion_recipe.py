# SPDX-License-Identifier: Apache-2.0
"""How many lesions a simulated pair gets, of which kind, and where."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from monai_microchange.data.lesion_bank import LesionBank
from monai_microchange.transforms.lesion_course import LesionCourse
from monai_microchange.transforms.lesion_shape import pose_form, random_rotation
from monai_microchange.transforms.lesion_site import SITE_SHARES, LesionSite, SiteSampler
from monai_microchange.transforms.simulated_lesion import LesionLook, SimulatedLesion, grow_form

__all__ = ["LesionRecipe"]

TRIES = 20
"""How often a place is drawn anew if the last one was taken."""


@dataclass(frozen=True)
class LesionRecipe:
    """What a simulated pair is made of.

    Attributes:
        count: fewest and most lesions of a pair.
        no_change_share: share of the pairs in which every lesion is stable.
        changing_share: share of the lesions that change in the other pairs.
        contrast_range: smallest and greatest contrast; see `LesionLook`.
        site_shares: how often each category of place is drawn.

    Raises:
        ValueError: if a share lies outside [0, 1], or a range is empty.
    """

    count: tuple[int, int] = (8, 36)
    no_change_share: float = 0.1
    changing_share: float = 0.75
    contrast_range: tuple[float, float] = (0.08, 1.0)
    site_shares: Mapping[LesionSite, float] = field(default_factory=lambda: dict(SITE_SHARES))

    def __post_init__(self) -> None:
        for name in ("no_change_share", "changing_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected a share from 0 to 1, got {getattr(self, name)}")
        for name, least in (("count", 0), ("contrast_range", 1e-6)):
            low, high = getattr(self, name)
            if not least <= low <= high:
                raise ValueError(f"{name}: expected two ascending numbers from {least} up, got {(low, high)}")

    def draw(
        self,
        random: np.random.RandomState,
        bank: LesionBank,
        anatomy: np.ndarray,
        *,
        slice_mm: float = 1.0,
        avoid: np.ndarray | None = None,
    ) -> list[SimulatedLesion]:
        """The lesions of one pair.

        Args:
            random: where the draws come from.
            bank: their shapes.
            anatomy: `Anatomy` labels (I, J, K), 1 mm.
            slice_mm: thickness of the scans' slices along the last axis: leaves room for as much blur.
            avoid: voxels (I, J, K), bool, that no lesion may reach; a lesion that finds no place is left out.

        Raises:
            ValueError: if the anatomy has no tissue for lesions.
        """
        sites = SiteSampler(anatomy, self.site_shares)
        pair_changes = random.random_sample() >= self.no_change_share
        lesions = []
        for _ in range(random.randint(self.count[0], self.count[1] + 1)):
            course = LesionCourse.draw(random, changes=pair_changes and random.random_sample() < self.changing_share)
            radius_mm = (course.largest_mm3 * 3 / (4 * np.pi)) ** (1 / 3)
            look = LesionLook.draw(random, contrast_range=self.contrast_range, radius_mm=radius_mm)
            forms = _draw_forms(random, bank, course, look, slice_mm)
            place = _find_place(random, sites, forms.shape[1:], avoid)
            if place is not None:
                lesions.append(SimulatedLesion(course, look, forms, place[1], place[0]))
        return lesions


def _draw_forms(
    random: np.random.RandomState, bank: LesionBank, course: LesionCourse, look: LesionLook, slice_mm: float
) -> np.ndarray:
    """A shape of about the right volume, turned, scaled and grown, (2, i, j, k)."""
    volume = course.largest_mm3
    # a shape of another volume is scaled, so that small lesions are not all of a few voxels' shapes
    shape = bank.draw(random, volume * float(np.exp(random.uniform(0, 1.2))))
    form = pose_form(
        shape,
        random_rotation(random),
        scale=float((volume / shape.sum()) ** (1 / 3)),
        shift_mm=random.uniform(-0.5, 0.5, 3),
        margin_mm=2 + max(look.halo_mm if look.halo else 0.0, look.edge_mm / 2) + max(slice_mm - 1, 0),
    )
    direction = random.standard_normal(3)
    direction *= random.uniform(0, 0.9) / max(float(np.linalg.norm(direction)), 1e-6)
    return grow_form(form, course, direction=direction, edge_mm=look.edge_mm)


def _find_place(
    random: np.random.RandomState, sites: SiteSampler, shape: tuple[int, ...], avoid: np.ndarray | None
) -> tuple[LesionSite, np.ndarray] | None:
    """Category, and corner (3,) of a box whose middle lies in it; None if there is no free place."""
    for _ in range(TRIES):
        site, middle = sites.draw(random)
        corner = middle - (np.asarray(shape) - 1) // 2
        if avoid is None:
            return site, corner
        low, high = np.maximum(corner, 0), corner + shape
        if not avoid[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].any():
            return site, corner
    return None
