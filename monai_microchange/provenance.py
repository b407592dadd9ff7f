# SPDX-License-Identifier: Apache-2.0
"""How a result came about: what `result.json` holds beside the counts."""

import resource
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from monai.bundle import ConfigParser

import monai_microchange
from monai_microchange._frames import spacing_from_affine
from monai_microchange._shipped import shipped_bundle
from monai_microchange.data import Visit
from monai_microchange.enums import VISITS, ChangeType, Verdict
from monai_microchange.networks.weights import file_sha256
from monai_microchange.quality import Comparability
from monai_microchange.result import ChangeResult
from monai_microchange.transforms.registration import LinearRegistration
from monai_microchange.transforms.registration.deformable import DeformableRegistration

__all__ = ["outcome_record", "provenance_record"]

PACKAGES = ("torch", "monai", "numpy", "scipy", "SimpleITK", "nibabel", "pydicom")
"""Whose versions are recorded."""


def provenance_record(
    data: Mapping[str, Any], *, bundle_root: Path, weights: Path, device: str, seeds: Mapping[str, int]
) -> dict[str, Any]:
    """What was used, on what, and how sure the alignment is. It names no file, no patient and no date.

    Args:
        data: what the stages of a `PairWorkflow` left.
        bundle_root: folder of the bundle.
        weights: file of the network's weights.
        device: that the network ran on.
        seeds: by what they were for.

    Returns:
        A dictionary for JSON.
    """
    pair, registration, anatomy = data["pair"], data["registration"], shipped_bundle("head_anatomy")
    comparability: Comparability = data["comparability"]
    return {
        "software": {
            "monai_microchange": monai_microchange.__version__,
            "python": sys.version.split()[0],
            **{name: version(name) for name in PACKAGES},
        },
        "bundle": _bundle_record(bundle_root) | {"weights_sha256": file_sha256(weights)},
        "anatomy": _bundle_record(anatomy) | {"weights_sha256": file_sha256(anatomy / "models" / "model.pt")},
        "device": device,
        "inputs": {visit: _input_record(getattr(pair, visit)) for visit in VISITS},
        "interval_days": pair.interval_days,
        "seeds": dict(seeds),
        "region": data["region"],
        "lesion_source": data["lesion_source"],
        "operating_point": data.get("operating_point"),
        "registration": _registration_record(registration, data.get("deformation")),
        "comparability": comparability.record(),
        "warnings": [*pair.warnings, *_in_doubt(data), *_forced(comparability), *_uncalibrated(data)],
        "note": "For research use only; not a medical device.",
    }


def outcome_record(result: ChangeResult) -> dict[str, Any]:
    """Numbers of what was found, and the memory that it took."""
    changed = [lesion for lesion in result.lesions if lesion.change_type is not None]
    voxel_mm3 = float(np.prod(spacing_from_affine(result.assessed.affine.numpy())))
    return {
        "counts": result.counts,
        "volume_mm3": {
            "gain": round(sum(lesion.gain_mm3 for lesion in changed), 2),
            "loss": round(sum(lesion.loss_mm3 for lesion in changed), 2),
            "assessed": round(float(result.assessed.sum()) * voxel_mm3),
        },
        "change_labels": {kind.name.lower(): int(kind) for kind in ChangeType},
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def _registration_record(
    registration: LinearRegistration, deformation: DeformableRegistration | None
) -> dict[str, Any]:
    """How sure the alignment is."""
    numbers = (
        "inverse_consistency_mm",
        "disagreement_mm",
        "settled_share",
        "normalized_mutual_information",
        "overlap",
        "correlation",
    )
    record: dict[str, Any] = {name: round(float(getattr(registration, name)), 4) for name in numbers}
    record |= {"mirrored": bool(registration.mirrored), "deformable": deformation is not None}
    if deformation is not None:
        both = deformation.correlation_before, deformation.correlation_after
        record["local_correlation"] = [round(float(value), 4) for value in both]
    return record


def _in_doubt(data: Mapping[str, Any]) -> list[str]:
    """Doubts that stopped nothing, by force; as `AlignMidSpaced.doubt` has them, of heads or of other organs."""
    is_head = all(f"{visit}_brain" in data for visit in VISITS)
    registration: LinearRegistration = data["registration"]
    doubts = registration.doubts() if is_head else registration.doubts(min_settled=0.0)
    return [f"Alignment: {sentence}" for sentence in doubts]


def _forced(comparability: Comparability) -> list[str]:
    """What forbade the comparison that was made all the same."""
    worst = [reason for reason in comparability.reasons if reason.verdict is Verdict.DO_NOT_COMPARE]
    return [f"{reason.sentence} Compared all the same (force)." for reason in worst]


def _uncalibrated(data: Mapping[str, Any]) -> list[str]:
    """That nobody measured how sure one may be here."""
    point = data.get("operating_point", {}).get("confidence", "")
    if " for " not in point:
        return []
    return [f"Confidence: {point}; false lesions may be more, or fewer, than asked for."]


def _bundle_record(root: Path) -> dict[str, Any]:
    """Name and version of a bundle, as its metadata have them."""
    facts = ConfigParser.load_config_file(str(root / "configs" / "metadata.json"))
    return {"name": root.name, "version": facts.get("version")}


def _input_record(visit: Visit) -> dict[str, Any]:
    """What may be told of an input: no name, no path, no date."""
    return {
        "modalities": list(visit.images),
        "sha256": dict(visit.modality_sha256),
        "shape": list(visit.shape[-3:]),
        "spacing_mm": [round(float(s), 4) for s in spacing_from_affine(np.asarray(visit.affine))],
    }
