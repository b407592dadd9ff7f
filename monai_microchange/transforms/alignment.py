# SPDX-License-Identifier: Apache-2.0
"""Bring two visits into their mid-space, and results back onto each native grid."""

from collections.abc import Hashable, Mapping
from typing import Any, cast

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform, SpatialResample
from monai.utils import TraceKeys

from monai_microchange.data import InputError
from monai_microchange.enums import VISITS
from monai_microchange.transforms.midspace import MidSpace, mid_space
from monai_microchange.transforms.region import USER_MASKS
from monai_microchange.transforms.registration import DEGREES_OF_FREEDOM, ENGINES, LinearRegistration, register_pair

__all__ = ["AlignMidSpaced"]


class AlignMidSpaced(MapTransform, InvertibleTransform):
    """Register two visits and resample each, once, into the space half-way between them.

    Both get the same linear interpolation, so neither looks sharper than the other for it. `inverse` brings whatever
    lies under the visits' keys, scans or masks, back onto the native grids (use `mode="nearest"` for masks).

    Beside `baseline` and `followup` it moves further modalities (`baseline+T1`), the user's masks, and the anatomy
    that `SegmentAnatomyd` saw: of that only the affine changes, and its brain mask guides the registration.

    Args:
        spacing_mm: voxel size of mid-space.
        mode: interpolation, as in MONAI's `SpatialResample`.
        degrees_of_freedom: 6 (rigid), 7, 9 or 12 (affine), as in `register_pair`.
        engine: `torch` or `itk`, as in `register_pair`.
        device: of the registration.
        seed: of the registration's sampling.
        min_overlap: least share of the smaller head (or foreground) that the other scan must cover.
        max_inconsistency_mm: most that both directions, or the octants of the head, may disagree on the alignment; for
            scans of two patients, or parts that hardly meet, they disagree by several mm.

    Returns:
        A copy of the data with scans (C, I, J, K) on one grid; `mid_space`, the `MidSpace`; `registration`, its
        `LinearRegistration`; `field_of_view`, (1, I, J, K) uint8, 1 where both scans were acquired.

    Raises:
        ValueError: if an option has no such value.
        InputError: if the scans cannot be brought to overlap enough.

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
        mode: str = "bilinear",
        degrees_of_freedom: int = 6,
        engine: str = "torch",
        device: str | torch.device = "cpu",
        seed: int = 1,
        min_overlap: float = 0.5,
        max_inconsistency_mm: float = 2.0,
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
        self.engine = engine
        self.device = device
        self.seed = seed
        self.min_overlap = min_overlap
        self.max_inconsistency_mm = max_inconsistency_mm

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Align the visits in `data`."""
        out = dict(data)
        registration, space = self._register(out)
        field_of_view = torch.ones(1, *space.shape, dtype=torch.uint8)
        for visit in VISITS:
            whole = MetaTensor(torch.ones_like(out[visit][:1].as_tensor()), affine=out[visit].affine)
            seen = self._move(whole, space, visit, padding_mode="zeros")
            field_of_view *= (seen.as_tensor() > 0.5).to(torch.uint8)
            for key in [k for k in out if k == visit or str(k).startswith(f"{visit}+")]:
                native = out[key]
                out[key] = self._move(native, space, visit, padding_mode="border")
                extra = {"affine": native.affine.tolist(), "scan_to_mid": _scan_to_mid(space, visit).tolist()}
                self.push_transform(out[key], orig_size=tuple(native.shape[1:]), extra_info=extra)
            for key in [name for name, of in USER_MASKS.items() if of == visit and name in out]:
                out[key] = self._move(out[key], space, visit, mode="nearest", padding_mode="zeros")
            for key in (f"{visit}_anatomy", f"{visit}_brain"):
                if key in out:
                    moved = out[key].clone()
                    moved.affine = torch.as_tensor(_scan_to_mid(space, visit)) @ moved.affine
                    out[key] = moved
        out["mid_space"], out["registration"] = space, registration
        out["field_of_view"] = MetaTensor(field_of_view, affine=torch.as_tensor(space.affine))
        return out

    def _register(self, data: Mapping[Hashable, Any]) -> tuple[LinearRegistration, MidSpace]:
        options: dict[str, Any] = {f"{visit}_mask": data.get(f"{visit}_brain") for visit in VISITS}
        options |= {name: getattr(self, name) for name in ("degrees_of_freedom", "engine", "device", "seed")}
        grids = [(data[visit].affine.numpy(), tuple(data[visit].shape[1:])) for visit in VISITS]
        try:
            registration = register_pair(data["baseline"], data["followup"], **options)
            space = mid_space(registration.baseline_to_followup, *grids, spacing_mm=self.spacing_mm)
        except ValueError as error:
            raise InputError(f"baseline and followup cannot be aligned: {error}") from error
        apart_mm = max(registration.inverse_consistency_mm, registration.disagreement_mm)
        if apart_mm > self.max_inconsistency_mm:
            raise InputError(
                f"baseline and followup: expected an alignment certain to {self.max_inconsistency_mm:g} mm, got parts "
                f"of the head, or directions, that disagree by {apart_mm:.1f} mm; are they of one patient, and do they "
                "show the same part of the body? Use --force to compare all the same."
            )
        if registration.overlap < self.min_overlap:
            raise InputError(
                f"baseline and followup: expected an overlap of at least {self.min_overlap:.0%} of the head, got "
                f"{registration.overlap:.0%}; give scans that show the same part of the body."
            )
        return registration, space

    def _move(
        self, scan: MetaTensor, space: MidSpace, visit: str, *, padding_mode: str, mode: str | None = None
    ) -> MetaTensor:
        moved = scan.clone()  # with what was applied before, so that a whole Compose inverts
        moved.affine = torch.as_tensor(_scan_to_mid(space, visit)) @ scan.affine
        moved = _resample(moved, torch.as_tensor(space.affine), space.shape, mode or self.mode, padding_mode)
        moved.affine = torch.as_tensor(space.affine)  # as it was asked for, without rounding
        return moved

    def inverse(self, data: Mapping[Hashable, Any], *, mode: str | None = None) -> dict[Hashable, Any]:
        """Bring `baseline` and `followup` (and further modalities) back onto their native grids.

        Args:
            data: what `__call__` returned; the images under the visits' keys may have been replaced, by masks on the
                same grid that kept the images' `applied_operations`.
            mode: interpolation on the way back; the forward one by default.
        """
        out = dict(data)
        for key in [k for k in out if str(k).split("+")[0] in VISITS and isinstance(out[k], MetaTensor)]:
            moved = out[key].clone()
            info = self.pop_transform(moved)
            affine = torch.as_tensor(info[TraceKeys.EXTRA_INFO]["affine"], dtype=torch.float64)
            scan_to_mid = torch.as_tensor(info[TraceKeys.EXTRA_INFO]["scan_to_mid"], dtype=torch.float64)
            native = _resample(moved, scan_to_mid @ affine, info[TraceKeys.ORIG_SIZE], mode or self.mode, "zeros")
            native.affine = affine
            out[key] = native
        return out


def _resample(
    image: MetaTensor, affine: torch.Tensor, shape: tuple[int, ...], mode: str, padding_mode: str
) -> MetaTensor:
    onto = SpatialResample(mode=mode, padding_mode=padding_mode, dtype=np.float64)
    with onto.trace_transform(False):
        return cast(MetaTensor, onto(image, dst_affine=affine, spatial_size=shape).to(torch.float32))


def _scan_to_mid(space: MidSpace, visit: str) -> np.ndarray:
    return np.linalg.inv(space.mid_to(visit))
