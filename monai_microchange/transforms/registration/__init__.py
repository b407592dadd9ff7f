# SPDX-License-Identifier: Apache-2.0
"""Linear registration of two visits: from any pose, robust to change, the same whichever comes first."""

from monai_microchange.transforms.registration.pair import (
    DEGREES_OF_FREEDOM,
    ENGINES,
    LinearRegistration,
    judge_pair,
    register_pair,
)

__all__ = ["DEGREES_OF_FREEDOM", "ENGINES", "LinearRegistration", "judge_pair", "register_pair"]
