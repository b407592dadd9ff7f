# SPDX-License-Identifier: Apache-2.0
"""Write the change map as a 3D Slicer segmentation, and the colours of change that all pictures share."""

from pathlib import Path

import numpy as np
import slicerio

from monai_microchange._frames import LPS_FROM_RAS
from monai_microchange.enums import ChangeType

__all__ = ["COLOURS", "write_seg_nrrd"]

COLOURS: dict[ChangeType, tuple[int, int, int]] = {
    ChangeType.NEW: (213, 94, 0),
    ChangeType.ENLARGING: (230, 159, 0),
    ChangeType.SHRINKING: (86, 180, 233),
    ChangeType.RESOLVED: (0, 114, 178),
}
"""Red, green, blue (0 to 255) of each change: gain warm, loss cool, told apart by colour-blind readers.

The colours are vermilion, orange, sky blue and blue of Okabe and Ito, "Color Universal Design" (2008).
"""

_SNOMED = "SCT"
_TERMINOLOGY_CONTEXT = "Segmentation category and type - DICOM master list"
_ANATOMIC_CONTEXT = "Anatomic codes - DICOM master list"
_CATEGORY = [_SNOMED, "49755003", "Morphologically Altered Structure"]
_LESION = [_SNOMED, "52988006", "Lesion"]
_BRAIN = [_SNOMED, "12738006", "Brain"]
_MODIFIERS = {
    ChangeType.NEW: [_SNOMED, "7147002", "New"],
    ChangeType.ENLARGING: [_SNOMED, "260369004", "Increasing"],
    ChangeType.SHRINKING: [_SNOMED, "260371004", "Decreasing"],
    ChangeType.RESOLVED: [_SNOMED, "723506003", "Resolved"],
}


def write_seg_nrrd(path: Path | str, change: np.ndarray, affine: np.ndarray) -> None:
    """Write four segments, New, Enlarging, Shrinking and Resolved, each there even if empty.

    The voxels of the file are those of the change map, unchanged. Each segment is coded in SNOMED CT as a lesion of the
    brain, with the kind of change as modifier.

    Args:
        path: file to write, ending in `.seg.nrrd`, by which Slicer knows it for a segmentation.
        change: change map (I, J, K), 0 or a `ChangeType`.
        affine: (4, 4), voxel to RAS mm.

    Raises:
        ValueError: if the map is not 3D or holds other values, or the name ends otherwise.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_seg_nrrd(f"{folder}/a.seg.nrrd", np.zeros((2, 3, 4), np.uint8), np.eye(4))
        ...     [segment["name"] for segment in slicerio.read_segmentation(f"{folder}/a.seg.nrrd")["segments"]]
        ['New', 'Enlarging', 'Shrinking', 'Resolved']
    """
    change = np.asarray(change)
    if change.ndim != 3 or not np.isin(change, [0, *ChangeType]).all():
        raise ValueError(f"expected a 3D change map of values 0 to 4, got shape {change.shape}, up to {change.max()}")
    if not str(path).endswith(".seg.nrrd"):
        raise ValueError(f"expected a file name that ends in .seg.nrrd, got {path}")
    segmentation = slicerio.create_segmentation(change.shape, LPS_FROM_RAS @ np.asarray(affine, dtype=float))
    # in this order slicerio gives the label values 1 to 4, those of ChangeType
    for kind in ChangeType:
        slicerio.add_segment(segmentation, change == kind, _segment(kind))
    slicerio.write_segmentation(str(path), segmentation)


def _segment(kind: ChangeType) -> dict:
    """Name, colour and code of one kind of change, as slicerio has them."""
    return {
        "id": kind.name.lower(),
        "name": kind.name.capitalize(),
        "color": [value / 255 for value in COLOURS[kind]],
        "terminology": {
            "contextName": _TERMINOLOGY_CONTEXT,
            "category": _CATEGORY,
            "type": _LESION,
            "typeModifier": _MODIFIERS[kind],
            "anatomicContextName": _ANATOMIC_CONTEXT,
            "anatomicRegion": _BRAIN,
        },
    }
