# SPDX-License-Identifier: Apache-2.0
"""Put changing lesions into the scans of two visits, and mark the change as an expert would."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cc3d
import numpy as np
from scipy import ndimage as ndi

from monai_microchange.enums import Anatomy, ChangeLabel
from monai_microchange.transforms.simulated_lesion import SimulatedLesion

__all__ = ["PlantedPair", "insert_lesion", "mark_change", "plant_lesions", "visible_change"]

TISSUE = (Anatomy.WHITE_MATTER, Anatomy.CORTEX, Anatomy.DEEP_GREY, Anatomy.INFRATENTORIAL)
"""Where lesions may be; they fade out over the voxels next to it."""

OUTLINE_SHARE = 0.35
"""An outline runs where the change is this share of its peak. Measured on noisy scans, the threshold that gives the
volume of the experts' mark is 0.41 of a lesion's peak (median of 91 lesions in three patients, of the data of Lesjak
2017, doi 10.1007/s12021-017-9348-7); measured alike, simulated lesions that are marked at 0.35 without noise come out
at 0.40 (above 100 mm3) and 0.51 (below)."""

VISIBLE = 0.1
"""A change is seen if it differs by this share of white matter where it differs most: about twice the noise of the
difference of two clinical scans."""

FAINT = 0.03
"""Below this a change counts as none. Between the two nobody can say whether an expert would mark it."""

NEARBY_MM = 4
"""The peak that an outline is relative to is looked for as far off as this, along the axes and diagonals."""


def insert_lesion(image: np.ndarray, share: np.ndarray, brightness: np.ndarray, corner: np.ndarray) -> None:
    """Replace a share of each voxel, in place: image * (1 - share) + brightness * share. What sticks out is cut.

    Args:
        image: (I, J, K).
        share: (i, j, k), from 0 to 1.
        brightness: (i, j, k), what is put there.
        corner: voxel of the image (3,) that the first voxel of `share` lies on.

    Example:
        >>> image = np.full((3, 1, 1), 2.0)
        >>> insert_lesion(image, np.full((2, 1, 1), 0.25), np.full((2, 1, 1), 4.0), np.array([2, 0, 0]))
        >>> image.ravel().tolist()
        [2.0, 2.0, 2.5]
    """
    inside, part = _overlap(corner, share.shape, image.shape)
    image[inside] += share[part] * (brightness[part] - image[inside])


def _overlap(
    corner: np.ndarray, shape: tuple[int, ...], field: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The voxels of a field on which a box lies, and those of the box that lie on the field."""
    start = np.minimum(np.maximum(corner, 0), field)
    stop = np.maximum(np.minimum(corner + np.asarray(shape), field), start)
    inside = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    part = tuple(slice(a, b) for a, b in zip(start - corner, stop - corner, strict=True))
    return inside, part


@dataclass(frozen=True)
class PlantedPair:
    """Two visits with lesions in them.

    Attributes:
        scans: (2, I, J, K), baseline and follow-up.
        change: what the changing lesions, and nothing else, make brighter at follow-up, (I, J, K); below 0 where it
            becomes darker. In units of white matter.
        records: what was planted, one plain dict per lesion.
    """

    scans: np.ndarray
    change: np.ndarray
    records: list[dict[str, Any]]

    @property
    def gained(self) -> np.ndarray:
        """What becomes brighter, (I, J, K), not negative."""
        return np.maximum(self.change, 0)

    @property
    def lost(self) -> np.ndarray:
        """What becomes darker, (I, J, K), not negative."""
        return np.maximum(-self.change, 0)


def plant_lesions(
    scans: np.ndarray, anatomy: np.ndarray, lesions: Sequence[SimulatedLesion], *, slice_mm: float = 1.0
) -> PlantedPair:
    """Blend lesions into both visits.

    A lesion replaces what the scan shows of the tissue on the scale of 3 mm; the scan's noise and texture stay on top.
    Where lesions overlap they merge: none makes another darker. Dark cores and drift are shown, but are no change.

    Args:
        scans: (2, I, J, K), 1 mm, white matter near 1; the same scan twice to make a pair out of one.
        anatomy: `Anatomy` labels (I, J, K).
        lesions: what to plant.
        slice_mm: thickness, along the last axis, of the slices that the scans were made of: lesions are as blurred.

    Returns:
        The new scans, the change and the records.

    Raises:
        ValueError: if the shapes do not agree.
    """
    if scans.shape != (2, *anatomy.shape):
        raise ValueError(f"expected two scans on the grid {anatomy.shape} of the anatomy, got {scans.shape}")
    shown = scans.astype(np.float32)
    # a pair of one scan needs to be smoothed only once
    smooth = [ndi.uniform_filter(scan, 3) for scan in (shown[:1] if np.may_share_memory(scans[0], scans[1]) else shown)]
    plain = np.stack([smooth[0], smooth[-1]])
    without = smooth[-1] - smooth[0]
    tissue = np.zeros(len(Anatomy), dtype=np.float32)
    tissue[list(TISSUE)] = 2
    room = np.minimum(ndi.uniform_filter(tissue[anatomy], 3), 1)
    blur = np.sqrt(max(slice_mm**2 - 1, 0.0)) / 2.355
    records = [dict(lesion.record(_plant(shown, plain, room, lesion, blur))) for lesion in lesions]
    return PlantedPair(shown, plain[1] - plain[0] - without, records)


