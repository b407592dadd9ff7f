# SPDX-License-Identifier: Apache-2.0
"""Bring two visits into their mid-space, and results back onto each native grid."""

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import TraceKeys

from monai_microchange.data import InputError
from monai_microchange.enums import VISITS
from monai_microchange.transforms.midspace import MidSpace, mid_space
from monai_microchange.transforms.region import USER_MASKS, foreground
from monai_microchange.transforms.registration import DEGREES_OF_FREEDOM, ENGINES, LinearRegistration, register_pair
from monai_microchange.transforms.registration.deformable import register_deformable
from monai_microchange.transforms.resampling import from_mid_space, into_mid_space

__all__ = ["AlignMidSpaced"]

ANATOMY_MM = 2.0
"""Voxel size to which a warped anatomy is sampled: that of the network that saw it."""


class AlignMidSpaced(MapTransform, InvertibleTransform):
    """Register two visits and resample each, once, into the space half-way between them.

    `inverse` brings whatever lies under the visits' keys, scans or masks, back onto the native grids (use
    `mode="nearest"` for masks).

    Beside `baseline` and `followup` it moves further modalities (`baseline+T1`), the user's masks, and the anatomy
    that `SegmentAnatomyd` saw, whose brain masks guide the registration: of that only the affine changes, but for the
    probabilities if there is a warp, which are warped on a grid of 2 mm. The brain masks stay whole, unwarped, as they
    show what lies beyond the common field of view.

    Where the data bring both `mid_space` and `registration`, these are used and nothing is estimated or judged: so the
    pairs of a series come into one common space.

    Args:
        spacing_mm: voxel size of mid-space.
        mode: interpolation, the same for both visits, as in MONAI's `Resample`. Linear by default: it blurs, but adds
            nothing. Cubic splines (3) and windowed sincs overshoot at the edges of skull and CSF, in each visit at
            other places, which looks like change: on a real pair splines raised the fine-grained difference in the
            brain by a fifth, and left the two scans no more alike in sharpness.
        degrees_of_freedom: 6 (rigid), 7, 9 or 12 (affine), as in `register_pair`.
        deformable: take out smooth shifts of tissue too, such as atrophy (`register_deformable`), in the same
            interpolation.
        engine: `torch` or `itk`, as in `register_pair`.
        device: of the registration.
        seed: of the registration's sampling.
        min_overlap: least share of the smaller head (or foreground) that the other scan must cover.
        force: go on although the alignment is in doubt.

    Returns:
        A copy of the data with scans (C, I, J, K) on one grid; `mid_space`, the `MidSpace`; `registration`, its
        `LinearRegistration`; `field_of_view`, (1, I, J, K) uint8, 1 where both scans were acquired; and if it is
        deformable `deformation`, its `DeformableRegistration`.

    Raises:
        ValueError: if an option has no such value.
        InputError: if the scans cannot be brought to overlap enough, or (`doubt`) the alignment is not to be believed.

    Example:
        >>> from monai.transforms import Compose
        >>> from monai_microchange.data import ReadPaird
        >>> pipeline = Compose([ReadPaird(), AlignMidSpaced()])
        >>> # pipeline({"baseline": "first.nii.gz", "followup": "second.nii.gz"})
    """

    def __init__(
        self,
        *,
        spacing_mm: float = 1.0,
        mode: str | int = "bilinear",
        degrees_of_freedom: int = 6,
        deformable: bool = False,
        engine: str = "torch",
        device: str | torch.device = "cpu",
        seed: int = 1,
        min_overlap: float = 0.5,
        force: bool = False,
    ):
        super().__init__(VISITS)
        if spacing_mm <= 0:
            raise ValueError(f"spacing_mm must be above 0; got {spacing_mm}")
        if degrees_of_freedom not in DEGREES_OF_FREEDOM or engine not in ENGINES:
            raise ValueError(
                f"expected degrees_of_freedom of {DEGREES_OF_FREEDOM} and engine of {ENGINES}; got "
                f"{degrees_of_freedom!r} and {engine!r}"
            )
        self.spacing_mm = spacing_mm
        self.mode = mode
        self.degrees_of_freedom = degrees_of_freedom
        self.deformable = deformable
        self.engine = engine
        self.device = device
        self.seed = seed
        self.min_overlap = min_overlap
        self.force = force

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Align the visits in `data`."""
        out = dict(data)
        given = isinstance(out.get("mid_space"), MidSpace) and isinstance(out.get("registration"), LinearRegistration)
        if not given:
            out["registration"], out["mid_space"] = self._register(out)
            if self.deformable:
                self._deform(out)
        space = out["mid_space"]
        field_of_view = torch.ones(1, *space.shape, dtype=torch.uint8)
        for visit in VISITS:
            field_of_view *= _seen(out[visit], space, visit)
            for key in [k for k in out if k == visit or str(k).startswith(f"{visit}+")]:
                native = out[key]
                out[key] = into_mid_space(native, space, visit, mode=self.mode)
                extra = {"affine": native.affine.tolist(), "mid_to_scan": space.mid_to(visit).tolist()}
                extra["warped"] = space.warp(visit) is not None
                self.push_transform(out[key], orig_size=tuple(native.shape[1:]), extra_info=extra)
            for key in [name for name, of in USER_MASKS.items() if of == visit and name in out]:
                out[key] = into_mid_space(out[key], space, visit, mode="nearest", padding_mode="zeros")
            if f"{visit}_brain" in out:
                out[f"{visit}_brain"] = _led_to_mid(out[f"{visit}_brain"], space, visit)
            if f"{visit}_anatomy" in out:
                out[f"{visit}_anatomy"] = _anatomy_in_mid(out[f"{visit}_anatomy"], space, visit)
        out["field_of_view"] = MetaTensor(field_of_view, affine=torch.as_tensor(space.affine))
        return out

    def _register(self, data: Mapping[Hashable, Any]) -> tuple[LinearRegistration, MidSpace]:
        masks: dict[str, Any] = {f"{visit}_mask": data.get(f"{visit}_brain") for visit in VISITS}
        options: dict[str, Any] = {
            name: getattr(self, name) for name in ("degrees_of_freedom", "engine", "device", "seed")
        }
        grids = [(data[visit].affine.numpy(), tuple(data[visit].shape[1:])) for visit in VISITS]
        try:
            registration = register_pair(data["baseline"], data["followup"], **masks, **options)
            space = mid_space(registration.baseline_to_followup, *grids, spacing_mm=self.spacing_mm)
        except ValueError as error:
            raise InputError(f"baseline and followup cannot be aligned: {error}") from error
        doubt = self.doubt(registration, is_head=None not in masks.values())
        if doubt is not None:
            raise InputError(f"baseline and followup: {doubt}")
        return registration, space

    def doubt(self, registration: LinearRegistration, *, is_head: bool = True) -> str | None:
        """Why an alignment is refused, in words for the user; None if it is not.

        Args:
            registration: the alignment.
            is_head: whether a brain was found in both scans. Organs that move by themselves are refused only where too
                little of them is shared, or one scan is mirrored.
        """
        if self.force:
            return None
        options = {"min_overlap": self.min_overlap} | ({} if is_head else {"min_settled": 0.0})
        doubts = registration.doubts(**options)
        return " ".join([*doubts, "Use --force to compare all the same."]) if doubts else None

    def _deform(self, out: dict[Hashable, Any]) -> None:
        """Add warps to the mid-space in `out`."""
        space = out["mid_space"]
        scans = [into_mid_space(out[visit], space, visit) for visit in VISITS]
        region = _brain(out, space)
        if region is None:
            region = foreground([scan.as_tensor() for scan in scans])
        for visit in VISITS:
            region = region * _seen(out[visit], space, visit)
        try:
            covered = MetaTensor(region, affine=scans[0].affine)
            found = register_deformable(scans[0], scans[1], covered, device=self.device)
        except ValueError as error:
            raise InputError(f"baseline and followup cannot be deformed onto each other: {error}") from error
        out["mid_space"] = replace(space, baseline_warp=found.baseline_warp, followup_warp=found.followup_warp)
        out["deformation"] = found

    def inverse(self, data: Mapping[Hashable, Any], *, mode: str | int | None = None) -> dict[Hashable, Any]:
        """Bring `baseline` and `followup` (and further modalities) back onto their native grids.

        Args:
            data: what `__call__` returned; the images under the visits' keys may have been replaced, by masks on the
                same grid that kept the images' `applied_operations`.
            mode: interpolation on the way back; the forward one by default.

        Raises:
            ValueError: if the images were warped, and `mid_space` is no longer in the data.
        """
        out = dict(data)
        for key in [k for k in out if str(k).split("+")[0] in VISITS and isinstance(out[k], MetaTensor)]:
            moved = out[key].clone()
            info = self.pop_transform(moved)
            extra, warp = info[TraceKeys.EXTRA_INFO], None
            if extra["warped"]:
                if not isinstance(out.get("mid_space"), MidSpace):
                    raise ValueError("expected mid_space in the data, whose warps lead back; got none: keep that key")
                warp = out["mid_space"].inverse_warp(str(key).split("+")[0])
            grid = np.asarray(extra["affine"], dtype=float), tuple(int(n) for n in info[TraceKeys.ORIG_SIZE])
            mid_to_scan = np.asarray(extra["mid_to_scan"], dtype=float)
            out[key] = from_mid_space(moved, grid, mid_to_scan, warp, mode=mode or self.mode)
        return out


def _brain(data: Mapping[Hashable, Any], space: MidSpace) -> torch.Tensor | None:
    """What is brain in either scan (1, I, J, K), in mid-space; None if it was not looked for in both."""
    brains = [data.get(f"{visit}_brain") for visit in VISITS]
    moved = [
        into_mid_space(brain, space, visit, mode="nearest", padding_mode="zeros").as_tensor()
        for brain, visit in zip(brains, VISITS, strict=True)
        if brain is not None
    ]
    return torch.maximum(moved[0], moved[1]) if len(moved) == 2 else None


def _seen(scan: MetaTensor, space: MidSpace, visit: str) -> torch.Tensor:
    """Where a scan was acquired (1, I, J, K), uint8, in mid-space."""
    whole = MetaTensor(torch.ones(1, *scan.shape[1:]), affine=scan.affine)
    return (into_mid_space(whole, space, visit, padding_mode="zeros").as_tensor() > 0.5).to(torch.uint8)


def _led_to_mid(image: MetaTensor, space: MidSpace, visit: str) -> MetaTensor:
    """An image on its own grid and all of it, also beyond mid-space: its affine leads there by the linear part."""
    moved = image.clone()
    moved.affine = torch.as_tensor(np.linalg.inv(space.mid_to(visit))) @ moved.affine
    return moved


def _anatomy_in_mid(image: MetaTensor, space: MidSpace, visit: str) -> MetaTensor:
    """Probabilities of the anatomy seen in a scan: on their own grid, or warped."""
    if space.warp(visit) is None:
        return _led_to_mid(image, space, visit)
    step = max(1, round(ANATOMY_MM / float(np.linalg.norm(space.affine[:3, 0]))))
    return into_mid_space(image, space, visit, padding_mode="zeros", step=step)
