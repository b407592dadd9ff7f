# SPDX-License-Identifier: Apache-2.0
"""Simulated scans with known change."""

from monai_microchange.simulation.acquisition import Protocol
from monai_microchange.simulation.lesion_bank import LesionBank, shrink_shape
from monai_microchange.simulation.lesions import PlantedLesion
from monai_microchange.simulation.phantom import Phantom, make_phantom
from monai_microchange.simulation.phantom_files import write_phantom

__all__ = ["LesionBank", "Phantom", "PlantedLesion", "Protocol", "make_phantom", "shrink_shape", "write_phantom"]
