# SPDX-License-Identifier: Apache-2.0
"""What changes the form of a head without a lesion: atrophy, skull stripping, defacing."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch.nn import functional as F

from monai_microchange.enums import Anatomy
from monai_microchange.transforms.effects._effect import AnatomyEffect
from monai_microchange.transforms.effects._fields import blur, smooth_noise

__all__ = ["Atrophy", "Defacing", "SkullStrip"]


@dataclass(frozen=True)
class Atrophy(AnatomyEffect):
    """Ventricles that grow and sulci that widen, by a smooth and invertible displacement.

    The displacement is the gradient of a blurred label map, so it points across the walls and fades away from them. A
    flat wall moves by just `ventricle_mm`; a thin ventricle's walls move less.

    Args:
        ventricle_mm: how far the walls of the ventricles move outwards.
        sulcus_mm: how far the surface of the brain recedes.

    Raises:
        ValueError: if something is negative, or so large that the displacement might fold.
    """

    ventricle_mm: float
    sulcus_mm: float = 0.0

    moves: ClassVar[bool] = True
    VENTRICLE_SIGMA_MM: ClassVar[float] = 5.0
    SULCUS_SIGMA_MM: ClassVar[float] = 2.5
    # second derivatives of a blurred label are at most this over sigma squared: 2 * the normal density at 1; see `bend`
    STEEPEST: ClassVar[float] = 2 * 0.24197

    def __post_init__(self) -> None:
        if min(self.ventricle_mm, self.sulcus_mm) < 0:
            raise ValueError(f"growth must not be negative, got {self.ventricle_mm} and {self.sulcus_mm} mm")
        if self.bend >= 1:
            raise ValueError(
                f"{self.ventricle_mm} and {self.sulcus_mm} mm might fold the brain: a ventricle may grow by less than "
                f"{0.82 * self.VENTRICLE_SIGMA_MM:.1f} mm, a sulcus by {0.82 * self.SULCUS_SIGMA_MM:.1f} mm"
            )

    @property
    def bend(self) -> float:
        """Bound of how much the displacement changes from a point to the next; below 1 it has an inverse."""
        relative = self.ventricle_mm / self.VENTRICLE_SIGMA_MM + self.sulcus_mm / self.SULCUS_SIGMA_MM
        return float(np.sqrt(2 * np.pi)) * self.STEEPEST * relative

    def displacement(self, anatomy: torch.Tensor) -> torch.Tensor:
        """Where each voxel takes its value from, relative to itself: (3, I, J, K), voxels.

        Args:
            anatomy: `Anatomy` labels (1, I, J, K).
        """
        ventricle = (anatomy == Anatomy.VENTRICLE).float()
        outside = ((anatomy == Anatomy.OUTER_CSF) | (anatomy == Anatomy.BACKGROUND)).float()
        # the gradient of a blurred flat wall is 1 / (sigma sqrt(2 pi)) at the wall
        potential = torch.zeros_like(ventricle)
        for label, growth, sigma in (
            (ventricle, self.ventricle_mm, self.VENTRICLE_SIGMA_MM),
            (outside, self.sulcus_mm, self.SULCUS_SIGMA_MM),
        ):
            if growth > 0:
                potential += growth * sigma * float(np.sqrt(2 * np.pi)) * blur(label, sigma)
        return torch.stack(torch.gradient(potential[0]))

    def _apply_at(self, image: torch.Tensor, anatomy: torch.Tensor) -> torch.Tensor:
        shape = image.shape[1:]
        size = torch.tensor(shape).sub(1).clamp(min=1).to(image).view(3, 1, 1, 1)
        place = torch.stack(torch.meshgrid(*(torch.arange(n).to(image) for n in shape), indexing="ij"))
        unit = 2 * (place + self.displacement(anatomy)) / size - 1
        grid = unit.flip(0).movedim(0, -1)  # grid_sample names the last axis first
        return F.grid_sample(image[None], grid[None], mode="bilinear", padding_mode="border", align_corners=True)[0]

    @classmethod
    def draw(cls, random: np.random.RandomState, *, severity: float = 1.0) -> Self:
        """Draw some years' growth: up to 1.5 mm in the ventricles; see `Effect.draw`."""
        return cls(severity * float(random.uniform(0.2, 1.5)), severity * float(random.uniform(0.0, 0.5)))


@dataclass(frozen=True)
class SkullStrip(AnatomyEffect):
    """All but the brain set to 0, by a tool that cuts more here and less there. Without a brain nothing is cut.

    Args:
        margin_mm: from the surface of the brain (with its liquor) to the cut; negative ones cut into it.
        roughness_mm: deviation of the cut from that, over patches of 2 cm.
        seed: of the patches.
    """

    margin_mm: float
    roughness_mm: float = 0.0
    seed: int = 0

    moves: ClassVar[bool] = True
    SIGMA_MM: ClassVar[float] = 3.0

    def _apply_at(self, image: torch.Tensor, anatomy: torch.Tensor) -> torch.Tensor:
        brain = (anatomy > 0).float()
        if not brain.any():
            return image.clone()
        margin = self.margin_mm + self.roughness_mm * smooth_noise(image.shape[1:], (20.0,) * 3, self.seed)
        # a blurred flat surface falls off as the normal distribution does
        return image * (blur(brain, self.SIGMA_MM) >= torch.special.ndtr(-margin / self.SIGMA_MM))

    @classmethod
    def draw(cls, random: np.random.RandomState, *, severity: float = 1.0) -> Self:
        """Draw a cut 1.5 mm within to 4 mm beyond the surface; the milder, the farther out. See `Effect.draw`."""
        inwards = float(random.uniform(1.0, 6.5))
        roughness, seed = float(random.uniform(0.2, 1.0)), int(random.randint(0, 2**31 - 1))
        return cls(5.0 / severity - inwards if severity > 0 else float("inf"), roughness, seed)


@dataclass(frozen=True)
class Defacing(AnatomyEffect):
    """All beyond a plane in front of the brain set to 0, as tools do that hide the face. Without a brain: nothing.

    Args:
        margin_mm: from the brain to the plane.
        degrees: how far the plane looks down, from the front.
    """

    margin_mm: float
    degrees: float = 40.0

    moves: ClassVar[bool] = True

    def _apply_at(self, image: torch.Tensor, anatomy: torch.Tensor) -> torch.Tensor:
        brain = (anatomy > 0) & (anatomy != Anatomy.OUTER_CSF)
        if not brain.any():
            return image.clone()
        forwards, down = np.cos(np.deg2rad(self.degrees)), np.sin(np.deg2rad(self.degrees))
        front, height = (torch.arange(n).to(image) for n in image.shape[2:])
        ahead = float(forwards) * front[:, None] - float(down) * height[None]
        return image * (ahead <= ahead[brain[0].any(dim=0)].max() + self.margin_mm)

    @classmethod
    def draw(cls, random: np.random.RandomState, *, severity: float = 1.0) -> Self:
        """Draw a plane 2 to 20 mm before the brain; the milder, the farther off. See `Effect.draw`."""
        margin, degrees = float(random.uniform(2, 20)), float(random.uniform(20, 55))
        return cls(margin / severity if severity > 0 else float("inf"), degrees)
