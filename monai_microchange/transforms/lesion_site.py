# SPDX-License-Identifier: Apache-2.0
"""Where simulated lesions lie: a category is drawn by its share, then a place inside it."""

from collections.abc import Mapping
from enum import StrEnum

import numpy as np
from scipy import ndimage as ndi

from monai_microchange.enums import Anatomy

__all__ = ["SITE_SHARES", "LesionSite", "SiteSampler", "site_categories"]


class LesionSite(StrEnum):
    """Categories of places. The first four are those of `Location`; the rest tell grey matter apart."""

    DEEP_WHITE = "deep white matter"
    PERIVENTRICULAR = "periventricular"
    JUXTACORTICAL = "juxtacortical"
    INFRATENTORIAL = "infratentorial"
    CORTICAL = "cortical"
    DEEP_GREY = "deep grey matter"


SITE_SHARES: dict[LesionSite, float] = {
    LesionSite.DEEP_WHITE: 0.46,
    LesionSite.PERIVENTRICULAR: 0.17,
    LesionSite.JUXTACORTICAL: 0.12,
    LesionSite.INFRATENTORIAL: 0.16,
    LesionSite.CORTICAL: 0.04,
    LesionSite.DEEP_GREY: 0.05,
}
"""Share of the lesions that each category gets. Change in MS that experts marked in five patients (147 lesions, of the
data of Lesjak 2016, doi 10.1007/s12021-016-9301-1) lies 42 % deep, 16 % periventricular, 24 % juxtacortical and 18 %
infratentorial by the rule of `locate_lesions`, and 5 % mostly in cortex, 7 % mostly in deep grey matter. That rule goes
by a lesion's nearest voxel and this table by its middle, so a part of the deep ones here is juxtacortical there."""

PERIVENTRICULAR_MM = 3
JUXTACORTICAL_MM = 2


def site_categories(anatomy: np.ndarray) -> np.ndarray:
    """Category of every voxel, as 1 + its place in `LesionSite`; 0 where no lesion has its middle.

    White matter within 3 mm of a ventricle is periventricular, else within 2 mm of cortex juxtacortical, else deep.
    Millimetres are counted along the axes and diagonals (chessboard distance).

    Args:
        anatomy: `Anatomy` labels (I, J, K), 1 mm.

    Returns:
        (I, J, K), uint8.

    Example:
        >>> row = np.full((12, 1, 1), int(Anatomy.WHITE_MATTER))
        >>> row[0], row[-1] = Anatomy.VENTRICLE, Anatomy.CORTEX
        >>> site_categories(row).ravel().tolist()
        [0, 2, 2, 2, 1, 1, 1, 1, 1, 3, 3, 5]
    """
    numbers = {site: number for number, site in enumerate(LesionSite, start=1)}
    table = np.zeros(len(Anatomy), dtype=np.uint8)
    table[Anatomy.WHITE_MATTER] = numbers[LesionSite.DEEP_WHITE]
    table[Anatomy.CORTEX] = numbers[LesionSite.CORTICAL]
    table[Anatomy.DEEP_GREY] = numbers[LesionSite.DEEP_GREY]
    table[Anatomy.INFRATENTORIAL] = numbers[LesionSite.INFRATENTORIAL]
    categories = table[anatomy]
    white = anatomy == Anatomy.WHITE_MATTER
    categories[white & _within(anatomy == Anatomy.CORTEX, JUXTACORTICAL_MM)] = numbers[LesionSite.JUXTACORTICAL]
    categories[white & _within(anatomy == Anatomy.VENTRICLE, PERIVENTRICULAR_MM)] = numbers[LesionSite.PERIVENTRICULAR]
    return categories


def _within(mask: np.ndarray, distance: int) -> np.ndarray:
    return ndi.maximum_filter(mask.view(np.uint8), 2 * distance + 1, mode="constant") > 0


class SiteSampler:
    """Draws places for lesions in one scan.

    Categories that the scan does not have leave their share to the others.

    Args:
        anatomy: `Anatomy` labels (I, J, K), 1 mm.
        shares: how often each category is drawn, need not sum to 1.

    Raises:
        ValueError: if the scan has none of the categories.

    Example:
        >>> sampler = SiteSampler(np.full((4, 4, 4), int(Anatomy.DEEP_GREY)))
        >>> str(sampler.draw(np.random.RandomState(0))[0])
        'deep grey matter'
    """

    def __init__(self, anatomy: np.ndarray, shares: Mapping[LesionSite, float] | None = None):
        categories = site_categories(anatomy).ravel()
        self.shape = anatomy.shape
        wanted = SITE_SHARES if shares is None else shares
        places = {site: np.flatnonzero(categories == n) for n, site in enumerate(LesionSite, 1) if wanted.get(site)}
        self.places = {site: voxels for site, voxels in places.items() if len(voxels)}
        if not self.places:
            raise ValueError("the anatomy holds no tissue that lesions may lie in: is it the label map of this scan?")
        self.sites = list(self.places)
        share = np.array([wanted[site] for site in self.sites], dtype=float)
        self.chance = share / share.sum()

    def draw(self, random: np.random.RandomState) -> tuple[LesionSite, np.ndarray]:
        """A category, and the voxel (3,) in it where a lesion's middle is."""
        site = self.sites[random.choice(len(self.sites), p=self.chance)]
        place = self.places[site][random.randint(len(self.places[site]))]
        return site, np.array(np.unravel_index(place, self.shape))
