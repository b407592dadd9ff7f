# SPDX-License-Identifier: Apache-2.0
"""Bring two visits into their mid-space, and results back onto each native grid."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform, SpatialResample
from monai.utils import TraceKeys

from monai_microchange.enums import VISITS
from monai_microchange.transforms.midspace import MidSpace, mid_space
from monai_microchange.transforms.registration import register_pair

__all__ = ["AlignMidSpaced"]


class AlignMidSpaced(MapTransform, InvertibleTransform):
    """Register two visits and resample each, once, into the space half-way between them.

    Both get the same linear interpolation, so neither looks sharper than the other for it. `inverse` brings whatever lies
    under the visits' keys, scans or masks, back onto the native grids (use `mode="nearest"` for masks).

    Beside `baseline` and `followup` it moves further modalities (`baseline+T1`), and the anatomy that `SegmentAnatomyd` saw:
    of that only the affine changes, and its brain mask guides the registration.

    Args:
        spacing_mm: voxel size of mid-space.
        mode: interpolation, as in MONAI's `SpatialResample`.
        seed: of the registration's sampling.

    Returns:
        A copy of the data with scans (C, I, J, K) on one grid; `mid_space`, the `MidSpace`; `registration`, its
        `RigidRegistration`; `field_of_view`, (1, I, J, K) uint8, 1 where both scans were acquired.

    Raises:
        ValueError: if the scans cannot be brought to overlap.

    Example:
        >>> from monai.transforms import Compose
        >>> from monai_microchange.data import ReadPaird
        >>> pipeline = Compose([ReadPaird(), AlignMidSpaced()])
        >>> # pipeline({"baseline": "first.nii.gz", "followup": "second.nii.gz"})
    """

    def __init__(self, *, spacing_mm: float = 1.0, mode: str = "bilinear", seed: int = 1):
        super().__init__(VISITS)
        if spacing_mm <= 0:
            raise ValueError(f"spacing_mm must be above 0; got {spacing_mm}")
        self.spacing_mm = spacing_mm
        self.mode = mode
        self.seed = seed

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Align the visits in `data`."""
        out = dict(data)
        baseline, followup = (out[visit] for visit in VISITS)
        masks = {f"{visit}_mask": out.get(f"{visit}_brain") for visit in VISITS}
        registration = register_pair(baseline, followup, **masks, seed=self.seed)
        space = mid_space(
            registration.baseline_to_followup,
            (baseline.affine.numpy(), tuple(baseline.shape[1:])),
            (followup.affine.numpy(), tuple(followup.shape[1:])),
            spacing_mm=self.spacing_mm,
        )
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
            for key in (f"{visit}_anatomy", f"{visit}_brain"):
                if key in out:
                    moved = out[key].clone()
                    moved.affine = torch.as_tensor(_scan_to_mid(space, visit)) @ moved.affine
                    out[key] = moved
        out["mid_space"], out["registration"] = space, registration
        out["field_of_view"] = MetaTensor(field_of_view, affine=torch.as_tensor(space.affine))
        return out

    def _move(self, scan: MetaTensor, space: MidSpace, visit: str, *, padding_mode: str) -> MetaTensor:
        moved = MetaTensor(scan, meta=dict(scan.meta))
        moved.affine = torch.as_tensor(_scan_to_mid(space, visit)) @ scan.affine
        moved = _resample(moved, torch.as_tensor(space.affine), space.shape, self.mode, padding_mode)
        moved.affine = torch.as_tensor(space.affine)  # as it was asked for, without rounding
        return moved

    def inverse(self, data: Mapping[Hashable, Any], *, mode: str | None = None) -> dict[Hashable, Any]:
        """Bring `baseline` and `followup` (and further modalities) back onto their native grids.

        Args:
            data: what `__call__` returned; the images under the visits' keys may have been replaced, by masks on the same
                grid that kept the images' `applied_operations`.
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
    onto = SpatialResample(mode=mode, padding_mode=padding_mode, dtype=torch.float64)
    with onto.trace_transform(False):
        return onto(image, dst_affine=affine, spatial_size=shape).to(torch.float32)


def _scan_to_mid(space: MidSpace, visit: str) -> np.ndarray:
    return np.linalg.inv(space.mid_to(visit))
