# SPDX-License-Identifier: Apache-2.0
"""What every engine registers: a scan on an isotropic grid, and the region of it that counts."""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from monai.data import MetaTensor
from scipy.interpolate import CubicSpline

from monai_microchange._frames import image_from_array

__all__ = ["PreparedScan", "prepare_scan"]

SPACING_MM = 1.0
"""Voxel size at which scans are registered."""
MARGIN_MM = 6.0
"""How much is kept around the region."""
EDGE_MM = 6.0
"""How far from the edge of the region the last alignment stays away.

Where the edge lies depends on slice thickness and contrast: bright skin that fills a part of a thick slice looks like a
whole one. On slices of 6 mm the edge shifts the alignment by half a millimetre along the slices' axis.
"""
LEAST_INNER = 0.3
"""A region of which less would be left keeps its edge."""
THICK_MM = 1.5
"""Thicker slices are first made thin by cubic splines: linear interpolation blurs between slices, not on them."""


@dataclass(frozen=True)
class PreparedScan:
    """One visit, ready to be registered.

    Attributes:
        image: isotropic, cropped to the region; grey values from 0 to 1 (the region's 0.5th and 99.5th percentile).
        region: on the same grid, 1 where the alignment is judged.
        inner: the region without its edge, where the alignment is made.
        centre: of the region (3,), LPS mm.
        whole: grid of the whole scan; its extent is the field of view.
    """

    image: sitk.Image
    region: sitk.Image
    inner: sitk.Image
    centre: np.ndarray
    whole: sitk.Image


def prepare_scan(scan: MetaTensor, mask: MetaTensor | None) -> PreparedScan:
    """Isotropic grid, cropped to the mask's box (else to the head, told from air by Otsu's threshold).

    Args:
        scan: (1, I, J, K) with its affine to RAS mm.
        mask: (1, i, j, k), on a grid of its own; widened by 4 mm, so that the brain's edge counts.

    Raises:
        ValueError: if there is no foreground, or the shape is another.
    """
    image = _to_image(scan, np.float32)
    if mask is None:
        region = _head(image)
    else:
        region = _to_image(mask, np.uint8) > 0
        region = sitk.BinaryDilate(region, [max(1, round(4 / s)) for s in region.GetSpacing()])
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(region)
    if not shape.HasLabel(1):
        raise ValueError("a scan has no foreground to align: it is empty, or its mask is")
    grid = _isotropic_box(region, shape.GetBoundingBox(1))
    # beyond the field of view the outermost values go on, so that its edge is no edge in the image
    moved = sitk.Resample(_thin(image), grid, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32, True)
    inside = sitk.Resample(region, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)
    everywhere = sitk.Image(image.GetSize(), sitk.sitkUInt8) + 1
    everywhere.CopyInformation(image)
    inside *= sitk.Resample(everywhere, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)
    values = sitk.GetArrayViewFromImage(moved)[sitk.GetArrayViewFromImage(inside) > 0]
    if values.size == 0:
        raise ValueError("a scan has no foreground to align: its mask lies outside of it")
    low, top = np.percentile(values, [0.5, 99.5])
    scaled = sitk.Clamp((moved - float(low)) / max(float(top - low), 1e-6), sitk.sitkFloat32, 0.0, 1.0)
    return PreparedScan(scaled, inside, _without_edge(inside), np.asarray(shape.GetCentroid(1)), image)


def _to_image(scan: MetaTensor, dtype: type) -> sitk.Image:
    if scan.ndim != 4 or scan.shape[0] != 1:
        raise ValueError(f"expected a scan or mask of shape (1, I, J, K), got {tuple(scan.shape)}")
    return image_from_array(np.asarray(scan.as_tensor())[0].astype(dtype), np.asarray(scan.affine))


def _head(image: sitk.Image) -> sitk.Image:
    """The largest thing that is not air, without holes, and its edge; found on voxels of about 2 mm, to be quick."""
    coarse = sitk.BinShrink(image, [max(1, int(2 / s)) for s in image.GetSpacing()])
    reach = [max(1, round(3 / s)) for s in coarse.GetSpacing()]
    solid = sitk.BinaryMorphologicalClosing(sitk.OtsuThreshold(coarse, 0, 1), reach)
    pieces = sitk.RelabelComponent(sitk.ConnectedComponent(solid), sortByObjectSize=True)
    return sitk.BinaryDilate(sitk.BinaryFillhole(pieces == 1), reach)


def _thin(image: sitk.Image) -> sitk.Image:
    """On slices of 1 mm or less where they are thick, along any axis."""
    for axis, spacing in enumerate(image.GetSpacing()):
        count = image.GetSize()[axis]
        if spacing <= THICK_MM or count < 2:
            continue
        factor = int(np.ceil(spacing))
        at = np.clip((np.arange(count * factor) + 0.5) / factor - 0.5, 0, count - 1)
        spline = CubicSpline(np.arange(count), np.eye(count))(at).astype(np.float32)
        values = np.moveaxis(np.tensordot(spline, sitk.GetArrayViewFromImage(image), (1, 2 - axis)), 0, 2 - axis)
        thin = sitk.GetImageFromArray(np.ascontiguousarray(values))
        thin.SetSpacing([s / factor if n == axis else s for n, s in enumerate(image.GetSpacing())])
        thin.SetDirection(image.GetDirection())
        first = [0.5 / factor - 0.5 if n == axis else 0.0 for n in range(3)]
        thin.SetOrigin(image.TransformContinuousIndexToPhysicalPoint(first))
        image = thin
    return image


def _without_edge(region: sitk.Image) -> sitk.Image:
    inner = sitk.GrayscaleErode(region, [round(EDGE_MM / SPACING_MM)] * 3, sitk.sitkBox)
    left, all_of_it = (np.count_nonzero(sitk.GetArrayViewFromImage(part)) for part in (inner, region))
    return inner if left >= LEAST_INNER * all_of_it else region


def _isotropic_box(region: sitk.Image, box: tuple[int, ...]) -> sitk.Image:
    """Empty isotropic grid over a box of voxels (start and size, i j k) of a region, with a margin."""
    spacing = np.asarray(region.GetSpacing())
    start = np.asarray(box[:3]) - 0.5 - MARGIN_MM / spacing
    size = np.ceil((np.asarray(box[3:]) * spacing + 2 * MARGIN_MM) / SPACING_MM).astype(int)
    direction = np.asarray(region.GetDirection()).reshape(3, 3)
    corner = np.asarray(region.GetOrigin()) + direction @ (start * spacing)
    grid = sitk.Image([int(n) for n in size], sitk.sitkUInt8)
    grid.SetSpacing([SPACING_MM] * 3)
    grid.SetDirection(region.GetDirection())
    grid.SetOrigin((corner + direction @ np.full(3, SPACING_MM / 2)).tolist())
    return grid
