# SPDX-License-Identifier: Apache-2.0
"""Real scans that registration cases are made from, each with the region whose alignment is judged."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import SimpleITK as sitk

__all__ = ["SOURCES", "Source", "brain_of_head", "load_source"]

LONGITUDINAL, CROSS_SECTIONAL, BACKGROUNDS = "ljubljana_longitudinal", "ljubljana_cross_sectional", "backgrounds"

SOURCES = {
    "tune": {
        "same": (
            f"{LONGITUDINAL}/patient01/study1_FLAIR.nii.gz",
            f"{LONGITUDINAL}/patient01/study2_FLAIR.nii.gz",
            f"{LONGITUDINAL}/patient09/study2_FLAIR.nii.gz",
            f"{CROSS_SECTIONAL}/patient07",
            f"{BACKGROUNDS}/flair_3d_stroke_brain_only.nii.gz",
            f"{BACKGROUNDS}/t2_whole_head_stroke.nii.gz",
        ),
        "contrasts": (f"{CROSS_SECTIONAL}/patient07",),
        "ct": ("ct_lung_pair/3DCT_lung_baseline.mha",),
    },
    "report": {
        "same": (
            f"{LONGITUDINAL}/patient04/study1_FLAIR.nii.gz",
            f"{LONGITUDINAL}/patient19/study1_FLAIR.nii.gz",
            f"{LONGITUDINAL}/patient19/study2_FLAIR.nii.gz",
            f"{LONGITUDINAL}/patient20/study2_FLAIR.nii.gz",
            f"{CROSS_SECTIONAL}/patient19",
            f"{BACKGROUNDS}/flair_3d_whole_head.nii.gz",
            f"{BACKGROUNDS}/t1_brain_only.nii.gz",
            f"{BACKGROUNDS}/t2_stroke.nii.gz",
        ),
        "contrasts": (f"{CROSS_SECTIONAL}/patient19", f"{CROSS_SECTIONAL}/patient26"),
        "ct": ("ct_lung_pair/3DCT_lung_followup.mha",),
    },
}
"""Split, kind of case, and scans (a folder: several contrasts in one space). No patient's head is in both splits."""

WITH_FACE = ("whole_head",)
"""Of these scans a face can be removed; the others have none any more."""
AIR_HU = -1024.0


@dataclass(frozen=True)
class Source:
    """One head (or chest) as scanned.

    Attributes:
        name: of the file or folder.
        images: contrast to image, all on one grid; air is `air`.
        brain: on that grid, 1 in the brain (of a chest: in the body).
        air: value outside of the field of view.
        has_face: so that it can be removed.
        is_stripped: air and skull are exactly 0.
    """

    name: str
    images: dict[str, sitk.Image]
    brain: sitk.Image
    air: float = 0.0
    has_face: bool = False
    is_stripped: bool = False


@lru_cache(maxsize=8)
def load_source(root: Path, name: str) -> Source:
    """Read a scan that `SOURCES` names, below the folder of real scans, and find its brain."""
    path = root / name
    if path.is_dir():
        images = {c: sitk.ReadImage(str(path / f"{c}.nii.gz"), sitk.sitkFloat32) for c in ("FLAIR", "T1W", "T2W")}
        return Source(name, images, _not_zero(images["FLAIR"]), is_stripped=True)
    image = sitk.ReadImage(str(path), sitk.sitkFloat32)
    if path.suffix == ".mha":
        image = sitk.Clamp(image, lowerBound=AIR_HU)
        body = sitk.BinaryFillhole(_largest(sitk.BinaryMorphologicalClosing(image > -300, [3, 3, 3])))
        return Source(name, {"CT": image}, body, air=AIR_HU)
    contrast = next(c for c in ("FLAIR", "T1", "T2") if c.lower() in path.name.lower())
    if LONGITUDINAL in name:
        mask = sitk.ReadImage(str(path.parent / "brainmask.nii.gz"), sitk.sitkUInt8)
        common_to_scan = sitk.ReadTransform(str(path).replace(".nii.gz", "_to_common_space.txt"))
        brain = sitk.Resample(mask, image, common_to_scan.GetInverse(), sitk.sitkNearestNeighbor, 0)
        return Source(name, {contrast: image}, brain > 0)
    if any(word in name for word in WITH_FACE):
        return Source(name, {contrast: image}, brain_of_head(image), has_face=True)
    return Source(name, {contrast: image}, _not_zero(image), is_stripped=True)


def brain_of_head(image: sitk.Image) -> sitk.Image:
    """Roughly the brain of a whole head: what lies 15 mm under the skin and at most 130 mm below the crown.

    Good enough to say where an alignment is judged.
    """
    head = sitk.BinaryFillhole(_largest(sitk.BinaryMorphologicalClosing(sitk.OtsuThreshold(image, 0, 1), [3, 3, 3])))
    deep = sitk.SignedMaurerDistanceMap(head, insideIsPositive=True, squaredDistance=False, useImageSpacing=True) > 15
    height = sitk.VectorIndexSelectionCast(sitk.PhysicalPointSource(sitk.sitkVectorFloat32, *_grid(image)), 2)
    statistics = sitk.LabelIntensityStatisticsImageFilter()
    statistics.Execute(head, height)
    return _largest(deep * (height > statistics.GetMaximum(1) - 130))


def _not_zero(image: sitk.Image) -> sitk.Image:
    top = sitk.GetArrayViewFromImage(image).max()
    return sitk.BinaryFillhole(_largest(sitk.BinaryMorphologicalClosing(image > 0.02 * float(top), [2, 2, 2])))


def _largest(mask: sitk.Image) -> sitk.Image:
    return sitk.RelabelComponent(sitk.ConnectedComponent(mask), sortByObjectSize=True) == 1


def _grid(image: sitk.Image) -> tuple:
    return image.GetSize(), image.GetOrigin(), image.GetSpacing(), image.GetDirection()
