# SPDX-License-Identifier: Apache-2.0
"""Compare three or more visits of one patient: all in one space, pair by pair, each lesion followed through."""

import resource
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from monai.data import MetaTensor
from monai.transforms import Transform

from monai_microchange._shipped import shipped_bundle
from monai_microchange.data import InputError, ScanPair
from monai_microchange.enums import VISITS
from monai_microchange.options import CompareOptions
from monai_microchange.pipeline import PairWorkflow, load_workflow
from monai_microchange.result import ChangeResult
from monai_microchange.series.align import SeriesAlignment, align_visits
from monai_microchange.series.folder import check_series_output, write_series_result
from monai_microchange.series.follow import follow_lesions
from monai_microchange.series.poses import pairs_to_compare
from monai_microchange.series.records import SeriesResult
from monai_microchange.series.summary import pair_facts, series_facts
from monai_microchange.series.visits import (
    check_visits,
    common_anatomy,
    days_since_first,
    read_visits,
    segment_visits,
)
from monai_microchange.stages import Progress, StageClock
from monai_microchange.transforms import AlignMidSpaced

__all__ = ["compare_series"]

PAIR_OPTIONS = (
    "brain_mask",
    "baseline_lesions",
    "followup_lesions",
    "baseline_series",
    "followup_series",
    "deformable",
)
"""Choices for two visits only: masks lie in the space of one visit, a deformation leads to a space of its own."""

DONE_ONCE = ("ReadPaird", "ReadUserMasksd", "SegmentAnatomyd", "MergeAnatomyd")
"""Stages of a pair that are done for all visits together."""
GATE = "JudgePaird"
"""The stage that may refuse a pair: all pairs pass it before the first one goes on."""


