# SPDX-License-Identifier: Apache-2.0
"""What two headers and two grids say against a comparison."""

import math
from collections.abc import Iterator

import numpy as np

from monai_microchange.enums import Verdict
from monai_microchange.quality.acquisition import Acquisition
from monai_microchange.quality.comparability import Reason
from monai_microchange.quality.thresholds import LONG_ECHO_MS, SHORT_ECHO_MS, THRESHOLDS

__all__ = ["protocol_reasons"]

TIMES = {
    "echo time": (
        "echo_time_ms",
        "ms",
        "lesions stand out differently from white matter, so their size may seem to change",
    ),
    "repetition time": (
        "repetition_time_ms",
        "ms",
        "brightness of tissues differs, so faint change may be of the protocol",
    ),
    "inversion time": ("inversion_time_ms", "ms", "CSF and lesions next to it may be dark in one scan only"),
    "flip angle": (
        "flip_angle_deg",
        "degrees",
        "brightness of tissues differs, so faint change may be of the protocol",
    ),
    "field strength": ("field_strength_t", "T", "the stronger field shows more lesions, and larger ones"),
}
"""Numbers of a protocol: where they stand, their unit, and what a difference means."""

BOTH_KNOWN = 2


def protocol_reasons(baseline: Acquisition, followup: Acquisition) -> list[Reason]:
    """Reasons against comparing two acquisitions, from what headers state and grids show; silence is no reason.

    The verdicts do not depend on which comes first.

    Example:
        >>> one, other = (Acquisition(np.diag([1.0, 1.0, slices])) for slices in (1.0, 6.0))
        >>> print(protocol_reasons(one, other)[0].sentence)
        Slices of 1.0 mm against 6.0 mm: lesions under about 113 mm3 may appear only in the baseline.
    """
    rules = (_kind, _weighting, _times, _dimensions, _slices, _slice_direction, _gaps, _agent, _model)
    return [reason for rule in rules for reason in rule(baseline, followup)]


def _both(name: str, baseline: Acquisition, followup: Acquisition) -> tuple[float, float] | None:
    one, other = baseline.number(name), followup.number(name)
    return None if one is None or other is None else (one, other)


def _kind(baseline: Acquisition, followup: Acquisition) -> Iterator[Reason]:
    kinds = [str(visit.protocol["modality"]) for visit in (baseline, followup) if visit.protocol.get("modality")]
    if len(kinds) == BOTH_KNOWN and kinds[0] != kinds[1]:
        text = "The scans are of two modalities: their brightness means different things."
        yield Reason(Verdict.DO_NOT_COMPARE, "modality", text)


def _weighting(baseline: Acquisition, followup: Acquisition) -> Iterator[Reason]:
    echoes = _both("echo_time_ms", baseline, followup)
    if echoes and min(echoes) < SHORT_ECHO_MS and max(echoes) > LONG_ECHO_MS:
        text = (
            f"Echo times of {echoes[0]:g} ms against {echoes[1]:g} ms: one scan is T2 weighted and the other is not, "
            "so lesions are bright in one and dark or unseen in the other."
        )
        yield Reason(Verdict.DO_NOT_COMPARE, "weighting", text)


def _times(baseline: Acquisition, followup: Acquisition) -> Iterator[Reason]:
    for about, (name, unit, meaning) in TIMES.items():
        values = _both(name, baseline, followup)
        verdict = THRESHOLDS[about].verdict(max(values) / min(values)) if values else None
        if values and verdict:
            title = about.capitalize()
            yield Reason(verdict, about, f"{title} of {values[0]:g} {unit} against {values[1]:g} {unit}: {meaning}.")


