# SPDX-License-Identifier: Apache-2.0
"""A scan that can be sampled at any points of the world, in poses as many as one likes, with gradients."""

import numpy as np
import SimpleITK as sitk
import torch
from torch.nn import functional

from monai_microchange._frames import LPS_FROM_RAS, affine_from_image, array_from_image
from monai_microchange.transforms.registration.prepare import PreparedScan

__all__ = ["Volume"]


class Volume:
    """Grey values and region of a scan on an isotropic grid.

    Args:
        channels: (2, I, J, K), grey values from 0 to 1 and the region.
        affine: (4, 4), voxel to RAS mm.
        centre: of the region (3,), RAS mm.
        field: affine and shape of the whole scan, which the grid shows a part of.
    """

    def __init__(
        self,
        channels: torch.Tensor,
        affine: np.ndarray,
        centre: np.ndarray,
        field: tuple[np.ndarray, tuple[int, ...]],
    ):
        self.channels = channels
        self.affine = affine
        self.centre = centre
        self.field = field
        # grid_sample's cube goes from -1 to 1 between the centres of the outermost voxels
        to_cube = np.diag([2 / max(n - 1, 1) for n in channels.shape[1:]] + [1.0])
        to_cube[:3, 3] = -1
        self._world_to_cube = torch.from_numpy(to_cube @ np.linalg.inv(affine)).to(channels.device)
        self._world_to_field = torch.from_numpy(np.linalg.inv(field[0])).to(channels.device)

    @classmethod
    def of(cls, scan: PreparedScan, device: torch.device) -> "Volume":
        """The volume of a prepared scan."""
        channels = np.stack([array_from_image(scan.image), array_from_image(scan.region).astype(np.float32)])
        field = affine_from_image(scan.whole), scan.whole.GetSize()
        return cls(
            torch.from_numpy(channels).to(device),
            affine_from_image(scan.image),
            LPS_FROM_RAS[:3, :3] @ scan.centre,
            field,
        )

    def pooled(self, factor: int) -> "Volume":
        """Means over blocks of `factor` voxels along each axis."""
        if factor == 1:
            return self
        padding = [end for n in reversed(self.channels.shape[1:]) for end in (0, -n % factor)]
        coarse = functional.avg_pool3d(functional.pad(self.channels, padding)[None], factor)[0]
        block = np.diag([factor, factor, factor, 1.0])
        block[:3, 3] = (factor - 1) / 2
        return Volume(coarse, self.affine @ block, self.centre, self.field)

    def within(self, region: sitk.Image) -> "Volume":
        """With another region, on the same grid."""
        inside = torch.from_numpy(array_from_image(region).astype(np.float32)).to(self.channels.device)
        return Volume(torch.stack([self.channels[0], inside]), self.affine, self.centre, self.field)

    def mirrored(self) -> "Volume":
        """Left for right, about the middle of the region."""
        mirror = np.diag([-1.0, 1.0, 1.0, 1.0])
        mirror[0, 3] = 2 * self.centre[0]
        return Volume(self.channels, mirror @ self.affine, self.centre, (mirror @ self.field[0], self.field[1]))

    def masked(self) -> "Volume":
        """With nothing outside the region."""
        return Volume(self.channels * self.channels[1:], self.affine, self.centre, self.field)

    def sample(self, to_world: torch.Tensor, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Grey values and region, (K, N) each, at points (N, 3), or (K, N, 3), moved by each of (K, 4, 4)."""
        at = _moved(points, self._world_to_cube @ to_world).flip(-1)[:, :, None, None]
        stack = self.channels.expand(len(to_world), *self.channels.shape)
        values = functional.grid_sample(stack, at, align_corners=True)[..., 0, 0]
        return values[:, 0].clamp(0, 1), values[:, 1]

    def sees(self, to_world: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        """1 where points, moved alike, lie in the field of view, else 0: (K, N)."""
        at = _moved(points, self._world_to_field @ to_world.detach())
        size = torch.tensor(self.field[1], dtype=at.dtype, device=at.device)
        return ((at > -0.5) & (at < size - 0.5)).all(-1).to(at.dtype)

    @property
    def spacing_mm(self) -> float:
        """Voxel size, the same along each axis."""
        return float(np.linalg.norm(self.affine[:3, 0]))

    @property
    def region_mm3(self) -> float:
        """Volume of the region."""
        return float(self.channels[1].sum().double()) * self.spacing_mm**3

    @property
    def reach_mm(self) -> float:
        """Distance of the grid's farthest corner from the region's centre."""
        ends = np.stack(np.meshgrid(*[(0, n - 1) for n in self.channels.shape[1:]], indexing="ij"), -1).reshape(-1, 3)
        corners = ends @ self.affine[:3, :3].T + self.affine[:3, 3]
        return float(np.linalg.norm(corners - self.centre, axis=1).max())


def _moved(points: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Points (N, 3) by each of (K, 4, 4): (K, N, 3), in the points' precision."""
    matrix = matrix.to(points.dtype)
    return points @ matrix[:, :3, :3].transpose(1, 2) + matrix[:, None, :3, 3]