def compare_series(
    visits: Sequence[str | Path],
    output_dir: str | Path | None = None,
    *,
    bundle: str | Path | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> SeriesResult:
    """Compare three or more scans of one patient: consecutive ones, and the first with the last.

    All visits are brought into one space half-way between all of them, and each is resampled into it once, so that a
    voxel is the same place in every pair and no visit is privileged. Each lesion has one number at all visits.

    Args:
        visits: NIfTI, NRRD or MHA files, or folders with a DICOM series, in the order of time.
        output_dir: folder for the files of the result; none are written if it is not given.
        bundle: folder of the MONAI bundle to use, as in `compare`.
        progress: called with stage, or pair, and share done.
        options: fields of `CompareOptions`, but for those of two visits (masks, DICOM series, `deformable`).

    Returns:
        The result, with the full result of each pair.

    Raises:
        InputError: if the input cannot be compared; the message says why and what to do.

    Example:
        >>> compare_series(["a.nii.gz", "b.nii.gz"])
        Traceback (most recent call last):
        ...
        monai_microchange.data.errors.InputError: expected three or more visits, got 2; for two there is `compare`.
    """
    chosen = CompareOptions(**options)
    _refuse(visits, chosen)
    if output_dir is not None:
        check_series_output(output_dir, overwrite=chosen.overwrite)
    workflow = load_workflow(Path(bundle).absolute() if bundle is not None else shipped_bundle(), chosen.settings())
    if len(workflow.modalities) > 1:
        raise InputError(
            f"the bundle compares {', '.join(workflow.modalities)} together, and a series has one scan a visit: give "
            "another --bundle, of one modality, or compare the visits two at a time."
        )
    clock = StageClock(progress)
    result = _compared(visits, workflow, chosen, clock)
    if output_dir is not None:
        with clock.stage("writing"):
            result = write_series_result(output_dir, result, overwrite=chosen.overwrite)
    return result


def _refuse(visits: Sequence[str | Path], chosen: CompareOptions) -> None:
    """Refuse what makes no series."""
    if len(visits) < 3:
        raise InputError(f"expected three or more visits, got {len(visits)}; for two there is `compare`.")
    for name in PAIR_OPTIONS:
        if getattr(chosen, name):
            raise InputError(f"{name}: can be used with two visits only, got {len(visits)} visits; leave it out.")


def _compared(
    sources: Sequence[str | Path], workflow: PairWorkflow, chosen: CompareOptions, clock: StageClock
) -> SeriesResult:
    stages = workflow.preprocessing.transforms
    with clock.stage("reading"):
        scans = read_visits(sources, modality=workflow.modalities[0], force=chosen.force)
        pairs = check_visits(scans, force=chosen.force, allow_identical=chosen.allow_identical)
    with clock.stage("anatomy"):
        anatomy, brains = segment_visits(scans, stages, tell=lambda share: clock.tell("anatomy", share))
    with clock.stage("alignment"):
        aligner = next(stage for stage in stages if isinstance(stage, AlignMidSpaced))
        images = [scan.reference for scan in scans]
        alignment = align_visits(images, brains, aligner, tell=lambda share: clock.tell("alignment", share))
        common = common_anatomy(anatomy, alignment)
    inputs = {(a, b): _input(pairs[a, b], (a, b), alignment, brains) | common for a, b in pairs_to_compare(len(scans))}
    with clock.stage("quality"):
        verdicts = _judged(stages, inputs, clock)
    found = {}
    for (a, b), data in inputs.items():
        found[a + 1, b + 1] = _compared_pair(workflow, data | verdicts[a, b], _name((a, b)), clock)
    with clock.stage("lesions"):
        results, visits, lesions, ids = follow_lesions(
            found, days=days_since_first(scans), anatomy=common.get("anatomy")
        )
    results = {pair: replace(r, provenance=pair_facts(pair, len(scans), r)) for pair, r in results.items()}
    facts = series_facts(scans, visits, results, lesions, alignment)
    facts |= {"seconds": clock.seconds}
    facts["peak_memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return SeriesResult(visits, results, lesions, ids, alignment.loop_closure_mm, facts)


def _name(pair: tuple[int, int]) -> str:
    return f"visits {pair[0] + 1} and {pair[1] + 1}"


def _input(
    pair: ScanPair, numbers: tuple[int, int], alignment: SeriesAlignment, brains: Sequence[MetaTensor | None]
) -> dict[str, Any]:
    """What a pair's stages start from, once those of `DONE_ONCE` are through."""
    data: dict[str, Any] = {"pair": pair, **{visit: getattr(pair, visit).reference for visit in VISITS}}
    for visit, number in zip(VISITS, numbers, strict=True):
        if brains[number] is not None:
            data[f"{visit}_brain"] = brains[number]
    return data | {"mid_space": alignment.mid_space(*numbers), "registration": alignment.registrations[numbers]}


def _judged(
    stages: Sequence[Transform], inputs: Mapping[tuple[int, int], Mapping[str, Any]], clock: StageClock
) -> dict[tuple[int, int], dict[str, Any]]:
    """What the quality gate says of each pair, before the network spends minutes on any.

    The scans in the common space are not kept: to resample them again takes a second, to keep them all much memory.

    Raises:
        InputError: if any pair must not be compared, with the reasons of each.
    """
    names = [type(stage).__name__ for stage in stages]
    until_judged = [stage for stage in stages[: names.index(GATE) + 1] if type(stage).__name__ not in DONE_ONCE]
    verdicts, refusals = {}, []
    for number, (pair, start) in enumerate(inputs.items()):
        clock.tell("quality", number / len(inputs))
        data: Any = start
        try:
            with _naming(_name(pair)):
                for stage in until_judged:
                    data = stage(data)
            verdicts[pair] = {name: data[name] for name in ("misalignment", "comparability")}
        except InputError as error:
            refusals.append(str(error))
    if refusals:
        raise InputError("\n".join(refusals))
    return verdicts


def _compared_pair(workflow: PairWorkflow, data: Mapping[str, Any], name: str, clock: StageClock) -> ChangeResult:
    """The result of one pair in the common space."""

    def tell(stage: str, share: float) -> None:
        # one bar a pair: the network takes most of the time
        if stage == "network":
            clock.tell(name, 0.9 * share)

    with clock.stage(name), _naming(name):
        return workflow.run(data, progress=tell, done=(*DONE_ONCE, GATE))


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Say in the message which visits cannot be compared."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{name} (baseline and followup): {error}") from error
