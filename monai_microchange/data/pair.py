# SPDX-License-Identifier: Apache-2.0
"""Reads two visits as a pair and refuses what cannot be compared."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from monai.transforms import MapTransform

from monai_microchange._frames import spacing_from_affine
from monai_microchange.data.errors import InputError
from monai_microchange.data.mask import read_mask_like
from monai_microchange.data.visit import DEFAULT_MODALITY, Visit, read_visit
from monai_microchange.enums import VISITS

__all__ = [
    "MAX_FIELD_OF_VIEW_RATIO",
    "MAX_SPACING_MM",
    "MAX_SPACING_RATIO",
    "MIN_EXTENT_MM",
    "ReadPaird",
    "ScanPair",
    "Visit",
    "modality_keys",
    "pair_visits",
    "read_mask_like",
    "read_pair",
    "read_visit",
]

MAX_SPACING_MM = 10.0
"""Largest voxel edge: lesions of a few mm vanish in thicker slices."""

MAX_SPACING_RATIO = 10.0
"""Largest ratio of the two visits' longest voxel edges: 6 mm slices against 0.7 mm voxels still pass."""

MAX_FIELD_OF_VIEW_RATIO = 8.0
"""Largest ratio of the two imaged volumes: a slab of 30 mm against a whole head still passes."""

MIN_EXTENT_MM = 30.0
"""Shortest extent of a scan along any of its axes: less gives registration nothing to hold on to."""

Source: TypeAlias = str | Path | Mapping[str, str | Path]
Series: TypeAlias = str | int | Mapping[str, str | int] | None


def modality_keys(modalities: Sequence[str], suffix: str = "") -> list[str]:
    """Keys of a pair's images, as `ReadPaird` names them: the baseline's by modality, then the follow-up's.

    >>> modality_keys(["FLAIR", "T1"])
    ['baseline', 'baseline+T1', 'followup', 'followup+T1']
    """
    further = [f"+{modality}" for modality in modalities[1:]]
    return [f"{visit}{name}{suffix}" for visit in VISITS for name in ("", *further)]


@dataclass(frozen=True)
class ScanPair:
    """Two visits of one patient that can be compared.

    Args:
        baseline: the earlier visit.
        followup: the later visit, with the same modalities in the same order.
        interval_days: days from baseline to follow-up (negative where forced), None where a date is unknown.
        warnings: doubts about the input, in sentences; for the record of the result.
    """

    baseline: Visit
    followup: Visit
    interval_days: int | None
    warnings: tuple[str, ...] = ()


def read_pair(
    baseline: Source,
    followup: Source,
    *,
    baseline_series: Series = None,
    followup_series: Series = None,
    force: bool = False,
    allow_identical: bool = False,
    modality: str = DEFAULT_MODALITY,
) -> ScanPair:
    """Read two visits and check that they can be compared.

    Args:
        baseline: path or dict of modality names to paths, as in `read_visit`.
        followup: the same for the later visit.
        baseline_series: which DICOM series of the baseline, as in `read_visit`.
        followup_series: which DICOM series of the follow-up.
        force: accept different PatientIDs and a follow-up dated before the baseline, with a warning in the result.
        allow_identical: accept the same file at both visits.
        modality: name of the modality of bare paths.

    Raises:
        InputError: whatever `read_visit` refuses; different modalities; the same file twice; spacing or field of view
            beyond the limits of this module; different patients or reversed dates without `force`.

    Example:
        >>> read_pair("a.nii.gz", "b.nii.gz")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        monai_microchange.data.errors.InputError: baseline: a.nii.gz: expected an image file or a DICOM folder, ...
    """
    visits = {}
    for name, source, series in zip(VISITS, (baseline, followup), (baseline_series, followup_series), strict=True):
        visits[name] = read_visit(source, series=series, name=name, modality=modality, force=force)
    return pair_visits(**visits, force=force, allow_identical=allow_identical)


def pair_visits(baseline: Visit, followup: Visit, *, force: bool = False, allow_identical: bool = False) -> ScanPair:
    """Check that two visits, already read, can be compared.

    Args:
        baseline: the earlier visit.
        followup: the later visit.
        force: as in `read_pair`.
        allow_identical: as in `read_pair`.

    Raises:
        InputError: as `read_pair` does for visits that do not fit together.
    """
    first, second = baseline, _in_order_of(followup, baseline)
    if not allow_identical:
        _refuse_identical(first, second)
    for key in first.images:
        _refuse_incomparable(first, second, key)
    interval_days = (second.date - first.date).days if first.date and second.date else None
    warnings = first.warnings + second.warnings + _mismatches(first, second, interval_days, force)
    return ScanPair(baseline=first, followup=second, interval_days=interval_days, warnings=warnings)


def _in_order_of(visit: Visit, other: Visit) -> Visit:
    """The visit, whose modalities must be those of the other; the same one must come first."""
    mine, theirs = list(visit.images), list(other.images)
    if sorted(mine) != sorted(theirs) or mine[0] != theirs[0]:
        raise InputError(
            f"expected the same modalities at both visits, the same one first, got baseline: {', '.join(theirs)} and "
            f"followup: {', '.join(mine)}; give the same ones in the same order."
        )
    kinds = [visit.protocol.get("modality"), other.protocol.get("modality")]
    if None not in kinds and kinds[0] != kinds[1]:
        raise InputError(f"expected one kind of scan, got baseline: {kinds[1]} and followup: {kinds[0]} (DICOM).")
    return replace(visit, images={key: visit.images[key] for key in theirs})


