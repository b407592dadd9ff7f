# SPDX-License-Identifier: Apache-2.0
"""Make a pair of visits with known change out of one scan."""

from collections.abc import Hashable, Mapping

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Randomizable
from torch.nn import functional as F

from monai_microchange.data.lesion_bank import LesionBank, shrink_shape
from monai_microchange.enums import VISITS, Anatomy
from monai_microchange.transforms.acquisition import (
    SliceProtocol,
    add_bias,
    add_rician_noise,
    apply_contrast,
    resample_voxels,
    through_slices,
)

__all__ = ["RandSimulateChanged", "insert_lesion", "visible_change"]

SITE_WEIGHTS = {
    Anatomy.WHITE_MATTER: 1.0,
    Anatomy.DEEP_GREY: 0.15,
    Anatomy.CORTEX: 0.1,
    Anatomy.INFRATENTORIAL: 0.2,
}
"""How much likelier a lesion's centre is in one tissue than in another, per voxel."""


def insert_lesion(field: torch.Tensor, shape: np.ndarray, corner: np.ndarray, value: float) -> None:
    """Raise `field` (*spatial), in place, to at least `value` where a shape put at `corner` lies; the rest is cut.

    Example:
        >>> field = torch.zeros(3, 3, 3)
        >>> insert_lesion(field, np.ones((2, 1, 1), bool), np.array([2, 0, 0]), 0.5)
        >>> float(field.sum())
        0.5
    """
    start = np.maximum(corner, 0)
    stop = np.minimum(corner + shape.shape, field.shape)
    if (stop <= start).any():
        return
    inside = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    part = shape[tuple(slice(a, b) for a, b in zip(start - corner, stop - corner, strict=True))]
    field[inside] = torch.where(torch.from_numpy(part.copy()), field[inside].clamp(min=value), field[inside])


