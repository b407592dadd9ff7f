# SPDX-License-Identifier: Apache-2.0
"""How a visit was scanned, as far as its header and its grid say."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from monai_microchange._frames import spacing_from_affine
from monai_microchange.data import Visit

__all__ = ["NUMBERS", "Acquisition"]

NUMBERS = (
    "echo_time_ms",
    "repetition_time_ms",
    "inversion_time_ms",
    "flip_angle_deg",
    "field_strength_t",
    "slice_thickness_mm",
)
"""What is recorded of a protocol beside `acquisition_type`: numbers only, no text that a file brings along."""

SLICE_RATIO = 1.5
"""A voxel edge so much longer than the shortest one lies across slices."""


@dataclass(frozen=True)
class Acquisition:
    """One visit's acquisition.

    Attributes:
        voxel_edges_mm: (3, 3), a row for each edge of a voxel: its direction in mid-space (RAS) times its length.
        protocol: what the header says, by the names of `Visit.protocol`; empty where it says nothing.

    Example:
        >>> thick = Acquisition(np.diag([0.7, 0.7, 4.0]), {"echo_time_ms": 90.0})
        >>> thick.slice_mm, thick.in_plane_mm, thick.slice_axis.tolist()
        (4.0, 0.7, [0.0, 0.0, 1.0])
    """

    voxel_edges_mm: np.ndarray
    protocol: Mapping[str, float | str] = field(default_factory=dict)

    @classmethod
    def of(cls, visit: Visit, mid_to_visit: np.ndarray | None = None) -> "Acquisition":
        """Of a visit that lies so in mid-space: (4, 4), points of mid-space to points of the visit, RAS mm."""
        edges = visit.affine[:3, :3]
        if mid_to_visit is not None:
            edges = np.linalg.inv(mid_to_visit)[:3, :3] @ edges
        return cls(edges.T, dict(visit.protocol))

    @property
    def spacing_mm(self) -> np.ndarray:
        """Length of each edge (3,)."""
        return spacing_from_affine(self.voxel_edges_mm.T)

    @property
    def slice_mm(self) -> float:
        """Longest edge: the distance between slices."""
        return float(self.spacing_mm.max())

    @property
    def in_plane_mm(self) -> float:
        """Shortest edge."""
        return float(self.spacing_mm.min())

    @property
    def slice_axis(self) -> np.ndarray | None:
        """Direction across the slices (3,), RAS; None if voxels are about as long as wide."""
        if self.slice_mm < SLICE_RATIO * self.in_plane_mm:
            return None
        longest = int(self.spacing_mm.argmax())
        return self.voxel_edges_mm[longest] / self.slice_mm

    def number(self, name: str) -> float | None:
        """A number of the protocol, None where it is not stated or not above 0."""
        value = self.protocol.get(name)
        return float(value) if isinstance(value, int | float) and value > 0 else None

    def resolution_mm(self, affine: np.ndarray) -> np.ndarray:
        """Extent of a voxel along each axis (3,) of a grid in mid-space, by its affine (4, 4)."""
        axes = affine[:3, :3] / spacing_from_affine(affine)
        return np.abs(self.voxel_edges_mm @ axes).max(axis=0)

    def record(self) -> dict[str, float | str | list[float]]:
        """Numbers for `result.json`."""
        numbers = {name: value for name in NUMBERS if (value := self.number(name)) is not None}
        kind = self.protocol.get("acquisition_type")
        known = {"acquisition_type": str(kind)} if kind in ("2D", "3D") else {}
        return {"voxel_mm": [round(float(edge), 3) for edge in self.spacing_mm], **known, **numbers}
