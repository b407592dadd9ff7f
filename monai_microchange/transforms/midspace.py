# SPDX-License-Identifier: Apache-2.0
"""The space half-way between two visits."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import sqrtm
from scipy.spatial.transform import Rotation

from monai_microchange._frames import LPS_FROM_RAS, apply_affine, corners_mm
from monai_microchange.transforms.displacement import WarpField

__all__ = ["MidSpace", "common_grid", "half_linear", "half_rigid", "mean_linear", "mean_rigid", "mid_space"]


@dataclass(frozen=True)
class MidSpace:
    """Grid half-way between two visits, and how it maps to each.

    A point of mid-space goes first through the visit's warp, if there is one, then through its linear transform.

    Attributes:
        affine: (4, 4), voxel to RAS mm of mid-space; axes along LPS.
        shape: voxels along each axis (3,).
        mid_to_baseline: (4, 4), points of mid-space to points of the baseline, RAS mm.
        mid_to_followup: (4, 4), points of mid-space to points of the follow-up, RAS mm.
        baseline_warp: displacement of mid-space before `mid_to_baseline`; None if the alignment is linear.
        followup_warp: the same of the follow-up. Each warp is the other's inverse.
    """

    affine: np.ndarray
    shape: tuple[int, int, int]
    mid_to_baseline: np.ndarray
    mid_to_followup: np.ndarray
    baseline_warp: WarpField | None = None
    followup_warp: WarpField | None = None

    def __post_init__(self) -> None:
        """Refuse one warp without the other."""
        if (self.baseline_warp is None) != (self.followup_warp is None):
            raise ValueError("expected a warp for both visits, each the other's inverse, or for none; got one")

    def mid_to(self, visit: str) -> np.ndarray:
        """The linear transform from mid-space to a visit, by its name."""
        return {"baseline": self.mid_to_baseline, "followup": self.mid_to_followup}[visit]

    def warp(self, visit: str) -> WarpField | None:
        """The warp that comes before the linear transform to a visit, if there is one."""
        return {"baseline": self.baseline_warp, "followup": self.followup_warp}[visit]

    def inverse_warp(self, visit: str) -> WarpField | None:
        """The warp that comes after the linear transform from a visit, if there is one."""
        return {"baseline": self.followup_warp, "followup": self.baseline_warp}[visit]

    def to_visit(self, visit: str, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) of mid-space as points of a visit, RAS mm.

        Example:
            >>> step = np.eye(4); step[0, 3] = 4.0
            >>> space = MidSpace(np.eye(4), (8, 8, 8), np.linalg.inv(step), step)
            >>> space.to_visit("followup", np.array([1.0, 2.0, 3.0])).tolist()
            [5.0, 2.0, 3.0]
        """
        warp = self.warp(visit)
        return apply_affine(self.mid_to(visit), points if warp is None else warp.moved(points))

    def from_visit(self, visit: str, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) of a visit as points of mid-space, RAS mm."""
        linear = apply_affine(np.linalg.inv(self.mid_to(visit)), points)
        warp = self.inverse_warp(visit)
        return linear if warp is None else warp.moved(linear)

    def volume_ratio(self, visit: str) -> float | np.ndarray:
        """How many mm3 of a visit one mm3 of mid-space stands for: the determinant of the way from there to the visit.

        Returns:
            One number if the way is linear, exactly 1 if it is rigid; else one for each voxel (I, J, K).
        """
        linear = self.mid_to(visit)
        ratio = 1.0 if _is_rigid(linear) else abs(float(np.linalg.det(linear[:3, :3])))
        warp = self.warp(visit)
        if warp is None:
            return ratio
        return ratio * warp.determinant_on(self.affine, self.shape)

    def jacobian(self) -> np.ndarray:
        """Volume of the tissue of each voxel at follow-up over that at baseline (I, J, K), float32; below 1: it shrank.

        The ratio of both visits' `volume_ratio`, so a scale in the linear transform counts too. Exchanging the visits
        gives the reciprocal.
        """
        ratio = np.asarray(self.volume_ratio("followup")) / np.asarray(self.volume_ratio("baseline"))
        return np.broadcast_to(ratio, self.shape).astype(np.float32)


def half_rigid(a_to_b: np.ndarray) -> np.ndarray:
    """Rigid transform that, applied twice, gives `a_to_b`: its matrix square root.

    Args:
        a_to_b: (4, 4), rigid, turning by less than 180 degrees.

    Raises:
        ValueError: if the matrix is not rigid.

    Example:
        >>> step = np.eye(4); step[:3, 3] = [2.0, 0.0, -4.0]
        >>> half_rigid(step)[:3, 3].tolist()
        [1.0, 0.0, -2.0]
    """
    rotation = a_to_b[:3, :3]
    if not _is_rigid(a_to_b):
        raise ValueError(f"expected a rotation and a translation; got the matrix {a_to_b.round(4).tolist()}")
    half = np.eye(4)
    half[:3, :3] = Rotation.from_rotvec(0.5 * Rotation.from_matrix(rotation).as_rotvec()).as_matrix()
    # H(Hx + h) + h = Rx + t, so (H + 1) h = t
    half[:3, 3] = np.linalg.solve(half[:3, :3] + np.eye(3), a_to_b[:3, 3])
    return half


def half_linear(a_to_b: np.ndarray) -> np.ndarray:
    """Linear transform that, applied twice, gives `a_to_b`: its principal matrix square root.

    Half of the inverse is the inverse of the half. Rigid transforms give rigid halves (`half_rigid`).

    Args:
        a_to_b: (4, 4), turning by less than 180 degrees, not mirroring.

    Raises:
        ValueError: if there is no real square root.

    Example:
        >>> half_linear(np.diag([1.21, 1.0, 0.81, 1.0])).diagonal().round(6).tolist()
        [1.1, 1.0, 0.9, 1.0]
    """
    if _is_rigid(a_to_b):
        return half_rigid(a_to_b)
    eigenvalues = np.linalg.eigvals(a_to_b[:3, :3])
    if (np.isclose(eigenvalues.imag, 0) & (eigenvalues.real <= 0)).any():
        raise ValueError(
            "expected a linear transform that neither mirrors nor turns by 180 degrees; got the matrix "
            f"{a_to_b.round(4).tolist()}"
        )
    half = np.real(sqrtm(a_to_b))
    half[3] = 0, 0, 0, 1
    return half


def _is_rigid(matrix: np.ndarray) -> bool:
    rotation = matrix[:3, :3]
    return bool(np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-6) and np.linalg.det(rotation) > 0)


def mean_rigid(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Rigid transform half-way between two that are close to each other.

    Exactly symmetric: the mean of the inverses is the inverse of the mean.

    Example:
        >>> a, b = np.eye(4), np.eye(4); b[0, 3] = 1.0
        >>> float(mean_rigid(a, b)[0, 3])
        0.5
    """
    return one @ half_rigid(np.linalg.inv(one) @ other)


