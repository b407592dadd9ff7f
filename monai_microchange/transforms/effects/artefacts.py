# SPDX-License-Identifier: Apache-2.0
"""Artefacts that look like lesions: ghosts of a moving head, liquor that flows, liquor that was not suppressed."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch

from monai_microchange.enums import Anatomy
from monai_microchange.transforms.effects._effect import AnatomyEffect, Effect
from monai_microchange.transforms.effects._fields import blur, smooth_noise

__all__ = ["FlowArtefact", "IncompleteSuppression", "MotionGhosts"]

LIQUOR = 0.25
"""Grey of liquor that was suppressed; white matter is 1."""


@dataclass(frozen=True)
class MotionGhosts(Effect):
    """Ghosts along the phase axis of a head that swings while one line of k-space after another is read.

    Args:
        shift_voxels: how far the head moves either way, along the phase axis.
        period_lines: lines read in one period of the motion; the ghosts are the volume's length over this apart.
        irregularity: how far the motion strays from its period: deviation of its phase, in radians, from line to line.
        pulsation: relative change of brightness with the motion.
        phase_axis: array axis of the phase encoding.
        slice_axis: array axis that slices are stacked along; each slice meets the motion at another moment.
        seed: of these moments and of the irregularity.

    Raises:
        ValueError: if a period is not longer than two lines, or both axes are one.

    Source: Wood and Henkelman, 1985, MR image artifacts from periodic motion, Medical Physics 12:143-151.
    """

    shift_voxels: float
    period_lines: float = 8.0
    irregularity: float = 0.0
    pulsation: float = 0.0
    phase_axis: int = 1
    slice_axis: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.period_lines >= 2:
            raise ValueError(f"period_lines must be at least 2, got {self.period_lines}")
        if self.phase_axis == self.slice_axis:
            raise ValueError(f"phase_axis and slice_axis must differ, got {self.phase_axis} for both")

    def _apply(self, image: torch.Tensor) -> torch.Tensor:
        lines, slices = image.shape[1 + self.phase_axis], image.shape[1 + self.slice_axis]
        random = np.random.RandomState(self.seed)
        # rows are slices, columns the lines of k-space from the lowest frequency to the highest
        phase = 2 * np.pi * (np.arange(lines) / self.period_lines + random.random_sample((slices, 1)))
        phase = phase + np.cumsum(random.normal(0, self.irregularity, (slices, lines)), axis=1)
        frequency = np.arange(lines) / lines - (lines // 2) / lines
        wave = np.sin(phase)
        # the middle of k-space is what the others are measured against
        wave = wave - wave[:, [lines // 2]]
        factor = (1 + self.pulsation * wave) * np.exp(-2j * np.pi * frequency * self.shift_voxels * wave)
        factor = torch.from_numpy(np.fft.ifftshift(factor, axes=1).astype(np.complex64)).to(image.device)
        spread = factor.T if self.phase_axis < self.slice_axis else factor
        shape = [n if axis in (self.phase_axis, self.slice_axis) else 1 for axis, n in enumerate(image.shape[1:])]
        space = torch.fft.fft(image, dim=1 + self.phase_axis) * spread.reshape(1, *shape)
        return torch.fft.ifft(space, dim=1 + self.phase_axis).abs()

    @classmethod
    def draw(cls, random: np.random.RandomState, *, severity: float = 1.0, slice_axis: int = 2) -> Self:
        """Draw motion of up to half a voxel; see `Effect.draw`."""
        return cls(
            shift_voxels=severity * float(random.uniform(0.05, 0.5)),
            period_lines=float(np.exp(random.uniform(np.log(2.5), np.log(24)))),
            irregularity=float(random.uniform(0.0, 0.4)),
            pulsation=severity * float(random.uniform(0.0, 0.05)),
            phase_axis=_in_plane_axis(random, slice_axis),
            slice_axis=slice_axis,
            seed=_seed(random),
        )


@dataclass(frozen=True)
class FlowArtefact(AnatomyEffect):
    """Liquor that flows into the slice after its inversion: bright blobs about the brain stem and in the ventricles.

    Each blob repeats faintly along the phase axis, since the flow pulsates.

    Args:
        brightness: of the blobs; white matter is 1.
        coverage: share of the liquor near the brain stem and in the ventricles that flows; far less elsewhere.
        ghost: strength of the first ghost, relative to what the blob added; negative ones are dark.
        ghost_mm: from a blob to its first ghost.
        phase_axis: array axis of the phase encoding.
        blob_mm: size of the blobs.
        seed: of their places.

    Source: Bakshi et al., 2000, Intraventricular CSF pulsation artifact on fast fluid-attenuated inversion-recovery MR
    images, AJNR 21:503-508; Ogbole et al., 2016, doi 10.4103/0300-1652.180565 (most often in the fourth ventricle).
    """

    brightness: float
    coverage: float = 0.2
    ghost: float = 0.0
    ghost_mm: int = 24
    phase_axis: int = 1
    blob_mm: float = 5.0
    seed: int = 0

    NEAR_MM: ClassVar[float] = 8.0

    def _apply_at(self, image: torch.Tensor, anatomy: torch.Tensor) -> torch.Tensor:
        stem = blur((anatomy == Anatomy.INFRATENTORIAL).float(), self.NEAR_MM)
        near = (3 * stem + (anatomy == Anatomy.VENTRICLE)).clamp(max=1.0)
        # flow runs up and down: the blobs are longer that way
        noise = smooth_noise(image.shape[1:], (self.blob_mm, self.blob_mm, 1.5 * self.blob_mm), self.seed)
        height = noise - _normal_quantile(self.coverage) - (1 - near)
        added = torch.sigmoid(4 * height) * _liquor(image, anatomy) * max(self.brightness - LIQUOR, 0.0)
        out = image + added
        for order in (1, 2):
            for step in (order * self.ghost_mm, -order * self.ghost_mm):
                out = out + self.ghost / order * _shifted(added, step, 1 + self.phase_axis)
        return out.clamp(min=0)

    @classmethod
    def draw(cls, random: np.random.RandomState, *, severity: float = 1.0, slice_axis: int = 2) -> Self:
        """Draw blobs from grey to brighter than white matter; see `Effect.draw`."""
        return cls(
            brightness=LIQUOR + severity * float(random.uniform(0.2, 1.3)),
            coverage=float(random.uniform(0.02, 0.25)),
            ghost=severity * float(random.normal(0, 0.06)),
            ghost_mm=int(random.randint(12, 50)),
            phase_axis=_in_plane_axis(random, slice_axis),
            blob_mm=float(random.uniform(3.5, 8.0)),
            seed=_seed(random),
        )


@dataclass(frozen=True)
class IncompleteSuppression(AnatomyEffect):
    """Sulci and cisterns that stay grey in part of the head, where the inversion pulse missed its angle.

    Args:
        brightness: of the liquor there; white matter is 1.
        coverage: share of the head in which this is so.
        region_mm: size of such a part.
        seed: of their places.
    """

    brightness: float
    coverage: float = 0.3
    region_mm: float = 30.0
    seed: int = 0

    def _apply_at(self, image: torch.Tensor, anatomy: torch.Tensor) -> torch.Tensor:
        noise = smooth_noise(image.shape[1:], (self.region_mm,) * 3, self.seed)
        missed = torch.sigmoid(3 * (noise - _normal_quantile(self.coverage)))
        return image + missed * _liquor(image, anatomy) * max(self.brightness - LIQUOR, 0.0)

    @classmethod
    def draw(cls, random: np.random.RandomState, *, severity: float = 1.0) -> Self:
        """Draw liquor of up to nearly the grey of white matter; see `Effect.draw`."""
        return cls(
            brightness=LIQUOR + severity * float(random.uniform(0.1, 0.6)),
            coverage=float(random.uniform(0.05, 0.4)),
            region_mm=float(random.uniform(20, 45)),
            seed=_seed(random),
        )


def _liquor(image: torch.Tensor, anatomy: torch.Tensor) -> torch.Tensor:
    """Share of liquor in each voxel (1, *spatial): what is dark among tissue.

    The labels are too coarse to say it themselves. Far from tissue lies the skull, and what is black is air or bone.
    """
    tissue = (anatomy > Anatomy.BACKGROUND) & (anatomy < Anatomy.OUTER_CSF)
    place = ((blur(tissue.float(), 4.0) - 0.2) / 0.2).clamp(0, 1)
    # the voxel and those about it: bone is grainy
    no_air = ((torch.minimum(image, blur(image, 0.8)) - 0.04) / 0.08).clamp(0, 1)
    return place * no_air * ((0.7 - image) / (0.7 - LIQUOR)).clamp(0, 1)


def _shifted(volume: torch.Tensor, step: int, dim: int) -> torch.Tensor:
    """Move a volume along one axis; what leaves it is lost."""
    length = volume.shape[dim]
    kept = max(length - abs(step), 0)
    moved = torch.zeros_like(volume)
    moved.narrow(dim, max(step, 0) if kept else 0, kept).copy_(volume.narrow(dim, max(-step, 0) if kept else 0, kept))
    return moved


def _normal_quantile(share: float) -> float:
    """What a standard normal value exceeds with this chance."""
    return float(torch.special.ndtri(torch.tensor(1.0 - share)))


def _in_plane_axis(random: np.random.RandomState, slice_axis: int) -> int:
    return int(random.choice([axis for axis in range(3) if axis != slice_axis]))


def _seed(random: np.random.RandomState) -> int:
    return int(random.randint(0, 2**31 - 1))
