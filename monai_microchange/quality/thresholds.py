# SPDX-License-Identifier: Apache-2.0
"""All limits of the verdict on two acquisitions, in one table, each with its reason.

Limits on likeness and misalignment were set on pairs simulated from three cross-sectional patients, one healthy head
and one phantom, and on pairs of two of those patients, never on longitudinal visits; of other organs they stop nothing.
Those on protocols, coverage, contrast, noise and smoothness are conventions, not measured.
"""

import math
from dataclasses import dataclass

from monai_microchange.enums import Verdict

__all__ = ["LONG_ECHO_MS", "SHORT_ECHO_MS", "THRESHOLDS", "Threshold"]

SHORT_ECHO_MS, LONG_ECHO_MS = 40.0, 60.0
"""Below the first a scan is T1 or proton density weighted, above the second T2 weighted, as FLAIR is."""


@dataclass(frozen=True)
class Threshold:
    """From where on a difference counts.

    Args:
        care: from here on, read with care.
        stop: from here on, do not compare; None if this difference alone never forbids it.
        why: what the limits rest on.
        low_is_bad: whether values below the limits count, in place of those above.

    Example:
        >>> limit = Threshold(0.8, 0.5, "an example", low_is_bad=True)
        >>> [limit.verdict(value) and limit.verdict(value).value for value in (0.9, 0.7, 0.2)]
        [None, 'read with care', 'do not compare']
    """

    care: float
    stop: float | None
    why: str
    low_is_bad: bool = False

    def verdict(self, value: float | None) -> Verdict | None:
        """What a value leads to; None if it is within the limits, or not known (None, NaN)."""
        if value is None or math.isnan(value):
            return None
        sign = -1 if self.low_is_bad else 1
        if self.stop is not None and sign * value > sign * self.stop:
            return Verdict.DO_NOT_COMPARE
        return Verdict.READ_WITH_CARE if sign * value > sign * self.care else None


THRESHOLDS = {
    # of the protocols: the larger value over the smaller one
    "echo time": Threshold(
        1.2, None, "contrast of lesions to white matter follows the echo time; 2D and 3D FLAIR differ by four"
    ),
    "repetition time": Threshold(1.3, None, "T1 weighting; in FLAIR it goes together with the inversion time"),
    "inversion time": Threshold(1.1, 2.0, "what is dark; 1650 to 2800 ms null CSF, 700 to 1100 ms make a T1 image"),
    "flip angle": Threshold(1.3, None, "T1 weighting of gradient echoes"),
    "field strength": Threshold(1.2, None, "3 T shows more and other lesions than 1.5 T"),
    "slice distance": Threshold(1.25, None, "a lesion thinner than a slice loses contrast in proportion"),
    "voxel size in the slice": Threshold(1.5, None, "small lesions are blurred in the slice too"),
    "gap between slices": Threshold(0.15, None, "share of a scan that lies between slices and was never measured"),
    "slice direction": Threshold(30.0, None, "degrees: partial volume falls on other borders"),
    # of the images
    "coverage": Threshold(0.8, 0.5, "what one scan does not show has not changed, it is unknown", low_is_bad=True),
    "structure correlation": Threshold(
        0.82,
        0.72,
        "one brain twice, up to 6 mm slices and 8 % noise: 0.95 to 0.99, before and after contrast agent 0.84 to 0.88; "
        "two brains, aligned as well as they go, or two contrasts: -0.3 to 0.69",
        low_is_bad=True,
    ),
    "correlation": Threshold(
        0.5, None, "one brain twice: 0.75 or more; two contrasts: up to 0.5; two brains: up to 0.6", low_is_bad=True
    ),
    "misalignment": Threshold(
        1.5,
        3.0,
        "95th percentile in mm; one brain twice, well aligned: 0.1 to 0.4, before and after contrast agent up to 2.1; "
        "two brains: 3.5 or more. A lesion of 3 mm that lies 1.5 mm off is half gain, half loss",
    ),
    "inverse consistency": Threshold(
        0.5, None, "mm; below it the directions of the alignment agree within half a voxel"
    ),
    "tissue contrast": Threshold(0.15, None, "difference of a tissue's brightness relative to white matter"),
    "CSF contrast": Threshold(0.3, None, "the same of CSF, which follows the inversion time and flow"),
    "opposite contrast": Threshold(
        0.15, 0.2, "the same, where a tissue is brighter than white matter in one scan only"
    ),
    "noise": Threshold(2.0, None, "the noisier scan hides at one visit what the other shows"),
    "smoothness": Threshold(1.3, None, "the ratio along one axis of scans of equal voxels; noise of 8 % makes 1.15"),
}
"""Limits by what they are about."""
