# SPDX-License-Identifier: Apache-2.0
"""Labels of real pairs as training takes them: `ChangeLabel` codes in mid-space."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import cc3d
import numpy as np
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from monai.transforms import Transform

from monai_microchange._frames import (
    apply_affine,
    array_from_image,
    image_from_array,
    spacing_from_affine,
    transform_from_matrix,
)
from monai_microchange.data.datalist import LabelledPair, read_label
from monai_microchange.data.mask import read_mask_like
from monai_microchange.enums import VISITS, ChangeLabel, ChangeType
from monai_microchange.transforms.midspace import MidSpace

__all__ = ["ReadChangeLabeld", "carry_codes", "label_to_codes"]

CHANGES = (ChangeLabel.GAIN, ChangeLabel.LOSS, ChangeLabel.CHANGED)

POINTS_PER_AXIS = 4
"""Of each label voxel along each of its axes, and of each mid-space voxel that it spans there."""

MOST_POINTS = 2_000_000
"""Worked on at once, so that a label turned inside out does not fill the memory."""


def label_to_codes(label: torch.Tensor, *, signed: bool, ignore: torch.Tensor | None = None) -> torch.Tensor:
    """Turn a change map into codes that losses understand.

    Args:
        label: (1, I, J, K), 0 or a `ChangeType`; not `signed`: above 0 where anything changed.
        signed: whether the label says the direction of change.
        ignore: (1, I, J, K), above 0 where nobody judged; wins over the label.

    Returns:
        `ChangeLabel` codes (1, I, J, K), uint8: GAIN and LOSS, or CHANGED where the direction is not known.

    Raises:
        ValueError: if the two differ in shape.

    Example:
        >>> label_to_codes(torch.tensor([0, 1, 2, 3, 4]), signed=True).tolist()
        [0, 1, 1, 2, 2]
        >>> label_to_codes(torch.tensor([0, 1, 255]), signed=False, ignore=torch.tensor([1, 1, 0])).tolist()
        [4, 4, 3]
    """
    codes = torch.zeros_like(torch.as_tensor(label), dtype=torch.uint8)
    if signed:
        for kind in ChangeType:
            codes[label == kind] = ChangeLabel.GAIN if kind.is_gain else ChangeLabel.LOSS
    else:
        codes[label > 0] = ChangeLabel.CHANGED
    if ignore is not None:
        if ignore.shape != label.shape:
            raise ValueError(f"expected ignore of the label's shape {tuple(label.shape)}, got {tuple(ignore.shape)}")
        codes[ignore > 0] = ChangeLabel.UNKNOWN
    return codes


def carry_codes(codes: np.ndarray, affine: np.ndarray, label_to_mid: np.ndarray, space: MidSpace) -> np.ndarray:
    """Bring codes onto the grid of mid-space, each lesion with the volume that it had.

    Each component of a code (26-connected) gets as many voxels of mid-space as its volume holds, at least one: those of
    which it covers most. Nearest neighbour would lose lesions that lie between the centres of mid-space, and cutting
    the covered share at one half shrinks small ones (by 8 % where they are a few mm wide) and loses the smallest. Where
    components meet in a voxel, the one that covers more has it. Codes that are no change (UNKNOWN) and the surroundings
    of the label's grid are looked up at voxel centres; UNKNOWN wins over change.

    Args:
        codes: `ChangeLabel` codes (I, J, K).
        affine: (4, 4), voxel of the label to RAS mm.
        label_to_mid: (4, 4), points of the label's space to points of mid-space, RAS mm.
        space: where to.

    Returns:
        Codes on the grid of mid-space, uint8; UNKNOWN where the label's grid does not reach. No change gives none.

    Example:
        >>> codes = np.zeros((4, 4, 2), np.uint8); codes[2, 1, 0] = ChangeLabel.LOSS  # of 3 mm along the last axis
        >>> space = MidSpace(np.eye(4), (4, 4, 6), np.eye(4), np.eye(4))
        >>> np.argwhere(carry_codes(codes, np.diag([1.0, 1, 3, 1]), np.eye(4), space) == ChangeLabel.LOSS).tolist()
        [[2, 1, 0], [2, 1, 1]]
    """
    shares = _shares(np.where(np.isin(codes, CHANGES), codes, 0).astype(np.uint8), affine, label_to_mid, space)
    moved = _place(shares, int(np.prod(space.shape))).reshape(space.shape)
    judged = _judged(codes, affine, label_to_mid, space)
    moved[(judged == _IGNORED) | ((judged == _OUTSIDE) & (moved == ChangeLabel.NONE))] = ChangeLabel.UNKNOWN
    return moved


_IGNORED, _OUTSIDE = 1, 2


def _judged(codes: np.ndarray, affine: np.ndarray, label_to_mid: np.ndarray, space: MidSpace) -> np.ndarray:
    """What the label is at the voxel centres of mid-space: 0 judged, ignored, or outside of its grid."""
    ignored = image_from_array((codes == ChangeLabel.UNKNOWN).astype(np.uint8) * _IGNORED, affine)
    grid = image_from_array(np.zeros(space.shape, np.uint8), space.affine)
    mid_to_label = transform_from_matrix(np.linalg.inv(label_to_mid))
    return array_from_image(sitk.Resample(ignored, grid, mid_to_label, sitk.sitkNearestNeighbor, _OUTSIDE))


@dataclass(frozen=True, eq=False)
class _Shares:
    """What fraction of which mid-space voxel each component covers; one entry for each of both that meet."""

    voxel: np.ndarray
    """(n,) flat index of the mid-space voxel."""
    component: np.ndarray
    """(n,) number of the component, from 1."""
    fraction: np.ndarray
    """(n,) share of the voxel's volume."""
    code: np.ndarray
    """(n_components + 1,) code of each component; that of 0 is no change."""


