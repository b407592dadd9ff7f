# SPDX-License-Identifier: Apache-2.0
"""Maps of a result at the voxels of a label, where they are scored."""

import numpy as np
import SimpleITK as sitk
from monai.data import MetaTensor

from monai_microchange._frames import array_from_image, image_from_array, transform_from_matrix
from monai_microchange.data.volume import read_volume
from monai_microchange.result import ChangeResult

__all__ = ["change_on_label", "confidence_on_label", "ignored_on_label"]


def change_on_label(result: ChangeResult, label: MetaTensor, label_to_baseline: np.ndarray) -> np.ndarray:
    """The change map of a result at the voxels of a label.

    Args:
        result: its `change` in mid-space is taken, once, with nearest neighbour.
        label: (1, I, J, K) with its affine to RAS mm.
        label_to_baseline: (4, 4), points of the label to points of the baseline scan, RAS mm.

    Returns:
        `ChangeType` labels (I, J, K), 0 where nothing changed or mid-space does not reach.
    """
    return _on_label(result.change, label, _label_to_mid(result, label_to_baseline))


def confidence_on_label(result: ChangeResult, label: MetaTensor, label_to_baseline: np.ndarray) -> np.ndarray:
    """The confidence of the lesion in each voxel of a label, (I, J, K) float; 0 outside lesions.

    Arguments are those of `change_on_label`. Stable lesions have one too: a map of change says what of it to look at.
    """
    ids = _on_label(result.lesion_ids, label, _label_to_mid(result, label_to_baseline))
    confidence = np.zeros(max((lesion.id for lesion in result.lesions), default=0) + 1)
    for lesion in result.lesions:
        confidence[lesion.id] = lesion.confidence
    return confidence[ids]


def ignored_on_label(path: object, label: MetaTensor) -> np.ndarray:
    """Where nobody judged, at the voxels of a label, bool (I, J, K).

    Args:
        path: mask file in the label's space, on any grid; above 0.5 is ignored.
        label: (1, I, J, K) with its affine to RAS mm.
    """
    mask = read_volume(path, allow_constant=True)  # type: ignore[arg-type]
    unjudged = MetaTensor((mask.as_tensor() > 0.5).to(label.dtype), affine=mask.affine)
    return _on_label(unjudged, label, np.eye(4)) > 0


def _label_to_mid(result: ChangeResult, label_to_baseline: np.ndarray) -> np.ndarray:
    return np.linalg.inv(result.space.mid_to("baseline")) @ label_to_baseline


def _on_label(image: MetaTensor, label: MetaTensor, label_to_image: np.ndarray) -> np.ndarray:
    """An image (1, *spatial) at the voxels of a label, nearest neighbour, 0 outside it."""
    moving = image_from_array(np.asarray(image.as_tensor()[0]), image.affine.numpy())
    grid = image_from_array(np.zeros(tuple(label.shape[1:]), dtype=np.uint8), label.affine.numpy())
    moved = sitk.Resample(moving, grid, transform_from_matrix(label_to_image), sitk.sitkNearestNeighbor, 0)
    return array_from_image(moved)
