# SPDX-License-Identifier: Apache-2.0
"""Coarse anatomy of a scan of any contrast: the brain region, white matter, ventricles."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import (
    MapTransform,
    Orientation,
    ScaleIntensityRangePercentiles,
    Spacing,
    SpatialPad,
)
from scipy import ndimage as ndi

from monai_microchange.enums import Anatomy
from monai_microchange.transforms.effects import resample_voxels

__all__ = ["MergeAnatomyd", "SegmentAnatomyd", "anatomy_probabilities", "clean_brain", "merge_anatomy"]

SPACING_MM = 2.0
"""Voxel size that the anatomy network is trained at."""

PATCH = (96, 112, 96)
"""Voxels that the anatomy network is trained on; smaller scans are padded to them."""


def anatomy_probabilities(image: MetaTensor, network: torch.nn.Module) -> MetaTensor:
    """Probability of each `Anatomy` label, on a 2 mm grid of the network's own.

    Args:
        image: scan (1, I, J, K) with its affine to RAS mm; any contrast, with or without skull.
        network: maps (B, 1, *spatial) to logits (B, 7, *spatial).

    Returns:
        (7, *spatial) with its affine.
    """
    upright = cast(torch.Tensor, Orientation(axcodes="RAS", labels=None)(image))
    coarse = cast(MetaTensor, Spacing(pixdim=[SPACING_MM] * 3, mode="bilinear", padding_mode="zeros")(upright))
    scaled = torch.as_tensor(ScaleIntensityRangePercentiles(0.5, 99.5, 0.0, 1.0, clip=True)(coarse.as_tensor()))
    # padded as in training: the network's norms see how much air there is
    padding = SpatialPad([extent + -extent % 8 for extent in map(max, scaled.shape[1:], PATCH)])
    x = torch.as_tensor(padding(torch.as_tensor(scaled).float())).as_subclass(torch.Tensor)  # type: ignore[arg-type]
    start = [(wide - extent) // 2 for wide, extent in zip(x.shape[1:], scaled.shape[1:], strict=True)]
    inside = tuple(slice(s, s + extent) for s, extent in zip(start, scaled.shape[1:], strict=True))
    device = next(network.parameters()).device
    with torch.inference_mode():
        logits = network(x[None].to(device))[0].float().cpu()
    return MetaTensor(logits.softmax(dim=0)[(slice(None), *inside)].clone(), affine=coarse.affine)


def clean_brain(labels: np.ndarray) -> np.ndarray:
    """Keep the largest piece of brain and fill its holes; what is no brain becomes BACKGROUND.

    Args:
        labels: `Anatomy` labels (I, J, K).

    Returns:
        Labels of the same shape, uint8; all BACKGROUND if there is no brain at all.
    """
    brain = ndi.binary_opening(labels > 0, iterations=1)
    pieces, count = ndi.label(brain)
    if count == 0:
        return np.zeros_like(labels, dtype=np.uint8)
    largest = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
    filled = ndi.binary_fill_holes(ndi.binary_dilation(largest, iterations=1) & ((labels > 0) | largest))
    cleaned = np.where(filled, labels, Anatomy.BACKGROUND)
    # a hole in the brain (a black lesion, a vessel) counts as the tissue it lies in
    cleaned[filled & (cleaned == Anatomy.BACKGROUND)] = Anatomy.WHITE_MATTER
    return cleaned.astype(np.uint8)


def merge_anatomy(probabilities: Sequence[MetaTensor], grid: MetaTensor) -> MetaTensor:
    """One label map from the anatomy seen in several scans of one head.

    The probabilities are averaged, so the order of the scans does not matter.

    Args:
        probabilities: (7, *spatial) each, with its affine to the millimetres of `grid`.
        grid: image (C, I, J, K) whose grid the result gets.

    Returns:
        `Anatomy` labels (1, I, J, K), uint8.

    Raises:
        ValueError: if there is nothing to merge.
    """
    if not probabilities:
        raise ValueError("merge_anatomy needs the anatomy of at least one scan; got none")
    shape = tuple(grid.shape[1:])
    total = torch.zeros(len(Anatomy), *shape)
    for probability in probabilities:
        grid_to_probability = np.linalg.inv(probability.affine.numpy()) @ grid.affine.numpy()
        total += resample_voxels(probability.as_tensor().float(), grid_to_probability, shape)
    labels = clean_brain(np.asarray(total.argmax(dim=0), dtype=np.uint8))
    return MetaTensor(torch.from_numpy(labels)[None], affine=grid.affine)


class SegmentAnatomyd(MapTransform):
    """Add what a network sees of the anatomy in each scan, and a brain mask, on grids of their own (2 mm).

    For a key `baseline` these are `baseline_anatomy` (7, *spatial), probabilities, and `baseline_brain` (1, *spatial),
    uint8.

    Args:
        keys: scans (1, I, J, K), each with its affine.
        network: maps (B, 1, *spatial) to logits of `Anatomy`.

    Raises:
        ValueError: if no brain is found in a scan.
    """

    def __init__(self, keys: KeysCollection, network: torch.nn.Module):
        super().__init__(keys)
        self.network = network.eval()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Segment the scans of `data`, each by itself."""
        out = dict(data)
        for key in self.key_iterator(out):
            probability = anatomy_probabilities(out[key], self.network)
            labels = clean_brain(probability.argmax(dim=0).numpy().astype(np.uint8))
            if not labels.any() and "brain_mask" in out:
                return dict(data)  # the user's mask will do; the lesions' places stay unknown
            if not labels.any():
                raise ValueError(f"no brain was found in the {key} scan: give a brain mask, or work without a region")
            out[f"{key}_anatomy"] = probability
            out[f"{key}_brain"] = MetaTensor(
                torch.from_numpy((labels > 0)[None]).to(torch.uint8), affine=probability.affine
            )
        return out


class MergeAnatomyd(MapTransform):
    """Merge the anatomy of all scans into one label map on their common grid, with the brain mask.

    Takes what `SegmentAnatomyd` added, if it did, and puts `anatomy` and `brain`, (1, I, J, K) and uint8, in place of
    the probabilities. Each scan's own brain mask stays: it shows what lies beyond the common grid.

    Args:
        keys: scans on one grid.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Merge the anatomy in `data`."""
        out = dict(data)
        keys = list(self.key_iterator(out))
        if not all(f"{key}_anatomy" in out for key in keys):
            return out
        anatomy = merge_anatomy([out.pop(f"{key}_anatomy") for key in keys], out[keys[0]])
        out["anatomy"] = anatomy
        out["brain"] = MetaTensor((anatomy.as_tensor() > 0).to(torch.uint8), affine=anatomy.affine)
        return out
