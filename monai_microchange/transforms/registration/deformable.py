# SPDX-License-Identifier: Apache-2.0
"""Deformable registration of two visits that are aligned already: the smooth shift of tissue, without its lesions."""

from dataclasses import dataclass

import numpy as np
import torch
from monai.data import MetaTensor
from torch.nn import functional

from monai_microchange._frames import apply_affine, spacing_from_affine
from monai_microchange.transforms.displacement import WarpField
from monai_microchange.transforms.registration.local_likeness import LocalCorrelation, local_change_weight
from monai_microchange.transforms.registration.velocity import (
    VelocityLattice,
    displacement_of_velocity,
    grid_positions,
)

__all__ = ["DeformableRegistration", "register_deformable"]

KNOT_MM = 12.0
"""Distance of the splines: what the field shows is about 17 mm wide at least, and wider where bending costs more."""
BENDING = 120.0
"""Weight of the bending energy; at a third of it, large lesions of real pairs begin to pull."""
RIDGE = 1e-3
"""Weight of the mean square of the splines' heights, mm^2: what no tissue holds goes back to 0."""
NODE_MM = 3.0
"""Voxel size of the displacements that come out."""
CHEAP_DOUBLINGS = 5
"""Squarings while searching."""


@dataclass(frozen=True)
class DeformableLevel:
    """One step from coarse to fine.

    Attributes:
        step_mm: voxel size.
        window_mm: width of the Gaussian windows in which the scans are compared.
        iterations: at most so many, of the optimiser.
        cutoff: robust standard deviations beyond which a difference is change, and counts for nothing.
    """

    step_mm: float
    window_mm: float
    iterations: int
    cutoff: float


LEVELS = (DeformableLevel(6.0, 8.0, 25, 6.0), DeformableLevel(3.0, 5.0, 15, 4.0))


@dataclass(frozen=True, eq=False)
class DeformableRegistration:
    """How two aligned visits still move against each other.

    Attributes:
        baseline_warp: points of mid-space to where the baseline, aligned, shows them.
        followup_warp: the same of the follow-up; the inverse of `baseline_warp`.
        correlation_before: mean squared local correlation of what did not change, from 0 to 1, without the warps.
        correlation_after: with them.
    """

    baseline_warp: WarpField
    followup_warp: WarpField
    correlation_before: float
    correlation_after: float


def register_deformable(
    baseline: MetaTensor,
    followup: MetaTensor,
    region: MetaTensor,
    *,
    device: str | torch.device = "cpu",
) -> DeformableRegistration:
    """Smooth, invertible warps that take out atrophy and soft shifts of tissue between two aligned scans.

    One stationary velocity is sought; half a unit of time along it leads from mid-space to the baseline, and half a
    unit against it to the follow-up. So both warps are diffeomorphic, each is the inverse of the other, and exchanging
    the visits negates the velocity to the last bit. Lesions are not to be swallowed: the scans are compared by local
    correlation with weights that leave out what changed; and the velocity is made of splines 12 mm apart whose bending
    costs, which is too smooth to shrink or grow a lesion of a few mm. Beyond the region it fades to 0.

    Args:
        baseline: scan (1, I, J, K) in mid-space.
        followup: scan (1, I, J, K) on the same grid.
        region: (1, I, J, K) on the same grid, above 0 where the alignment is judged, such as the brain.
        device: of the computation; the result is the same but for rounding.

    Raises:
        ValueError: if the shapes differ, the region is empty, or a scan has one value in it.

    Example:
        >>> ball = torch.cartesian_prod(*[torch.arange(-20.0, 21.0)] * 3).norm(dim=1).view(1, 41, 41, 41)
        >>> scan = MetaTensor((ball < 12).float() + (ball < 6).float(), affine=torch.eye(4))
        >>> found = register_deformable(scan, scan, MetaTensor((ball < 14).float(), affine=torch.eye(4)))
        >>> float(np.abs(found.baseline_warp.vectors).max())
        0.0

    Source: Arsigny et al., 2006, doi 10.1007/11866565_113 (stationary velocities); Rueckert et al., 1999, doi
    10.1109/42.796284 (splines and their bending energy); Reuter et al., 2010, doi 10.1016/j.neuroimage.2010.07.020
    (weights against change; here by the mean residual about each voxel).
    """
    shapes = [tuple(image.shape) for image in (baseline, followup, region)]
    if len(set(shapes)) > 1 or len(shapes[0]) != 4:
        raise ValueError(f"expected two scans and a region of one shape (1, I, J, K), got {shapes}")
    pair = _Pair(baseline, followup, region, torch.device(device))
    lattice = VelocityLattice(pair.channels[2].cpu().numpy(), pair.spacing_mm.tolist(), KNOT_MM, pair.channels.device)
    numbers = torch.zeros(len(lattice), dtype=torch.float64, device=pair.channels.device)
    for level in LEVELS:
        search = _Search(pair, lattice, level, numbers)
        numbers = search.minimised(numbers)
    with torch.no_grad():
        before, after = (float(search.likeness(search.moved(at))) for at in (torch.zeros_like(numbers), numbers))
    return DeformableRegistration(*_warps(lattice, numbers, np.asarray(baseline.affine)), before, after)