def visible_change(extent: torch.Tensor, *, floor: float = 0.2, share: float = 0.5) -> torch.Tensor:
    """Voxels in which a changed extent, blurred by the scanner, can be seen: above half of its own peak nearby.

    Args:
        extent: share of each voxel that changed, as acquired, (1, *spatial).
        floor: below this nothing is called visible.
        share: of the peak within 4 voxels.

    Returns:
        (1, *spatial), bool.
    """
    peak = extent[None]
    for axis in range(3):
        window = [9 if a == axis else 1 for a in range(3)]
        peak = F.max_pool3d(peak, window, stride=1, padding=[w // 2 for w in window])
    return (extent > share * peak[0]) & (extent > floor)


class RandSimulateChanged(MapTransform, Randomizable):
    """Turn a scan into a baseline and a follow-up between which lesions appear, grow, shrink and vanish.

    Both visits then pass through an acquisition of their own (slices, noise, bias, contrast, residual misalignment), so
    that the pair differs in all that real pairs differ in beside the change. A tenth of the pairs have no change.

    Args:
        keys: one key: the scan (1, I, J, K), 1 mm, air near 0.
        bank: lesion shapes.
        anatomy_key: `Anatomy` labels (1, I, J, K) of the scan.
        label_key: where the truth (1, I, J, K) goes: 0 none, 1 gain, 2 loss.
        thickness_key: slice thickness in mm that the scan itself has; what is thick already is cut thin.
        contrast_range: brightness of lesions above white matter, as a share of it.
        max_lesions: most lesions per pair.
    """

    def __init__(
        self,
        keys: KeysCollection,
        bank: LesionBank,
        *,
        anatomy_key: str = "anatomy",
        label_key: str = "label",
        thickness_key: str = "thickness_mm",
        contrast_range: tuple[float, float] = (0.12, 0.9),
        max_lesions: int = 20,
    ):
        super().__init__(keys)
        self.bank = bank
        self.anatomy_key = anatomy_key
        self.label_key = label_key
        self.thickness_key = thickness_key
        self.contrast_range = contrast_range
        self.max_lesions = max_lesions

    def _sites(self, anatomy: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Voxels (n, 3) where lesions may lie, and how likely each is (n,)."""
        table = torch.zeros(len(Anatomy))
        for tissue, likelihood in SITE_WEIGHTS.items():
            table[tissue] = likelihood
        weight = table[anatomy[0].long()]
        ventricle = (anatomy == Anatomy.VENTRICLE).float()[None]
        near = F.max_pool3d(F.max_pool3d(ventricle, 5, 1, 2), 5, 1, 2)[0, 0]
        weight = weight * (1 + 4 * near)
        sites = weight.nonzero().numpy()
        chance = weight[weight > 0].double().numpy()
        return sites, chance / chance.sum()

    def _plant(self, anatomy: torch.Tensor) -> dict[str, torch.Tensor]:
        """Brightness of lesions at each visit, and extent gained and lost, each (1, *spatial)."""
        draw = self.R
        shape = tuple(anatomy.shape[1:])
        maps = {name: torch.zeros(shape) for name in (*VISITS, "gained", "lost")}
        sites, chance = self._sites(anatomy)
        if len(sites) == 0:
            raise ValueError("the anatomy holds no tissue that lesions may lie in: is it the label map of this scan?")
        taken = torch.zeros(shape, dtype=torch.bool)
        changes = draw.random_sample() >= 0.1
        count = draw.randint(4, self.max_lesions + 1)
        for site in sites[draw.choice(len(sites), size=count, p=chance)]:
            form = self.bank.draw(draw)
            corner = site - np.asarray(form.shape) // 2
            low, high = np.maximum(corner - 2, 0), corner + form.shape + 2
            box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
            if bool(taken[box].any()):
                continue
            taken[box] = True
            contrast = float(np.exp(draw.uniform(*np.log(self.contrast_range))))
            kind = draw.choice(5, p=[0.3, 0.2, 0.2, 0.2, 0.1] if changes else [0, 0, 0, 0, 1.0])
            smaller = shrink_shape(form, draw.uniform(0.2, 0.65), draw.normal(0, 2.0, 3))
            none = np.zeros_like(form)
            # new, enlarging, shrinking, resolved, stable
            before, after = [(none, form), (smaller, form), (form, smaller), (form, none), (form, form)][kind]
            insert_lesion(maps["baseline"], before, corner, contrast)
            insert_lesion(maps["followup"], after, corner, contrast * (1 + draw.normal(0, 0.05)))
            insert_lesion(maps["gained"], after & ~before, corner, 1.0)
            insert_lesion(maps["lost"], before & ~after, corner, 1.0)
        return {name: field[None] for name, field in maps.items()}

    def _protocol(self, already_mm: float) -> SliceProtocol:
        draw = self.R
        thick = 1.0 if draw.random_sample() < 0.15 else draw.uniform(1.0, 5.0)
        # slices blur by quadrature: cut only what is missing
        thick = max(np.sqrt(max(thick**2 - already_mm**2, 0.0)), 1.0)
        return SliceProtocol(
            axis=2 if already_mm > 2 or draw.random_sample() < 0.8 else int(draw.randint(0, 2)),
            thickness_mm=float(thick),
            in_plane_mm=float(draw.uniform(0.8, 1.25)),
            degrees=draw.normal(0, 4.0, 3),
            phase_mm=draw.uniform(-2, 2, 3),
            misplaced_mm=draw.normal(0, 0.2, 3),
            misturned_degrees=draw.normal(0, 0.2, 3),
        )

    def _acquire(
        self, image: torch.Tensor, extent: torch.Tensor, already_mm: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One visit's scan (1, *spatial) and the changed extent as that scan shows it (1, *spatial)."""
        draw = self.R
        scan = apply_contrast(image, float(draw.uniform(0.8, 1.25)))
        scan = add_bias(scan, torch.from_numpy(draw.normal(0, 0.08, (1, 3, 4, 3)).astype(np.float32)))
        slices, back = through_slices(torch.cat([scan, extent]), self._protocol(already_mm))
        noise = torch.from_numpy(draw.standard_normal((2, *slices.shape[1:])).astype(np.float32))
        scan = add_rician_noise(slices[:1], float(draw.uniform(0.005, 0.05)), noise)
        both = resample_voxels(torch.cat([scan, slices[1:]]), back, tuple(image.shape[1:]))
        return both[:1], both[1:]

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Return a copy of `data` with "baseline", "followup" and the label added, and the scan taken out."""
        out = dict(data)
        (key,) = self.key_iterator(out)
        scan = out.pop(key)
        image = torch.as_tensor(scan.as_tensor() if isinstance(scan, MetaTensor) else scan, dtype=torch.float32)
        anatomy = torch.as_tensor(np.asarray(out[self.anatomy_key]))
        # white matter becomes 1, so that contrasts mean the same in every scan
        image = image / image[anatomy == Anatomy.WHITE_MATTER].median().clamp(min=1e-6)
        planted = self._plant(anatomy)
        softness = float(self.R.uniform(0.3, 0.8))
        already_mm = float(out.get(self.thickness_key, 1.0))
        visible = {}
        for visit, extent in zip(VISITS, ("lost", "gained"), strict=True):
            brightness = _soften(planted[visit], softness)
            out[visit], visible[extent] = self._acquire(image + brightness, planted[extent], already_mm)
        gained, lost = visible_change(visible["gained"]), visible_change(visible["lost"])
        out[self.label_key] = gained.to(torch.uint8) + 2 * (lost & ~gained).to(torch.uint8)
        return out


def _soften(field: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur of (1, *spatial) by a sigma of less than a voxel: three taps an axis."""
    side = float(np.exp(-0.5 / sigma**2))
    centre = 1 / (1 + 2 * side)
    for axis in range(1, 4):
        edge = field.roll(1, axis) + field.roll(-1, axis)
        field = centre * field + centre * side * edge
    return field
