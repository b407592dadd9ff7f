# SPDX-License-Identifier: Apache-2.0
"""Confounders of change: what happens to a scan of a patient who did not change."""

from monai_microchange.transforms.effects._effect import AnatomyEffect, Effect, RandEffectd
from monai_microchange.transforms.effects.acquisition import Acquisition
from monai_microchange.transforms.effects.artefacts import FlowArtefact, IncompleteSuppression, MotionGhosts
from monai_microchange.transforms.effects.intensity import BiasField, ContrastCurve, RicianNoise
from monai_microchange.transforms.effects.morphology import Atrophy, Defacing, SkullStrip
from monai_microchange.transforms.effects.slices import SliceProtocol, put_back, resample_voxels, through_slices

__all__ = [
    "Acquisition",
    "AnatomyEffect",
    "Atrophy",
    "BiasField",
    "ContrastCurve",
    "Defacing",
    "Effect",
    "FlowArtefact",
    "IncompleteSuppression",
    "MotionGhosts",
    "RandEffectd",
    "RicianNoise",
    "SkullStrip",
    "SliceProtocol",
    "put_back",
    "resample_voxels",
    "through_slices",
]