class _Pair:
    """Both scans, from 0 to 1, and the region, as channels (3, I, J, K) on one grid."""

    def __init__(self, baseline: MetaTensor, followup: MetaTensor, region: MetaTensor, device: torch.device):
        inside = region.as_tensor().to(device)[0] > 0
        scans = [_scaled(scan.as_tensor().to(device)[0].float(), inside) for scan in (baseline, followup)]
        self.channels = torch.stack([*scans, inside.float()])
        self.spacing_mm = spacing_from_affine(np.asarray(baseline.affine))

    def pooled(self, step_mm: float) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
        """Means over blocks of at most two thirds of a step (3, 1, i, j, k), where they begin and how far apart, mm."""
        factor = [max(1, round(step_mm / 1.5 / spacing)) for spacing in self.spacing_mm]
        padding = [end for n, f in zip(self.channels.shape[:0:-1], factor[::-1], strict=True) for end in (0, -n % f)]
        whole = functional.pad(self.channels[:, None], padding, mode="replicate")
        begin = (np.asarray(factor) - 1) / 2 * self.spacing_mm
        return functional.avg_pool3d(whole, factor), begin, np.asarray(factor) * self.spacing_mm


def _scaled(scan: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    if not bool(inside.any()):
        raise ValueError("expected a region to deform, got an empty one")
    low, top = np.percentile(scan[inside].cpu().numpy(), [0.5, 99.5])
    if top <= low:
        raise ValueError("a scan has one value throughout the region: there is nothing to align")
    return ((scan - float(low)) / float(top - low)).clamp(0, 1)


class _Search:
    """The search for a velocity at one level."""

    def __init__(self, pair: _Pair, lattice: VelocityLattice, level: DeformableLevel, numbers: torch.Tensor):
        self.lattice, self.level = lattice, level
        axes = grid_positions(lattice.low - level.step_mm, lattice.high + level.step_mm, level.step_mm)
        self.bases = [lattice.basis(axis, at).float().to(numbers.device) for axis, at in enumerate(axes)]
        images, begin, apart = pair.pooled(level.step_mm)
        # grid_sample's cube goes from -1 to 1 between the centres of the outermost voxels
        per_mm = 2 / (np.maximum(np.asarray(images.shape[2:]) - 1, 1) * apart)
        lines = [torch.from_numpy((at - b) * p - 1) for at, b, p in zip(axes, begin, per_mm, strict=True)]
        rest = torch.stack(torch.meshgrid(*lines, indexing="ij")[::-1], -1)[None]
        self.rest = rest.float().to(numbers.device)
        self.to_cube = torch.from_numpy(per_mm[::-1].copy()).float().to(numbers.device)
        self.images = images[:2]
        inside = functional.grid_sample(images[2:], self.rest, align_corners=True)[0, 0]
        with torch.no_grad():
            kept = inside * local_change_weight(self.moved(numbers), inside, level.step_mm, level.cutoff)
        self.likeness = LocalCorrelation(kept, level.step_mm, level.window_mm)

    def moved(self, numbers: torch.Tensor) -> torch.Tensor:
        """Both scans (2, I, J, K), half-way along the velocity."""
        velocity = self.lattice.velocity(numbers, self.bases)
        # stacked, so that both visits go through the very same operations
        shift = displacement_of_velocity(_halves(velocity), self.level.step_mm, CHEAP_DOUBLINGS)
        at = self.rest + shift.movedim(1, -1).flip(-1) * self.to_cube
        return functional.grid_sample(self.images, at, padding_mode="border", align_corners=True)[:, 0]

    def minimised(self, start: torch.Tensor) -> torch.Tensor:
        """Better numbers."""
        free = start.clone().requires_grad_()
        search = torch.optim.LBFGS(
            [free],
            max_iter=self.level.iterations,
            history_size=10,
            line_search_fn="strong_wolfe",
            tolerance_grad=1e-12,
            tolerance_change=1e-13,
        )

        def cost() -> torch.Tensor:
            search.zero_grad()
            stiffness = BENDING * self.lattice.bending(free) + RIDGE * free.square().mean()
            value = stiffness - self.likeness(self.moved(free))
            value.backward()
            return value

        search.step(cost)  # type: ignore[arg-type]
        return free.detach()


def _halves(velocity: torch.Tensor) -> torch.Tensor:
    return torch.stack([0.5 * velocity, -0.5 * velocity])


def _warps(lattice: VelocityLattice, numbers: torch.Tensor, affine: np.ndarray) -> tuple[WarpField, WarpField]:
    """Displacements of baseline and follow-up, on a grid of their own that holds all that moves."""
    axes = grid_positions(*lattice.reach, NODE_MM)
    bases = [lattice.basis(axis, at).float().to(numbers.device) for axis, at in enumerate(axes)]
    shifts = displacement_of_velocity(_halves(lattice.velocity(numbers, bases)), NODE_MM).cpu().numpy()
    direction = affine[:3, :3] / spacing_from_affine(affine)
    nodes = np.eye(4)
    nodes[:3, :3] = direction * NODE_MM
    nodes[:3, 3] = apply_affine(affine, [at[0] for at in axes] / spacing_from_affine(affine))
    fields = [np.einsum("ij,jklm->iklm", direction, shift) for shift in shifts]
    return WarpField(fields[0], nodes), WarpField(fields[1], nodes)
