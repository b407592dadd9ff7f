# SPDX-License-Identifier: Apache-2.0
"""What changes grey values alone: noise, coil sensitivity, contrast."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from scipy.interpolate import PchipInterpolator

from monai_microchange.transforms.effects._effect import Effect

__all__ = ["BiasField", "ContrastCurve", "RicianNoise"]


@dataclass(frozen=True)
class RicianNoise(Effect):
    """Magnitude of the image with complex Gaussian noise.

    Args:
        deviation: standard deviation of the real and of the imaginary part; white matter is 1.
        seed: of the noise.

    Raises:
        ValueError: if the deviation is negative.

    Source: Gudbjartsson and Patz, 1995, The Rician distribution of noisy MRI data, doi 10.1002/mrm.1910340618.
    """

    deviation: float
    seed: int = 0

    def __post_init__(self) -> None:
        if self.deviation < 0:
            raise ValueError(f"deviation must not be negative, got {self.deviation}")

    def _apply(self, image: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        noise = torch.randn((2, *image.shape[1:]), generator=generator).to(image)
        return torch.hypot(image + self.deviation * noise[:1], self.deviation * noise[1:])

    @classmethod
    def draw(cls, random: np.random.RandomState, *, severity: float = 1.0) -> Self:
        """Draw 3.5 to 11 % of white matter, of which resampling leaves about a third; see `Effect.draw`."""
        return cls(severity * float(np.exp(random.uniform(*np.log((0.035, 0.11))))), _seed(random))


@dataclass(frozen=True)
class BiasField(Effect):
    """Coil sensitivity: a smooth factor, the exponential of a cosine series over the volume.

    Args:
        coefficients: of the series, in the order of `orders`; those left out are 0.

    Raises:
        ValueError: if there are more coefficients than orders.

    Example:
        >>> field = BiasField((np.log(2.0),))(torch.ones(1, 4, 1, 1))
        >>> bool(field[0, 0] > 1.5), bool(field[0, -1] < 0.7)
        (True, True)
    """

    coefficients: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.coefficients) > len(self.orders()):
            raise ValueError(f"a field has at most {len(self.orders())} coefficients, got {len(self.coefficients)}")

    def _apply(self, image: torch.Tensor) -> torch.Tensor:
        weights = np.zeros((4, 4, 4), np.float32)
        for order, coefficient in zip(self.orders(), self.coefficients, strict=False):
            weights[order] = coefficient
        field = torch.from_numpy(weights).to(image)
        for length in image.shape[1:]:
            # each pass turns the leading axis of orders into one of voxels at the end
            field = torch.tensordot(field, _cosines(length).to(image), dims=([0], [0]))
        return image * field.exp()

    @staticmethod
    def orders() -> list[tuple[int, int, int]]:
        """Half periods across the volume along each axis, the smoothest first; the constant is left out."""
        every = [(i, j, k) for i in range(4) for j in range(4) for k in range(4)]
        return sorted((o for o in every if 0 < sum(o) <= 3), key=lambda order: (sum(order), order[::-1]))

    @classmethod
    def draw(cls, random: np.random.RandomState, *, severity: float = 1.0) -> Self:
        """Draw a field that varies by 1 to 7 %, mostly slowly; see `Effect.draw`."""
        strength = np.exp(random.uniform(*np.log((0.007, 0.05))))
        spread = np.asarray([strength / sum(order) for order in cls.orders()])
        return cls(tuple((severity * random.normal(0, spread)).tolist()))


@dataclass(frozen=True)
class ContrastCurve(Effect):
    """How a scanner and its sequence map grey values: monotone, with air 0 and white matter 1 where they were.

    Liquor, the tissues around white matter and lesions vary apart from each other, as they do with echo time, inversion
    time and the vendor's scaling.

    Args:
        values: what `GREYS` become, rising; beyond the last the curve goes straight on.

    Raises:
        ValueError: if there are not as many values as greys, they do not rise, or 0 or 1 is moved.

    Example:
        >>> flat = ContrastCurve((0.0, 0.3, 0.8, 1.0, 1.1, 1.3, 1.6))
        >>> [round(float(v), 2) for v in flat(torch.tensor([0.0, 1.0, 1.5]).view(1, 3, 1, 1)).flatten()]
        [0.0, 1.0, 1.3]
    """

    GREYS = (0.0, 0.35, 0.75, 1.0, 1.2, 1.5, 2.0)

    values: tuple[float, ...] = GREYS

    def __post_init__(self) -> None:
        if len(self.values) != len(self.GREYS) or (np.diff(self.values) <= 0).any():
            raise ValueError(f"values must be {len(self.GREYS)} rising numbers, one for each grey, got {self.values}")
        if (self.values[0], self.values[self.GREYS.index(1.0)]) != (0.0, 1.0):
            raise ValueError(f"air must stay 0 and white matter 1, got {self.values}")

    def _apply(self, image: torch.Tensor) -> torch.Tensor:
        steps = 400
        greys = np.linspace(0, self.GREYS[-1], steps + 1)
        table = torch.from_numpy(PchipInterpolator(self.GREYS, self.values)(greys)).to(image)
        place = image.clamp(min=0) * (steps / self.GREYS[-1])
        below = place.to(torch.int64).clamp(max=steps - 1)
        start = table[below]
        return start + (place - below) * (table[below + 1] - start)

    @classmethod
    def draw(cls, random: np.random.RandomState, *, severity: float = 1.0) -> Self:
        """Draw the slope between each grey and the next by itself, and one for all; see `Effect.draw`."""
        white = cls.GREYS.index(1.0)
        rise = np.diff(cls.GREYS) * np.exp(severity * random.normal(0, 0.2, len(cls.GREYS) - 1))
        # slices blur liquor into its surroundings, and grey matter into white: sequences are tuned for more contrast
        rise[0] *= np.exp(severity * random.normal(-0.2, 0.1))
        rise[white:] *= np.exp(severity * random.normal(0.15, 0.2))
        dark = np.cumsum(rise[:white]) / rise[:white].sum()
        bright = 1.0 + np.cumsum(rise[white:])
        return cls((0.0, *dark[:-1].tolist(), 1.0, *bright.tolist()))


def _cosines(length: int) -> torch.Tensor:
    """Cosines of 0 to 3 half periods across an axis, (4, length)."""
    place = (np.arange(length) + 0.5) / length
    return torch.from_numpy(np.cos(np.pi * np.outer(np.arange(4), place)).astype(np.float32))


def _seed(random: np.random.RandomState) -> int:
    return int(random.randint(0, 2**31 - 1))
