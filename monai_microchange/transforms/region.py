# SPDX-License-Identifier: Apache-2.0
"""Where a change could be seen, and masks that the user brings along."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform
from scipy.ndimage import distance_transform_edt

from monai_microchange._frames import spacing_from_affine
from monai_microchange.data import read_mask_like
from monai_microchange.enums import VISITS, Anatomy

__all__ = ["AssessRegiond", "ReadUserMasksd", "depth_below_surface", "foreground"]

USER_MASKS = {"brain_mask": "baseline", "baseline_lesion": "baseline", "followup_lesion": "followup"}
"""Masks that a user may bring, and the visit in whose space each lies."""


EDGE_MM = 2.0
"""A change that lies wholly within this depth below the brain's surface is partial volume or a vessel, not a lesion."""


class ReadUserMasksd(MapTransform):
    """Read the user's own masks, if any, onto the grid of the visit that each belongs to.

    `brain_mask` and `baseline_lesion` lie in the baseline's space, `followup_lesion` in the follow-up's. Keys that are
    missing or None are left out of the result.

    Raises:
        InputError: if a mask is unreadable, empty, or lies elsewhere than its scan.
    """

    def __init__(self) -> None:
        super().__init__(tuple(USER_MASKS), allow_missing_keys=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read the masks that `data` names by path."""
        out = dict(data)
        for name, visit in USER_MASKS.items():
            path = out.pop(name, None)
            if path is not None:
                # no lesion at a visit is an answer; no brain is a mistake
                out[name] = read_mask_like(
                    path, out[visit], what=name.replace("_", " "), allow_empty=name != "brain_mask"
                )
        return out


def foreground(scans: list[torch.Tensor]) -> torch.Tensor:
    """What is not air in any of the scans: above Otsu's threshold of their mean, each scaled to its 99th percentile.

    Args:
        scans: (1, I, J, K) each, on one grid.

    Returns:
        (1, I, J, K), uint8.
    """
    mean = torch.zeros_like(torch.as_tensor(scans[0]))
    for scan in scans:
        plain = torch.as_tensor(scan).as_subclass(torch.Tensor)  # type: ignore[arg-type]
        low, top = np.percentile(plain.numpy(), [1, 99])
        mean = mean + (plain - low) / max(top - low, 1e-6)
    image = sitk.GetImageFromArray(np.asarray(mean[0]))
    inside = sitk.GetArrayFromImage(sitk.OtsuThreshold(image, 0, 1))
    return torch.from_numpy(inside.astype(np.uint8))[None]


def depth_below_surface(region: np.ndarray, spacing_mm: np.ndarray) -> np.ndarray:
    """How deep inside a region each voxel lies, mm (I, J, K), float32; 0 outside, and outside the image nothing is."""
    depth = distance_transform_edt(np.pad(region, 1), sampling=spacing_mm)
    return np.asarray(depth[1:-1, 1:-1, 1:-1], dtype=np.float32)


class AssessRegiond(MapTransform):
    """Decide where change is looked for (`brain`), and where it could have been seen (`assessed`).

    The brain is the user's mask, else the anatomy's, else (for other organs) all that is not air. Assessed is what of
    it both scans cover, less (unless the mask is the user's) the CSF around the brain, where vessels and membranes are
    bright and no lesions lie.

    Returns:
        A copy of the data with `brain` and `assessed`, (1, I, J, K) uint8, `region`, which says what was used, and
        `depth_mm`, how far below the surface of `assessed` each voxel lies; with the anatomy's brain also
        `seed_region`, what of `assessed` lies more than 2 mm below.

    Raises:
        ValueError: if the two scans have no region in common.
    """

    def __init__(self) -> None:
        super().__init__(VISITS)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the regions to `data`."""
        out = dict(data)
        scans = [out[visit] for visit in VISITS]
        field_of_view = torch.as_tensor(out.pop("field_of_view").as_tensor())
        given = "brain_mask" in out
        if given:
            brain, out["region"] = out.pop("brain_mask").as_tensor().to(torch.uint8), "mask given by the user"
        elif "brain" in out:
            brain, out["region"] = out["brain"].as_tensor(), "brain, from the head_anatomy network"
        else:
            brain, out["region"] = foreground(scans), "all that is not air"
        brain = brain * field_of_view
        assessed = brain.clone()
        if "anatomy" in out and not given:
            assessed[out["anatomy"].as_tensor() == Anatomy.OUTER_CSF] = 0
        if not bool(assessed.any()):
            raise ValueError(
                "the two scans have no part of the region to assess in common: do they show the same part?"
            )
        affine = scans[0].affine
        depth = torch.from_numpy(depth_below_surface(assessed[0].numpy(), spacing_from_affine(affine.numpy())))[None]
        out["brain"], out["assessed"] = MetaTensor(brain, affine=affine), MetaTensor(assessed, affine=affine)
        out["depth_mm"] = MetaTensor(depth, affine=affine)
        if "anatomy" in out and not given:
            out["seed_region"] = MetaTensor((depth > EDGE_MM).to(torch.uint8), affine=affine)
        return out
