# SPDX-License-Identifier: Apache-2.0
"""All that one visit's scan passes through, in physical order."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
import torch

from monai_microchange.transforms.effects._effect import AnatomyEffect, Effect
from monai_microchange.transforms.effects.artefacts import FlowArtefact, IncompleteSuppression, MotionGhosts
from monai_microchange.transforms.effects.intensity import BiasField, ContrastCurve, RicianNoise
from monai_microchange.transforms.effects.morphology import Atrophy, Defacing, SkullStrip
from monai_microchange.transforms.effects.slices import SliceProtocol, put_back, through_slices

__all__ = ["Acquisition"]


@dataclass(frozen=True)
class Acquisition:
    """One visit: what the head is like, what the scanner makes of it, and what is done to the scan afterwards.

    Args:
        head: effects on the head and its signal, before it is cut into slices.
        slices: how it is cut into slices, and put back.
        scanner: effects on the slices themselves.
        processing: effects on the scan that was put back.

    Example:
        >>> visit = Acquisition(scanner=(RicianNoise(0.02),))
        >>> image, extent, anatomy = torch.ones(1, 8, 8, 8), torch.zeros(2, 8, 8, 8), torch.ones(1, 8, 8, 8)
        >>> [tuple(part.shape) for part in visit(image, extent, anatomy)]
        [(1, 8, 8, 8), (2, 8, 8, 8)]
    """

    head: tuple[Effect, ...] = ()
    slices: SliceProtocol = field(default_factory=SliceProtocol)
    scanner: tuple[Effect, ...] = ()
    processing: tuple[Effect, ...] = ()

    @property
    def effects(self) -> tuple[Effect, ...]:
        """All effects, in the order in which they happen."""
        return (*self.head, self.slices, *self.scanner, *self.processing)

    def __call__(
        self, image: torch.Tensor, extent: torch.Tensor, anatomy: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scan a head.

        Args:
            image: (1, I, J, K), 1 mm, white matter 1.
            extent: share of each voxel that changed (E, I, J, K); what moves the head moves it too.
            anatomy: `Anatomy` labels (1, I, J, K).

        Returns:
            The scan (1, I, J, K) and the extent as it shows it (E, I, J, K), in [0, 1].
        """
        both = torch.cat([image, extent]).float()
        for effect in self.head:
            both = _pass(effect, both, anatomy)
        sliced, back = through_slices(both, self.slices)
        for effect in self.scanner:
            sliced = _pass(effect, sliced, None)
        both = put_back(sliced, back, self.slices, tuple(image.shape[1:]))
        for effect in self.processing:
            both = _pass(effect, both, anatomy)
        return both[:1], both[1:].clamp(0, 1)

    @classmethod
    def draw(cls, random: np.random.RandomState, *, already_mm: float = 1.0, severity: float = 1.0) -> Self:
        """Draw a visit.

        Args:
            random: source of the draws.
            already_mm: slice thickness that the scan has; `SliceProtocol.draw` says what it is for.
            severity: 0 leaves the scan nearly as it is, 1 is what clinical scans show.
        """
        slices = SliceProtocol.draw(random, severity=severity, already_mm=already_mm)
        head: list[Effect] = []
        if random.random_sample() < 0.25:
            head.append(Atrophy.draw(random, severity=severity))
        head.append(ContrastCurve.draw(random, severity=severity))
        if random.random_sample() < 0.25:
            head.append(IncompleteSuppression.draw(random, severity=severity))
        if random.random_sample() < 0.4:
            head.append(FlowArtefact.draw(random, severity=severity, slice_axis=slices.axis))
        head.append(BiasField.draw(random, severity=severity))
        scanner: list[Effect] = []
        if random.random_sample() < 0.25:
            scanner.append(MotionGhosts.draw(random, severity=severity, slice_axis=slices.axis))
        scanner.append(RicianNoise.draw(random, severity=severity))
        processing: list[Effect] = []
        if random.random_sample() < 0.1:
            processing.append(Defacing.draw(random, severity=severity))
        if random.random_sample() < 0.1:
            processing.append(SkullStrip.draw(random, severity=severity))
        return cls(tuple(head), slices, tuple(scanner), tuple(processing))


def _pass(effect: Effect, both: torch.Tensor, anatomy: torch.Tensor | None) -> torch.Tensor:
    """Let an effect happen to the image, and to the extent behind it where it moves voxels."""
    place = anatomy if isinstance(effect, AnatomyEffect) else None
    if effect.moves:
        return effect(both, anatomy=place)
    return torch.cat([effect(both[:1], anatomy=place), both[1:]])
