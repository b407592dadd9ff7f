# SPDX-License-Identifier: Apache-2.0
"""From probabilities of gain and loss to typed components of change: new, enlarging, shrinking, resolved."""

from collections.abc import Sequence
from dataclasses import dataclass

import cc3d
import numpy as np

from monai_microchange.enums import ChangeType

__all__ = ["ChangeMaps", "find_changes"]

_TOUCHING_VOXELS = 2
"""So many lesion voxels of the other visit must lie in a component's one-voxel dilation to make it part of that
lesion."""


@dataclass(frozen=True, eq=False)
class ChangeMaps:
    """Typed change and the components it is made of, all (I, J, K) on the mid-space grid.

    Args:
        change: uint8, 0 where nothing changed, else a `ChangeType`.
        gain_labels: 26-connected components of gain, numbered from 1; 0 elsewhere.
        loss_labels: the same of loss. No voxel is in both.
        gain_confidence: (n,) probability that each component of gain is true; None where nothing was calibrated.
        loss_confidence: the same of loss.
    """

    change: np.ndarray
    gain_labels: np.ndarray
    loss_labels: np.ndarray
    gain_confidence: np.ndarray | None = None
    loss_confidence: np.ndarray | None = None

    def surer_than(self, gain_confidence: np.ndarray, loss_confidence: np.ndarray, least: float) -> "ChangeMaps":
        """The components whose confidence, (n,) of gain and of loss, is at least so high, numbered anew.

        Example:
            >>> labels, nothing = np.array([[[1, 0, 2]]]), np.zeros((1, 1, 3), dtype=int)
            >>> maps = ChangeMaps((labels > 0).astype(np.uint8), labels, nothing)
            >>> kept = maps.surer_than(np.array([0.2, 0.9]), np.array([]), 0.5)
            >>> kept.change.tolist(), kept.gain_labels.tolist(), kept.gain_confidence.tolist()
            ([[[0, 0, 1]]], [[[0, 0, 1]]], [0.9])
        """
        labels = []
        for old, confidence in ((self.gain_labels, gain_confidence), (self.loss_labels, loss_confidence)):
            keep = np.concatenate([[False], np.asarray(confidence) >= least])
            labels.append(np.where(keep, np.cumsum(keep), 0).astype(np.int32)[old])
        change = np.where((labels[0] > 0) | (labels[1] > 0), self.change, 0).astype(np.uint8)
        sure = [confidence[np.asarray(confidence) >= least] for confidence in (gain_confidence, loss_confidence)]
        return ChangeMaps(change, labels[0], labels[1], sure[0], sure[1])


def find_changes(
    gain_probability: np.ndarray,
    loss_probability: np.ndarray,
    baseline_lesion: np.ndarray,
    followup_lesion: np.ndarray,
    assessed: np.ndarray,
    *,
    spacing_mm: Sequence[float],
    threshold: float = 0.5,
    seed_threshold: float = 0.0,
    seed_region: np.ndarray | None = None,
    min_volume_mm3: float = 3.0,
) -> ChangeMaps:
    """Cut the probabilities of gain and loss into components and say of which type each is.

    A voxel is gain where its probability of gain exceeds both the threshold and its probability of loss, and where it
    was assessed; loss likewise. Components (26-connected) under the least volume are dropped. A gain component whose
    one-voxel dilation (26 neighbours; the component itself belongs to it) holds at least two voxels of baseline lesion
    is ENLARGING, otherwise NEW. A loss component is judged the same way against follow-up lesion: SHRINKING, otherwise
    RESOLVED. Hence exchanging the visits (both probabilities, both lesion masks) exchanges the types exactly.

    Args:
        gain_probability: probability per voxel (I, J, K) that tissue turned into lesion.
        loss_probability: probability per voxel that lesion turned back into tissue.
        baseline_lesion: lesion at baseline, nonzero inside.
        followup_lesion: lesion at follow-up.
        assessed: nonzero where a change could have been seen.
        spacing_mm: voxel size along i, j, k.
        threshold: probability that a changed voxel exceeds, in [0, 1).
        seed_threshold: probability that at least one voxel of a component exceeds, in [0, 1): sure seeds, wide extent.
        seed_region: nonzero where such a voxel must lie; anywhere by default.
        min_volume_mm3: volume that a component of change has at least.

    Returns:
        The change map and its components. Nothing above the threshold gives maps of zeros.

    Raises:
        ValueError: if the arrays differ in shape or are not 3D, or a number is out of its range.

    Example:
        >>> gain, nothing = np.zeros((8, 8, 8)), np.zeros((8, 8, 8))
        >>> gain[2:4, 2:4, 2:4] = 0.9
        >>> maps = find_changes(gain, nothing, nothing, nothing, np.ones((8, 8, 8)), spacing_mm=(1, 1, 1))
        >>> np.bincount(maps.change.ravel()).tolist()
        [504, 8]
    """
    arrays = [gain_probability, loss_probability, baseline_lesion, followup_lesion, assessed]
    arrays += [] if seed_region is None else [seed_region]
    _check(arrays, spacing_mm, (threshold, seed_threshold), min_volume_mm3)
    seen = np.asarray(assessed) > 0
    # a hair less than the quotient: 3 mm3 are three voxels also where the spacing is 1.0000001 mm
    min_voxels = int(np.ceil(min_volume_mm3 / float(np.prod(spacing_mm)) - 1e-4))
    gain = (gain_probability > threshold) & (gain_probability > loss_probability) & seen
    loss = (loss_probability > threshold) & (loss_probability > gain_probability) & seen
    sure = seen if seed_region is None else seen & (np.asarray(seed_region) > 0)
    gain_labels = _components(gain, gain & sure & (gain_probability > seed_threshold), min_voxels)
    loss_labels = _components(loss, loss & sure & (loss_probability > seed_threshold), min_voxels)
    change = _types(gain_labels, baseline_lesion, apart=ChangeType.NEW, touching=ChangeType.ENLARGING)
    change += _types(loss_labels, followup_lesion, apart=ChangeType.RESOLVED, touching=ChangeType.SHRINKING)
    return ChangeMaps(change, gain_labels, loss_labels)


