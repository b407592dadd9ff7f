# SPDX-License-Identifier: Apache-2.0
"""What every effect is: a deterministic transform with its parameters as fields, and a random sampler beside it."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Randomizable
from monai.utils import convert_to_dst_type

__all__ = ["AnatomyEffect", "Effect", "RandEffectd"]


@dataclass(frozen=True)
class Effect(ABC):
    """Something that happens to a scan and is no change of the patient.

    An effect does the same each time it is called; what is random about it was settled by `draw`, or is settled by a
    seed among its fields. Scans lie on a 1 mm grid whose axes run to the right, to the front and up, air is near 0 and
    white matter 1.
    """

    moves: ClassVar[bool] = False
    """Whether voxels are moved, or cut out: then a map of what changed must go through the effect as well."""

    def __call__(self, image: torch.Tensor, *, anatomy: torch.Tensor | None = None) -> torch.Tensor:
        """Return the image after the effect.

        Args:
            image: (1, I, J, K); effects that move voxels take (C, I, J, K).
            anatomy: `Anatomy` labels (1, I, J, K); only an `AnatomyEffect` looks at them.

        Returns:
            Image of the same shape and type; the one given stays as it was.

        Raises:
            ValueError: if the shapes are others, or an `AnatomyEffect` gets no anatomy.
        """
        self._check(image)
        return convert_to_dst_type(self._apply(_plain(image)), image)[0]

    def _check(self, image: torch.Tensor) -> None:
        if image.ndim != 4 or (image.shape[0] != 1 and not self.moves):
            wanted = "(C, I, J, K)" if self.moves else "(1, I, J, K)"
            raise ValueError(f"{type(self).__name__} needs an image {wanted}, got shape {tuple(image.shape)}")

    @abstractmethod
    def _apply(self, image: torch.Tensor) -> torch.Tensor:
        """Return the image after the effect; both are plain float32 tensors (C, I, J, K)."""

    @classmethod
    @abstractmethod
    def draw(cls, random: np.random.RandomState, *, severity: float = 1.0) -> Self:
        """Draw an effect.

        Args:
            random: source of the draws.
            severity: 0 does next to nothing, 1 is what clinical scans show.
        """


class AnatomyEffect(Effect):
    """An effect that happens at certain places of a head, and so needs its anatomy."""

    def __call__(self, image: torch.Tensor, *, anatomy: torch.Tensor | None = None) -> torch.Tensor:
        """Return the image after the effect; see `Effect`."""
        self._check(image)
        if anatomy is None:
            raise ValueError(f"{type(self).__name__} needs the anatomy of the scan: call it with anatomy=labels")
        if tuple(anatomy.shape) != (1, *image.shape[1:]):
            raise ValueError(
                f"anatomy must have one channel and the image's grid {tuple(image.shape[1:])}, got shape "
                f"{tuple(anatomy.shape)}"
            )
        return convert_to_dst_type(self._apply_at(_plain(image), _plain(anatomy)), image)[0]

    def _apply(self, image: torch.Tensor) -> torch.Tensor:
        raise TypeError(f"{type(self).__name__} does nothing without anatomy")

    @abstractmethod
    def _apply_at(self, image: torch.Tensor, anatomy: torch.Tensor) -> torch.Tensor:
        """Return the image after the effect; plain float32 tensors, (C, I, J, K) and (1, I, J, K)."""


class RandEffectd(MapTransform, Randomizable):
    """Let an effect happen to some scans, drawn for each key by itself: two visits have two scanners.

    Args:
        keys: scans (1, I, J, K).
        effect: the class of the effect.
        prob: how often it happens to a scan.
        severity: as `Effect.draw` takes it.
        anatomy_key: `Anatomy` labels (1, I, J, K), for effects that need them.
        allow_missing_keys: leave out keys that the data lack.

    Example:
        >>> from monai_microchange.transforms.effects import RicianNoise
        >>> noise = RandEffectd("followup", RicianNoise, prob=1.0).set_random_state(3)
        >>> float(noise({"followup": torch.zeros(1, 2, 2, 2)})["followup"].min()) > 0
        True
    """

    def __init__(
        self,
        keys: KeysCollection,
        effect: type[Effect],
        prob: float = 0.3,
        *,
        severity: float = 1.0,
        anatomy_key: str = "anatomy",
        allow_missing_keys: bool = False,
    ):
        super().__init__(keys, allow_missing_keys)
        if not 0 <= prob <= 1:
            raise ValueError(f"prob must lie in [0, 1], got {prob}")
        self.effect = effect
        self.prob = prob
        self.severity = severity
        self.anatomy_key = anatomy_key

    def randomize(self, data: object = None) -> None:
        """Draw the effect for one scan, or none."""
        happens = self.R.random_sample() < self.prob
        self._drawn = self.effect.draw(self.R, severity=self.severity) if happens else None

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Return a copy of `data` in which the effect happened to some of the scans."""
        out = dict(data)
        for key in self.key_iterator(out):
            self.randomize()
            if self._drawn is not None:
                out[key] = self._drawn(out[key], anatomy=out.get(self.anatomy_key))
        return out


def _plain(image: torch.Tensor) -> torch.Tensor:
    return (image.as_tensor() if isinstance(image, MetaTensor) else image).float()