def _plant(
    shown: np.ndarray, plain: np.ndarray, room: np.ndarray, lesion: SimulatedLesion, blur: float
) -> tuple[float, float]:
    """Put one lesion into both visits, in place; its volumes as they came out."""
    inside, part = _overlap(lesion.corner, lesion.forms.shape[1:], room.shape)
    presence, covered = np.zeros_like(lesion.forms), lesion.covered()[(slice(None), *part)] * room[inside]
    presence[(slice(None), *part)] = lesion.presence()[(slice(None), *part)] * room[inside]
    if blur:
        presence = ndi.gaussian_filter1d(presence, blur, axis=3, mode="constant")
    tissue, contrast = np.zeros(lesion.forms.shape[1:], dtype=np.float32), lesion.contrast()
    for visit, drift in enumerate((1 - lesion.look.drift / 2, 1 + lesion.look.drift / 2)):
        tissue[part] = plain[visit][inside]
        share, brightness = presence[visit], lesion.brightness(tissue, contrast)
        shown[visit][inside] += (drift * share * (lesion.with_core(brightness) - tissue))[part]
        insert_lesion(plain[visit], share, brightness, lesion.corner)
    return float(covered[0].sum()), float(covered[1].sum())


def visible_change(signal: np.ndarray, *, share: float = OUTLINE_SHARE, floor: float = VISIBLE) -> np.ndarray:
    """Voxels that an expert would outline: above a share of the peak nearby, if that peak can be seen at all.

    Args:
        signal: change of brightness as acquired, without noise, (I, J, K), 1 mm, not negative, white matter being 1.
        share: of the peak within 4 voxels.
        floor: peaks below this are not seen, nor is a fragment that stays below this everywhere.

    Returns:
        (I, J, K), bool.

    Example:
        >>> signal = np.zeros((16, 1, 1)); signal[2:5, 0, 0] = 0.1, 0.5, 0.3; signal[12] = 0.05
        >>> visible_change(signal).nonzero()[0].tolist()
        [3, 4]
    """
    return _seen(signal, _outlined(signal, share), floor)


def _outlined(signal: np.ndarray, share: float) -> np.ndarray:
    """The peak nearby, (I, J, K), where the signal is above a share of it; 0 elsewhere."""
    peak = ndi.maximum_filter(signal, 2 * NEARBY_MM + 1, mode="constant")
    return peak * (signal > share * peak)


def _seen(signal: np.ndarray, outlined: np.ndarray, floor: float) -> np.ndarray:
    """What of an outline can be seen: where the peak is high enough, in pieces that are so somewhere themselves."""
    pieces = cc3d.connected_components((outlined >= floor).astype(np.uint8), connectivity=26)
    voxels = pieces.nonzero()
    highest = np.zeros(int(pieces.max(initial=0)) + 1)
    np.maximum.at(highest, pieces[voxels], signal[voxels])
    return (highest >= floor)[pieces]


def mark_change(gained: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """The label of a pair, from what each visit shows of the change.

    An outline is where the change is above 0.35 of its peak within 4 mm. What is outlined is marked if that peak is at
    least 0.1 of white matter (and so is the highest voxel of its piece), not judged if it is at least 0.03, and nothing
    otherwise. Where gain and loss meet, the larger counts.

    Args:
        gained: what became brighter, as the follow-up shows it without noise, (I, J, K), 1 mm, white matter being 1.
        lost: what became darker, as the baseline shows it.

    Returns:
        `ChangeLabel` codes (I, J, K), uint8: NONE, GAIN, LOSS, UNKNOWN. Exchanging the arguments exchanges gain and
        loss.

    Example:
        >>> gained, lost = np.zeros((2, 12, 1, 1))
        >>> gained[2], lost[10] = 0.3, 0.05
        >>> mark_change(gained, lost).ravel().tolist()
        [0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 4, 0]
    """
    label = np.zeros(gained.shape, dtype=np.uint8)
    for signal, other, code in ((gained, lost, ChangeLabel.GAIN), (lost, gained, ChangeLabel.LOSS)):
        if signal.max(initial=0) < FAINT:
            continue
        outlined = _outlined(signal, OUTLINE_SHARE) * (signal > other)
        label[outlined >= FAINT] = ChangeLabel.UNKNOWN
        label[_seen(signal, outlined, VISIBLE)] = code
    return label