def mean_linear(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Linear transform half-way between two that are close to each other; as symmetric as `mean_rigid`."""
    return one @ half_linear(np.linalg.inv(one) @ other)


def mid_space(
    baseline_to_followup: np.ndarray,
    baseline_grid: tuple[np.ndarray, tuple[int, ...]],
    followup_grid: tuple[np.ndarray, tuple[int, ...]],
    *,
    spacing_mm: float = 1.0,
) -> MidSpace:
    """Unbiased half-way space of two scans: each is moved by half of the transform between them.

    The grid covers the intersection of both fields of view, as boxes along the axes of mid-space, and is centred on it.

    Args:
        baseline_to_followup: (4, 4), linear, points of the baseline to points of the follow-up, RAS mm.
        baseline_grid: affine (voxel to RAS mm) and spatial shape of the baseline.
        followup_grid: the same of the follow-up.
        spacing_mm: voxel size of mid-space.

    Raises:
        ValueError: if the fields of view do not meet.

    Source: Reuter et al., 2012, doi 10.1016/j.neuroimage.2012.02.084 (half-way space against bias).
    """
    half = half_linear(baseline_to_followup)
    mid_to = (np.linalg.inv(half), half)
    return MidSpace(*common_grid(mid_to, (baseline_grid, followup_grid), spacing_mm=spacing_mm), *mid_to)


def common_grid(
    mid_to_scans: Sequence[np.ndarray],
    grids: Sequence[tuple[np.ndarray, tuple[int, ...]]],
    *,
    spacing_mm: float = 1.0,
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Grid of a space that several scans share: the intersection of their fields of view, axes along LPS.

    The fields of view are boxes along the axes of that space, and the grid is centred on their intersection.

    Args:
        mid_to_scans: (4, 4) for each scan, points of the space to points of the scan, RAS mm.
        grids: affine (voxel to RAS mm) and spatial shape of each scan.
        spacing_mm: voxel size of the grid.

    Returns:
        Affine (4, 4), voxel to RAS mm, and shape.

    Raises:
        ValueError: if the fields of view do not meet.

    Example:
        >>> step = np.eye(4); step[0, 3] = 4.0
        >>> common_grid([np.eye(4), step], [(np.eye(4), (10, 8, 8)), (np.eye(4), (10, 8, 8))])[1]
        (6, 8, 8)
    """
    low, high = np.full(3, -np.inf), np.full(3, np.inf)
    for (affine, shape), mid_to_scan in zip(grids, mid_to_scans, strict=True):
        corners = apply_affine(LPS_FROM_RAS @ np.linalg.inv(mid_to_scan), corners_mm(affine, shape))
        low, high = np.maximum(low, corners.min(axis=0)), np.minimum(high, corners.max(axis=0))
    if (high <= low).any():
        raise ValueError("the fields of view do not meet after alignment")
    size = np.ceil(np.round((high - low) / spacing_mm, 6)).astype(int)
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = (low + high) / 2 - spacing_mm * (size - 1) / 2
    return LPS_FROM_RAS @ affine, (int(size[0]), int(size[1]), int(size[2]))
