# SPDX-License-Identifier: Apache-2.0
"""Lesions as smooth forms: signed distance fields that turn, scale, grow and cover voxels in part."""

import numpy as np
from scipy import ndimage as ndi
from scipy.optimize import brentq
from scipy.spatial.transform import Rotation

__all__ = ["direction_step", "occupancy", "pose_form", "random_rotation", "signed_distance", "solve_level"]

SMOOTHING_MM = 0.6
"""Sigma that rounds off the voxels of a drawn shape."""


def signed_distance(shape: np.ndarray, *, margin: int = 0) -> np.ndarray:
    """Distance of every voxel centre from the surface of a shape, negative inside.

    Args:
        shape: (i, j, k), bool.
        margin: voxels that are added on all sides.

    Returns:
        (i + 2 * margin, j + 2 * margin, k + 2 * margin), float32, in voxels. The surface runs half-way between the
        centres of inner and outer voxels.

    Raises:
        ValueError: if the shape is empty.

    Example:
        >>> signed_distance(np.ones((1, 1, 2), bool), margin=1)[1, 1].tolist()
        [0.5, -0.5, -0.5, 0.5]
    """
    if not shape.any():
        raise ValueError("expected a shape of at least one voxel, got an empty one")
    # one voxel more, so that a shape without margin knows its outside too
    wide = np.pad(shape, margin + 1)
    outside, inside = ndi.distance_transform_edt(~wide), ndi.distance_transform_edt(wide)
    distance = np.where(wide, 0.5 - inside, outside - 0.5).astype(np.float32)
    return distance[1:-1, 1:-1, 1:-1]


def pose_form(
    shape: np.ndarray,
    rotation: np.ndarray,
    *,
    scale: float = 1.0,
    shift_mm: np.ndarray | tuple[float, float, float] = (0.0, 0.0, 0.0),
    margin_mm: float = 4.0,
) -> np.ndarray:
    """Signed distance field of a shape that is turned, scaled and shifted by less than a voxel.

    Args:
        shape: (i, j, k), bool, 1 mm voxels.
        rotation: (3, 3), orthogonal.
        scale: how many times wider the form is than the shape.
        shift_mm: of the form's middle from the middle of the box, (3,).
        margin_mm: space around the form that the box holds at least.

    Returns:
        (i', j', k'), float32, mm; the box is odd along all axes, so that it has a middle voxel.

    Example:
        >>> form = pose_form(np.ones((3, 3, 3), bool), np.eye(3), scale=2.0, margin_mm=2.0)
        >>> form.shape, bool(form[5, 5, 5] < 0 < form[0, 5, 5])
        ((11, 11, 11), True)
    """
    source = signed_distance(shape, margin=int(np.ceil(margin_mm / scale)) + 2)
    source = ndi.gaussian_filter(source, SMOOTHING_MM)
    half = np.abs(rotation) @ np.asarray(shape.shape) * scale / 2 + margin_mm
    box = 2 * np.ceil(half).astype(int) + 1
    # from a voxel of the box to one of the source: the form's inverse pose
    matrix = rotation.T / scale
    offset = (np.asarray(source.shape) - 1) / 2 - matrix @ ((box - 1) / 2 + np.asarray(shift_mm))
    posed = ndi.affine_transform(source, matrix, offset, tuple(box), order=1, mode="nearest")
    return posed * np.float32(scale)


def occupancy(distance: np.ndarray, *, edge_mm: float = 1.0) -> np.ndarray:
    """Share of each voxel that a form covers: a ramp across its surface.

    A ramp of one voxel is partial volume alone; a wider one is a lesion without a sharp border.

    Args:
        distance: signed distance, mm.
        edge_mm: width of the ramp.

    Example:
        >>> occupancy(np.array([-2.0, -0.25, 0.0, 0.5])).tolist()
        [1.0, 0.75, 0.5, 0.0]
    """
    return np.clip(0.5 - distance / edge_mm, 0.0, 1.0)


def direction_step(shape: tuple[int, ...], direction: np.ndarray) -> np.ndarray:
    """How far the surface moves per mm of growth: farther on the side that `direction` points to.

    Args:
        shape: of the box (3,).
        direction: (3,); its length, from 0 (even growth) to below 1, is how uneven growth is.

    Returns:
        (i, j, k), from 1 - |direction| to 1 + |direction|; 1 in the middle.

    Raises:
        ValueError: if the direction is longer than 1: part of the surface would move the other way.

    Example:
        >>> direction_step((5, 1, 1), np.array([0.5, 0.0, 0.0])).ravel().tolist()
        [0.5, 0.75, 1.0, 1.25, 1.5]
    """
    length = float(np.linalg.norm(direction))
    if length >= 1:
        raise ValueError(f"expected a direction shorter than 1, got one of length {length:.2f}")
    place = np.indices(shape, dtype=np.float32, sparse=True)
    along: np.ndarray = np.zeros(shape, dtype=np.float32)
    for axis, component in enumerate(direction):
        half = (shape[axis] - 1) / 2
        along = along + np.float32(component) * (place[axis] - half) / max(half, 1)
    return 1 + np.clip(along, -length, length)


def solve_level(
    distance: np.ndarray, volume_mm3: float, *, step: np.ndarray | float = 1.0, edge_mm: float = 1.0
) -> float:
    """How far the surface must move outwards, in mm, for the form to have a volume.

    The form is then `distance - level * step`.

    Args:
        distance: signed distance (i, j, k), mm, 1 mm voxels.
        volume_mm3: wanted, above 0.
        step: share of the level that the surface moves by, voxel by voxel; above 0.
        edge_mm: width of the ramp that counts as covered in part.

    Returns:
        The level: negative where the form has to shrink.

    Raises:
        ValueError: if the volume is not above 0, or larger than the box.

    Example:
        >>> place = np.indices((21, 21, 21)) - 10
        >>> ball = np.sqrt((place**2).sum(axis=0)) - 5
        >>> round(solve_level(ball, 4 / 3 * np.pi * 6**3), 1)
        1.0
    """
    if not 0 < volume_mm3 < distance.size:
        raise ValueError(f"expected a volume above 0 and below the {distance.size} mm3 of the box, got {volume_mm3}")

    def excess(level: float) -> float:
        return float(occupancy(distance - level * step, edge_mm=edge_mm).sum()) - volume_mm3

    # bounds beyond which all or nothing is covered
    reach = (float(np.abs(distance).max()) + edge_mm) / float(np.min(step))
    return float(brentq(excess, -reach, reach, xtol=1e-3))


def random_rotation(random: np.random.RandomState) -> np.ndarray:
    """A rotation (3, 3), all orientations alike."""
    return Rotation.from_quat(random.standard_normal(4)).as_matrix()
