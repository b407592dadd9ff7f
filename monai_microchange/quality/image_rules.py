# SPDX-License-Identifier: Apache-2.0
"""What two aligned scans themselves say against a comparison."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from monai_microchange.enums import Verdict
from monai_microchange.quality.comparability import Reason
from monai_microchange.quality.measures import PairMeasures
from monai_microchange.quality.thresholds import THRESHOLDS, Threshold

__all__ = ["image_reasons"]

AXES = ("left-right", "front-back", "head-foot")
"""Axes of mid-space."""
NAMES = {"grey": "Grey matter", "deep_grey": "Deep grey matter", "csf": "CSF"}
NAMED = ("baseline", "follow-up")


def image_reasons(
    measures: PairMeasures, voxel_ratio: Sequence[float] = (1.0, 1.0, 1.0), *, is_head: bool = True
) -> list[Reason]:
    """Reasons against comparing two aligned scans, from what was measured on them; what is NaN is no reason.

    The verdicts do not depend on which scan comes first.

    Args:
        measures: of the pair.
        voxel_ratio: length of the longer voxel over the shorter one along each axis of mid-space (3,): where the voxels
            differ, the header's rules have said that the sharpness does.
        is_head: whether a brain was measured. Organs move by themselves: there neither structure nor misalignment
            forbids the comparison.
    """
    return [
        *_coverage(measures),
        *_likeness(measures, is_head=is_head),
        *_alignment(measures, is_head=is_head),
        *_contrast(measures),
        *_noise(measures),
        *_smoothness(measures, voxel_ratio),
    ]


def _limit_of_heads(about: str, *, is_head: bool) -> Threshold:
    """A limit that was set on brains: of other organs it stops nothing."""
    return THRESHOLDS[about] if is_head else replace(THRESHOLDS[about], stop=None)


def _coverage(measures: PairMeasures) -> Iterator[Reason]:
    verdict = THRESHOLDS["coverage"].verdict(measures.coverage)
    if verdict:
        text = f"Only {measures.coverage:.0%} of what one scan shows lies in the other: change elsewhere is unknown."
        yield Reason(verdict, "coverage", text)


def _likeness(measures: PairMeasures, *, is_head: bool) -> Iterator[Reason]:
    value = measures.structure_correlation
    verdict = _limit_of_heads("structure correlation", is_head=is_head).verdict(value)
    if verdict is Verdict.DO_NOT_COMPARE:
        text = (
            f"The structure of the scans correlates by {value:.2f} only: they are of different contrasts, of "
            "different patients, or badly aligned, and nearly all that differs would be taken for change."
        )
        yield Reason(verdict, "structure correlation", text)
    elif verdict:
        text = (
            f"The structure of the scans correlates by {value:.2f} only: contrast, artefacts or alignment differ; "
            "compare each change with its surroundings."
        )
        yield Reason(verdict, "structure correlation", text)
    verdict = THRESHOLDS["correlation"].verdict(measures.correlation)
    if verdict:
        text = (
            f"After alignment the grey values correlate by {measures.correlation:.2f} only: look at the alignment "
            "before you trust the change."
        )
        yield Reason(verdict, "correlation", text)


def _alignment(measures: PairMeasures, *, is_head: bool) -> Iterator[Reason]:
    worst = measures.misalignment_mm["p95"]
    verdict = _limit_of_heads("misalignment", is_head=is_head).verdict(worst)
    if verdict:
        text = (
            f"After alignment 5 % of the region lie {worst:.1f} mm or more apart (median "
            f"{measures.misalignment_mm['median']:.1f} mm): there, gain beside loss is a shift and no change."
        )
        yield Reason(verdict, "misalignment", text)
    verdict = THRESHOLDS["inverse consistency"].verdict(measures.inverse_consistency_mm)
    if verdict:
        text = (
            f"The two directions of the alignment differ by {measures.inverse_consistency_mm:.1f} mm: borders may be "
            "off by as much."
        )
        yield Reason(verdict, "inverse consistency", text)


def _contrast(measures: PairMeasures) -> Iterator[Reason]:
    one, other = measures.baseline.tissues, measures.followup.tissues
    for tissue in [name for name in NAMES if name in one and name in other]:
        a, b = one[tissue], other[tissue]
        about = "opposite contrast" if a * b < 0 else "CSF contrast" if tissue == "csf" else "tissue contrast"
        verdict = THRESHOLDS[about].verdict(abs(a - b))
        if verdict:
            meaning = (
                "the scans have opposite contrast, so every border would be change"
                if verdict is Verdict.DO_NOT_COMPARE
                else "lesions stand out differently, so faint ones may seem to come or go"
            )
            text = (
                f"{NAMES[tissue]} is {_percent(a)} than white matter in the baseline and {_percent(b)} in the "
                f"follow-up: {meaning}."
            )
            yield Reason(verdict, about, text)


def _percent(value: float) -> str:
    return f"{abs(value):.0%} {'brighter' if value > 0 else 'darker'}"


def _noise(measures: PairMeasures) -> Iterator[Reason]:
    noise = measures.baseline.noise, measures.followup.noise
    verdict = THRESHOLDS["noise"].verdict(max(noise) / min(noise))
    if verdict:
        text = (
            f"Noise of {noise[0]:.1%} against {noise[1]:.1%} of the signal: faint lesions may be hidden in the "
            f"{NAMED[int(noise[1] > noise[0])]} alone."
        )
        yield Reason(verdict, "noise", text)


def _smoothness(measures: PairMeasures, voxel_ratio: Sequence[float]) -> Iterator[Reason]:
    widths = [
        (a, b, axis)
        for a, b, axis, ratio in zip(
            measures.baseline.smoothness_mm, measures.followup.smoothness_mm, AXES, voxel_ratio, strict=True
        )
        if THRESHOLDS["slice distance"].verdict(float(ratio)) is None and a == a and b == b
    ]
    if not widths:
        return
    a, b, axis = max(widths, key=lambda item: max(item[:2]) / min(item[:2]))
    verdict = THRESHOLDS["smoothness"].verdict(max(a, b) / min(a, b))
    if verdict:
        text = (
            f"The {NAMED[int(b > a)]} is smoother along {axis} ({a:.1f} mm against {b:.1f} mm): small lesions and "
            "sharp borders may appear only in the other."
        )
        yield Reason(verdict, "smoothness", text)
