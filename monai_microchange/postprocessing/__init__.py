# SPDX-License-Identifier: Apache-2.0
"""From probability maps to lesions: lesion at a visit, components of change, their types, the list of lesions."""

from .hyperintensity import visit_lesions
from .lesions import list_lesions
from .location import locate_lesions
from .records import Lesion, MidMaps
from .types import ChangeMaps, find_changes

__all__ = ["ChangeMaps", "Lesion", "MidMaps", "find_changes", "list_lesions", "locate_lesions", "visit_lesions"]