def _dimensions(baseline: Acquisition, followup: Acquisition) -> Iterator[Reason]:
    kinds = [visit.protocol.get("acquisition_type") for visit in (baseline, followup)]
    if set(kinds) == {"2D", "3D"}:
        text = (
            f"Acquired in {kinds[0]} against {kinds[1]}: CSF flow, vessels and thin lesions look different, above all "
            "in the posterior fossa and at the cortex."
        )
        yield Reason(Verdict.READ_WITH_CARE, "2D against 3D", text)


def _slices(baseline: Acquisition, followup: Acquisition) -> Iterator[Reason]:
    slices = baseline.slice_mm, followup.slice_mm
    verdict = THRESHOLDS["slice distance"].verdict(max(slices) / min(slices))
    finer = "baseline" if slices[0] < slices[1] else "follow-up"
    if verdict:
        # a ball as wide as a slice is thick fills at best two thirds of it
        lost_mm3 = math.pi / 6 * max(slices) ** 3
        text = (
            f"Slices of {slices[0]:.1f} mm against {slices[1]:.1f} mm: lesions under about {lost_mm3:.0f} mm3 may "
            f"appear only in the {finer}."
        )
        yield Reason(verdict, "slice distance", text)
    planes = baseline.in_plane_mm, followup.in_plane_mm
    verdict = THRESHOLDS["voxel size in the slice"].verdict(max(planes) / min(planes))
    if verdict:
        text = (
            f"Voxels of {planes[0]:.1f} mm against {planes[1]:.1f} mm in the slice: borders of lesions differ in "
            "sharpness."
        )
        yield Reason(verdict, "voxel size in the slice", text)


def _slice_direction(baseline: Acquisition, followup: Acquisition) -> Iterator[Reason]:
    one, other = baseline.slice_axis, followup.slice_axis
    if one is None or other is None:
        return
    degrees = math.degrees(math.acos(min(1.0, abs(float(one @ other)))))
    verdict = THRESHOLDS["slice direction"].verdict(degrees)
    if verdict:
        names = [("sagittal", "coronal", "axial")[int(np.abs(axis).argmax())] for axis in (one, other)]
        text = (
            f"Slices lie {degrees:.0f} degrees to each other ({names[0]} against {names[1]}): each scan blurs where "
            "the other is sharp, so borders seem to change."
        )
        yield Reason(verdict, "slice direction", text)


def _gaps(baseline: Acquisition, followup: Acquisition) -> Iterator[Reason]:
    thickness = [visit.number("slice_thickness_mm") or visit.slice_mm for visit in (baseline, followup)]
    gaps = [1 - thick / visit.slice_mm for thick, visit in zip(thickness, (baseline, followup), strict=True)]
    worse = int(gaps[1] > gaps[0])
    verdict = THRESHOLDS["gap between slices"].verdict(gaps[worse])
    if verdict and (baseline, followup)[worse].slice_axis is not None:
        text = (
            f"Between the slices of the {('baseline', 'follow-up')[worse]} lie gaps of {gaps[worse]:.0%} of their "
            "distance: small lesions there are not seen."
        )
        yield Reason(verdict, "gap between slices", text)


def _agent(baseline: Acquisition, followup: Acquisition) -> Iterator[Reason]:
    given = [bool(visit.protocol.get("contrast_agent")) for visit in (baseline, followup)]
    # a header that says nothing at all of its protocol says nothing of an agent either
    if given[0] != given[1] and baseline.protocol and followup.protocol:
        text = (
            f"Only the {'baseline' if given[0] else 'follow-up'} states a contrast agent: what enhances is brighter in "
            "it without having changed."
        )
        yield Reason(Verdict.READ_WITH_CARE, "contrast agent", text)


def _model(baseline: Acquisition, followup: Acquisition) -> Iterator[Reason]:
    models = [str(visit.protocol.get("manufacturer_model") or "").strip().casefold() for visit in (baseline, followup)]
    if all(models) and models[0] != models[1]:
        text = "The scanners are of different models: contrast and geometry differ a little everywhere."
        yield Reason(Verdict.READ_WITH_CARE, "scanner", text)
