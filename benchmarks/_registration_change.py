# SPDX-License-Identifier: Apache-2.0
"""What may have changed in a head between two visits: lesions, a cavity, the face, the field of view."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from _registration_sources import Source

__all__ = ["HalfHead", "VisitChange", "draw_changes", "paint_change"]

FACE_NORMAL = np.array([0.0, -0.8, -0.6])
"""LPS, towards the face; what lies beyond the brain in this direction is removed."""
FACE_MARGIN_MM = 4.0


@dataclass(frozen=True)
class HalfHead:
    """A field of view that shows only a share of the brain along an axis, RAS, from its high or its low end."""

    axis: int
    keeps_high: bool
    share: float


@dataclass(frozen=True)
class VisitChange:
    """What sets one visit apart from the scan that both are made of.

    Attributes:
        lesions: places, shapes (I, J, K) and signed strengths, as a share of the bright end of the brain.
        cavity: centre (3,), LPS mm, and radius in mm.
        defaced: the face is removed.
        half: the part of the head that is shown.
    """

    lesions: tuple[tuple[np.ndarray, np.ndarray, float], ...] = ()
    cavity: tuple[np.ndarray, float] | None = None
    defaced: bool = False
    half: HalfHead | None = None

    @property
    def description(self) -> str:
        """In words, empty if nothing changed."""
        volume = sum(int(shape.sum()) for _, shape, _ in self.lesions)
        words = [f"{len(self.lesions)} lesions of {volume} mm³"] if self.lesions else []
        words += [f"cavity of {self.cavity[1]:.0f} mm radius"] if self.cavity else []
        words += ["defaced"] if self.defaced else []
        if self.half is not None:
            end = ("left", "right"), ("back", "front"), ("bottom", "top")
            words.append(f"{self.half.share:.0%} from the {end[self.half.axis][self.half.keeps_high]}")
        return "".join(f", {word}" for word in words)


def draw_changes(rng: np.random.Generator, source: Source, root: Path) -> tuple[VisitChange, VisitChange]:
    """What is only there at the baseline (gone later) and only at the follow-up (new)."""
    lesions = [_draw_lesions(rng, source, root) if rng.random() < 0.6 else () for _ in range(2)]
    cavity_at = int(rng.integers(2)) if rng.random() < 0.15 else None
    cavity = _place(rng, source), float(rng.uniform(12, 25))
    defaced_at = int(rng.integers(2)) if source.has_face and rng.random() < 0.7 else None
    half_at = int(rng.integers(2)) if rng.random() < 0.2 else None
    half = HalfHead(int(rng.integers(3)), bool(rng.integers(2)), float(rng.uniform(0.5, 0.65)))
    baseline, followup = (
        VisitChange(
            lesions=lesions[visit],
            cavity=cavity if cavity_at == visit else None,
            defaced=defaced_at == visit,
            half=half if half_at == visit else None,
        )
        for visit in range(2)
    )
    return baseline, followup


def paint_change(source: Source, contrast: str, change: VisitChange) -> sitk.Image:
    """The scan with what changed in it, on its own grid."""
    image = source.images[contrast]
    brain = sitk.GetArrayViewFromImage(image)[sitk.GetArrayViewFromImage(source.brain) > 0]
    scale = float(np.percentile(brain, 99)) - source.air
    if change.lesions:
        sign = -1.0 if contrast.startswith("T1") else 1.0
        # not in place: the scan serves further cases
        image = image + sign * scale * _on_grid(_canvas_of_lesions(source, change), source.brain)
    if change.cavity is not None:
        weight = _on_grid(_canvas_of_cavity(*change.cavity), source.brain)
        image = image * (1 - weight) + (source.air + 0.15 * scale) * weight
    return _without_face(image, source) if change.defaced else image


@lru_cache(maxsize=1)
def _shapes(root: Path) -> dict[str, np.ndarray]:
    with np.load(root / "lesion_shapes" / "shapes.npz") as file:
        stored = dict(file)
    stored["bits"] = np.unpackbits(stored["bits"])[: int(stored["n_bits"])].astype(bool)
    return stored


def _draw_lesions(
    rng: np.random.Generator, source: Source, root: Path
) -> tuple[tuple[np.ndarray, np.ndarray, float], ...]:
    """One to fifteen real shapes anywhere in the brain; the first is often a large one."""
    stored = _shapes(root)
    volumes = np.array([stored["offset"][i + 1] - stored["offset"][i] for i in range(len(stored["shape"]))])
    lesions = []
    for number in range(rng.integers(1, 16)):
        largest = np.flatnonzero(volumes >= np.quantile(volumes, 0.97 if number == 0 and rng.random() < 0.5 else 0.0))
        i = int(rng.choice(largest))
        shape = stored["bits"][stored["offset"][i] : stored["offset"][i + 1]].reshape(stored["shape"][i])
        lesions.append((_place(rng, source), shape, float(rng.uniform(0.15, 0.6))))
    return tuple(lesions)


def _place(rng: np.random.Generator, source: Source) -> np.ndarray:
    """A point (3,) of the brain, LPS mm."""
    voxels = np.argwhere(sitk.GetArrayViewFromImage(source.brain) > 0)
    index = [int(i) for i in voxels[rng.integers(len(voxels))][::-1]]
    return np.asarray(source.brain.TransformIndexToPhysicalPoint(index))


def _canvas_of_lesions(source: Source, change: VisitChange) -> sitk.Image:
    """Signed strength on voxels of 1 mm that hold all lesions."""
    reach = max(max(shape.shape) for _, shape, _ in change.lesions) + 4
    places = np.array([place for place, _, _ in change.lesions])
    origin = places.min(axis=0) - reach
    canvas = np.zeros(np.ceil(np.ptp(places, axis=0) + 2 * reach).astype(int))
    for place, shape, strength in change.lesions:
        start = np.round(place - origin - np.asarray(shape.shape) / 2).astype(int)
        part = canvas[tuple(slice(s, s + n) for s, n in zip(start, shape.shape, strict=True))]
        np.maximum(part, strength * shape, out=part)
    return _smooth(canvas, origin)


def _canvas_of_cavity(centre: np.ndarray, radius_mm: float) -> sitk.Image:
    reach = int(radius_mm) + 4
    steps = np.arange(-reach, reach + 1)
    distance = np.sqrt(steps[:, None, None] ** 2 + steps[:, None] ** 2 + steps**2)
    return _smooth((distance <= radius_mm).astype(float), centre - reach)


def _smooth(canvas: np.ndarray, origin: np.ndarray) -> sitk.Image:
    """Image of (I, J, K), voxels of 1 mm along LPS, its edges blurred as a scan's are."""
    image = sitk.GetImageFromArray(canvas.transpose(2, 1, 0).astype(np.float32))
    image.SetOrigin(origin.tolist())
    return sitk.DiscreteGaussian(image, 0.8)


def _on_grid(canvas: sitk.Image, grid: sitk.Image) -> sitk.Image:
    return sitk.Resample(canvas, grid, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)


def _without_face(image: sitk.Image, source: Source) -> sitk.Image:
    """Air beyond a plane in front of the brain."""
    direction = np.asarray(image.GetDirection()).reshape(3, 3) * np.asarray(image.GetSpacing())
    steps = FACE_NORMAL @ direction
    i, j, k = (step * np.arange(n) for step, n in zip(steps, image.GetSize(), strict=True))
    height = k[:, None, None] + j[:, None] + i
    values = sitk.GetArrayFromImage(image)
    brain = sitk.GetArrayViewFromImage(source.brain) > 0
    values[height > height[brain].max() + FACE_MARGIN_MM] = source.air
    defaced = sitk.GetImageFromArray(values)
    defaced.CopyInformation(image)
    return defaced
