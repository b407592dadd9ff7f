# SPDX-License-Identifier: Apache-2.0
"""Simulated scans with known change."""

from monai_microchange.simulation.acquisition import Protocol
from monai_microchange.simulation.lesions import PlantedLesion
from monai_microchange.simulation.phantom import Phantom, make_phantom
from monai_microchange.simulation.phantom_files import write_phantom

__all__ = ["Phantom", "PlantedLesion", "Protocol", "make_phantom", "write_phantom"]