def _shares(changed: np.ndarray, affine: np.ndarray, label_to_mid: np.ndarray, space: MidSpace) -> _Shares:
    """Cut each changed voxel into points and add up their volume in the mid-space voxels in which they fall."""
    components, count = cc3d.connected_components(changed, connectivity=26, return_N=True)
    voxels = np.argwhere(changed)
    number = components[tuple(voxels.T)].astype(np.int64)
    code = np.zeros(count + 1, np.uint8)
    code[number] = changed[tuple(voxels.T)]
    to_mid = np.linalg.inv(space.affine) @ label_to_mid @ affine
    # more points along an axis whose voxels are long, in voxels of mid-space
    per_axis = POINTS_PER_AXIS * np.maximum(1, np.ceil(np.linalg.norm(to_mid[:3, :3], axis=0) - 1e-3)).astype(int)
    steps = [(np.arange(n) + 0.5) / n - 0.5 for n in per_axis]
    offsets = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 3)
    keys, counts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    batch = max(1, MOST_POINTS // len(offsets))
    for start in range(0, len(voxels), batch):
        points = apply_affine(to_mid, (voxels[start : start + batch, None] + offsets).reshape(-1, 3))
        index = np.floor(points + 0.5 + 1e-6).astype(np.int64)
        inside = ((index >= 0) & (index < space.shape)).all(axis=1)
        flat = np.ravel_multi_index(tuple(index[inside].T), space.shape)
        owner = np.repeat(number[start : start + batch], len(offsets))[inside]
        key, n_points = np.unique(flat * (count + 1) + owner, return_counts=True)
        keys.append(key)
        counts.append(n_points)
    key, where = np.unique(np.concatenate(keys), return_inverse=True)
    volume = abs(float(np.linalg.det(to_mid[:3, :3]))) / len(offsets)
    fraction = np.bincount(where, np.concatenate(counts), minlength=len(key)) * volume
    voxel, component = np.divmod(key, count + 1)
    return _Shares(voxel, component, fraction, code)


def _place(shares: _Shares, size: int) -> np.ndarray:
    """Codes of mid-space, flat: each component on the voxels that it covers most, as many as its volume holds."""
    covered = np.round(shares.fraction, 6)  # so that equals compare equal
    order = np.lexsort((shares.voxel, -covered, shares.component))
    component, voxel, covered = shares.component[order], shares.voxel[order], covered[order]
    volume = np.bincount(component, covered, minlength=len(shares.code))
    first = np.searchsorted(component, np.arange(len(shares.code)))
    rank = np.arange(len(component)) - first[component]
    claims = np.flatnonzero(rank < np.maximum(1, np.round(volume))[component])
    # written from the least to the most covered, so that the latter stays; a component's first voxel is kept anyhow
    claims = claims[np.lexsort((covered[claims], rank[claims] == 0))]
    moved = np.zeros(size, np.uint8)
    moved[voxel[claims]] = shares.code[component[claims]]
    return moved


class ReadChangeLabeld(Transform):
    """Read the label of an aligned pair and bring it to mid-space as `ChangeLabel` codes.

    Stands after `AlignMidSpaced` and takes the records of `training_records`: `label_file`, `label_signed`,
    `label_to_baseline` and perhaps `label_ignore`. A record without `label_file` is of a pair that nobody judged: all
    of its label is UNKNOWN, and lesions may still be inserted into it.

    Args:
        label_key: where the codes go.

    Returns:
        A copy of the data with codes (1, I, J, K), uint8, as `carry_codes` makes them; UNKNOWN also where only one of
        the scans was acquired. `thickness_mm`, how high the voxels of the thicker scan are (along the last axis of
        mid-space), where the data hold the `pair` that `ReadPaird` read.

    Raises:
        InputError: if the label or its ignore mask cannot be used.
        ValueError: if the pair has not been aligned.

    Example:
        >>> ReadChangeLabeld()({"label_file": "label.nii.gz"})
        Traceback (most recent call last):
        ...
        ValueError: expected a pair in mid-space, got none: put AlignMidSpaced before ReadChangeLabeld
    """

    def __init__(self, *, label_key: str = "label") -> None:
        self.label_key = label_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of `data` with the label."""
        space = data.get("mid_space")
        if not isinstance(space, MidSpace):
            raise ValueError("expected a pair in mid-space, got none: put AlignMidSpaced before ReadChangeLabeld")
        codes = np.full(space.shape, ChangeLabel.UNKNOWN, np.uint8)
        if data.get("label_file") is not None:
            codes = _read_codes(data, space)
        label = torch.from_numpy(codes)[None]
        if "field_of_view" in data:
            label[torch.as_tensor(data["field_of_view"].as_tensor()) == 0] = ChangeLabel.UNKNOWN
        out = {**data, self.label_key: MetaTensor(label, affine=torch.as_tensor(space.affine))}
        if "pair" in data:
            out["thickness_mm"] = max(_height_mm(getattr(data["pair"], visit).affine) for visit in VISITS)
        return out


def _height_mm(affine: np.ndarray) -> float:
    """Size of a voxel along that of its axes that runs most nearly from feet to head.

    >>> _height_mm(np.diag([1.0, 1.0, 5.0, 1.0]))
    5.0
    """
    upward = int(np.argmax(np.abs(affine[2, :3]) / spacing_from_affine(affine)))
    return float(spacing_from_affine(affine)[upward])


def _read_codes(data: Mapping[Hashable, Any], space: MidSpace) -> np.ndarray:
    """Codes of a record's label in mid-space."""
    signed = bool(data.get("label_signed", True))
    case = LabelledPair(str(data.get("name", "case")), None, None, data["label_file"], signed=signed)
    label, ignore = read_label(case), None
    if data.get("label_ignore") is not None:
        ignore = read_mask_like(data["label_ignore"], label, what="ignore", allow_empty=True).as_tensor()
    codes = label_to_codes(label.as_tensor(), signed=signed, ignore=ignore)
    place = np.asarray(data.get("label_to_baseline", np.eye(4)), dtype=float)
    label_to_mid = np.linalg.inv(space.mid_to("baseline")) @ place
    return carry_codes(codes[0].numpy(), label.affine.numpy(), label_to_mid, space)