def _check(
    arrays: Sequence[np.ndarray], spacing_mm: Sequence[float], thresholds: Sequence[float], min_volume_mm3: float
) -> None:
    """Refuse arrays that do not share one 3D grid, and numbers out of range."""
    shapes = [np.shape(array) for array in arrays]
    if len(shapes[0]) != 3 or any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"expected 3D arrays of one shape, got {shapes}: put all of them on the mid-space grid")
    if len(spacing_mm) != 3 or min(spacing_mm) <= 0:
        raise ValueError(f"expected three positive voxel sizes in mm, got spacing_mm={tuple(spacing_mm)}")
    for threshold in thresholds:
        if not 0 <= threshold < 1:
            raise ValueError(f"expected a probability threshold in [0, 1), got {threshold}")
    if min_volume_mm3 < 0:
        raise ValueError(f"expected a least volume of 0 mm3 or more, got {min_volume_mm3}")


def _components(mask: np.ndarray, seeds: np.ndarray, min_voxels: int) -> np.ndarray:
    """26-connected components of at least `min_voxels` with at least one seed, int32, numbered from 1 without gaps."""
    labels = cc3d.connected_components(np.ascontiguousarray(mask), connectivity=26).astype(np.int32)
    size = np.bincount(labels.ravel())
    keep = (size >= max(min_voxels, 1)) & (np.bincount(labels[seeds], minlength=len(size)) > 0)
    keep[0] = False
    return np.where(keep, np.cumsum(keep), 0).astype(np.int32)[labels]


def _types(labels: np.ndarray, other_lesion: np.ndarray, *, apart: ChangeType, touching: ChangeType) -> np.ndarray:
    """Type (uint8) of each voxel of the components, 0 elsewhere."""
    types = np.where(_touching_count(labels, other_lesion) >= _TOUCHING_VOXELS, touching, apart).astype(np.uint8)
    types[0] = 0
    return types[labels]


def _touching_count(labels: np.ndarray, lesion: np.ndarray) -> np.ndarray:
    """Lesion voxels within the one-voxel dilation of each component, (n + 1,).

    A lesion voxel between two components counts for both, so the label map itself cannot be dilated. Pairs of component
    and lesion voxel are listed instead, from the few labelled voxels outwards, each pair counted once.
    """
    n = int(labels.max(initial=0))
    padded = np.pad(np.asarray(lesion) > 0, 1).ravel()
    shape = tuple(size + 2 for size in labels.shape)
    voxels = np.argwhere(labels > 0)
    # the voxel (0, 0, 0) is (1, 1, 1) of the padded grid: offsets 0, 1, 2 are the neighbourhood from -1 to +1
    offsets = np.stack(np.meshgrid(*[range(3)] * 3, indexing="ij"), axis=-1).reshape(27, 3)
    neighbours = np.ravel_multi_index(tuple((voxels[:, None] + offsets).reshape(-1, 3).T), shape)
    component = np.repeat(labels[tuple(voxels.T)], 27).astype(np.int64)
    met = padded[neighbours]
    pairs = np.unique(neighbours[met] * (n + 1) + component[met])
    return np.bincount(pairs % (n + 1), minlength=n + 1)