def _refuse_identical(first: Visit, second: Visit) -> None:
    same = [key for key, value in first.modality_sha256.items() if second.modality_sha256[key] == value]
    if same:
        raise InputError(
            f"expected two different scans, got the same {same[0]} twice ({first.source} and {second.source}); check "
            "the paths, or use --allow-identical to compare a scan with itself."
        )


def _refuse_incomparable(first: Visit, second: Visit, key: str) -> None:
    """Refuse spacing or fields of view of one modality beyond the limits of this module."""
    spacings, extents = [], []
    for name, visit in zip(VISITS, (first, second), strict=True):
        image = visit.images[key]
        spacing = spacing_from_affine(np.asarray(image.affine))
        extent = spacing * image.shape[-3:]
        if spacing.max() > MAX_SPACING_MM:
            raise InputError(f"{name} {key}: expected voxels up to {MAX_SPACING_MM:g} mm, got {_mm(spacing)}.")
        if extent.min() < MIN_EXTENT_MM:
            raise InputError(f"{name} {key}: expected an extent of {MIN_EXTENT_MM:g} mm or more, got {_mm(extent)}.")
        spacings.append(spacing)
        extents.append(extent)
    edges = [spacing.max() for spacing in spacings]
    if max(edges) / min(edges) > MAX_SPACING_RATIO:
        raise InputError(
            f"{key}: expected spacings within a factor of {MAX_SPACING_RATIO:g}, got baseline {_mm(spacings[0])} and "
            f"followup {_mm(spacings[1])}; choose scans that are more alike."
        )
    volumes = [float(np.prod(extent)) for extent in extents]
    if max(volumes) / min(volumes) > MAX_FIELD_OF_VIEW_RATIO:
        raise InputError(
            f"{key}: expected fields of view within a factor of {MAX_FIELD_OF_VIEW_RATIO:g} in volume, got baseline "
            f"{_mm(extents[0])} and followup {_mm(extents[1])}; choose scans that are more alike."
        )


def _mm(sizes: np.ndarray) -> str:
    return " x ".join(f"{size:.3g}" for size in sizes) + " mm"


def _mismatches(first: Visit, second: Visit, interval_days: int | None, force: bool) -> tuple[str, ...]:
    """What `force` lets pass, as sentences without the patients' ids."""
    found = []
    if first.patient_id and second.patient_id and first.patient_id != second.patient_id:
        found.append("baseline and followup are of different patients (their PatientID differs)")
    if interval_days is not None and interval_days < 0:
        found.append(f"followup is dated {-interval_days} days before baseline")
    if found and not force:
        raise InputError(f"{' and '.join(found)}; check the order and the paths, or use --force if this is right.")
    return tuple(f"{sentence}; compared all the same (force)." for sentence in found)


class ReadPaird(MapTransform):
    """Read baseline and follow-up of a data dictionary as a pair, with every check of `read_pair`.

    Takes a path, or a dict of modality names to paths, under "baseline" and "followup", and returns a copy of the
    dictionary with images (1, I, J, K), affine to RAS mm, there; further modalities under "baseline+T1",
    "followup+T1" and so on, each on its own grid; and the `ScanPair` under `pair_key`. Other keys pass unchanged.

    Args:
        baseline_series: which DICOM series of the baseline, as in `read_visit`.
        followup_series: which DICOM series of the follow-up.
        force: accept different patients and reversed dates.
        allow_identical: accept the same file at both visits.
        modality: name of the modality of bare paths.
        pair_key: where the `ScanPair` goes.

    Raises:
        KeyError: a visit is missing in the dictionary.
        InputError: whatever `read_pair` refuses.

    Example:
        >>> ReadPaird(allow_identical=True)({"baseline": "a.nii.gz"})
        Traceback (most recent call last):
        ...
        KeyError: 'followup'
    """

    def __init__(
        self,
        *,
        baseline_series: Series = None,
        followup_series: Series = None,
        force: bool = False,
        allow_identical: bool = False,
        modality: str = DEFAULT_MODALITY,
        pair_key: str = "pair",
    ) -> None:
        super().__init__(VISITS)
        self.baseline_series = baseline_series
        self.followup_series = followup_series
        self.force = force
        self.allow_identical = allow_identical
        self.modality = modality
        self.pair_key = pair_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the dictionary with the images in place of the paths."""
        pair = read_pair(
            data["baseline"],
            data["followup"],
            baseline_series=self.baseline_series,
            followup_series=self.followup_series,
            force=self.force,
            allow_identical=self.allow_identical,
            modality=self.modality,
        )
        result = dict(data)
        for name, visit in zip(VISITS, (pair.baseline, pair.followup), strict=True):
            for index, (modality, image) in enumerate(visit.images.items()):
                result[f"{name}+{modality}" if index else name] = image
        result[self.pair_key] = pair
        return result
