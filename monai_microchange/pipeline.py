# SPDX-License-Identifier: Apache-2.0
"""The main job: two scans in, what changed out. Command line, bundle and Python call all pass through here."""

import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose
from yaml import YAMLError

import monai_microchange
from monai_microchange._frames import spacing_from_affine
from monai_microchange._shipped import shipped_bundle
from monai_microchange.data import InputError, ScanPair
from monai_microchange.enums import VISITS, ChangeType
from monai_microchange.export import change_in_native_space
from monai_microchange.export.result_folder import check_output, write_result
from monai_microchange.inferers import PairSlidingWindow
from monai_microchange.networks.weights import file_sha256
from monai_microchange.result import ChangeResult

__all__ = ["CompareOptions", "PairWorkflow", "compare"]

Progress = Callable[[str, float], None]
"""Called with the name of a stage and the share of it that is done, from 0 to 1."""

STAGES = {
    "ReadPaird": "reading",
    "ReadUserMasksd": "reading",
    "SegmentAnatomyd": "anatomy",
    "AlignMidSpaced": "alignment",
    "MergeAnatomyd": "anatomy",
    "AssessRegiond": "harmonisation",
    "HarmonizeVisitsd": "harmonisation",
    "ConcatItemsd": "harmonisation",
    "FindLesionsd": "lesions",
}
"""What the summary calls the time that a transform takes."""

CONFIG_SIGNS = ("$", "@", "%")
"""What MONAI's configuration takes for code, a reference or a macro; no text from the user may begin so."""

LOW_CORRELATION = 0.5
"""Below this the grey values of the two scans agree so badly that the alignment is in doubt."""


@dataclass(frozen=True)
class CompareOptions:
    """Choices of a comparison; the command's options of the same names. None leaves a choice to the bundle.

    Attributes:
        weights: file with weights to use in place of the bundle's.
        device: `auto`, `cpu` or `cuda`.
        roi: `brain` (the anatomy network finds it), or `none`: look everywhere but in air, for other organs.
        brain_mask: mask file in the baseline's space, in place of the network's.
        baseline_lesions: lesion mask in the baseline's space, in place of the rule.
        followup_lesions: lesion mask in the follow-up's space, in place of the rule.
        baseline_series: which DICOM series of the baseline's folder.
        followup_series: which DICOM series of the follow-up's folder.
        force: compare although PatientIDs differ, the follow-up is the older one, or the alignment is uncertain.
        allow_identical: compare a scan with itself.
        overwrite: replace an earlier result.
    """

    weights: str | Path | None = None
    device: str | None = None
    roi: str | None = None
    brain_mask: str | Path | None = None
    baseline_lesions: str | Path | None = None
    followup_lesions: str | Path | None = None
    baseline_series: str | None = None
    followup_series: str | None = None
    force: bool = False
    allow_identical: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Refuse values that no option has."""
        if self.roi not in (None, "brain", "none"):
            raise InputError(f"roi: expected brain or none, got {self.roi!r}.")
        if self.device not in (None, "auto", "cpu", "cuda"):
            raise InputError(f"device: expected auto, cpu or cuda, got {self.device!r}.")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError("device: expected a CUDA device, found none; use --device cpu.")
        for series in (self.baseline_series, self.followup_series):
            if series is not None and series.startswith(CONFIG_SIGNS):
                raise InputError(f"series: expected a UID, number or description, got {series!r}.")

    def settings(self) -> dict[str, Any]:
        """What of a bundle's configuration the choices replace. An absolute path is never taken for code."""
        chosen: dict[str, Any] = {
            name: getattr(self, name) for name in ("device", "roi", "baseline_series", "followup_series")
        }
        if self.weights is not None:
            chosen["weights"] = str(Path(self.weights).absolute())
        chosen |= {name: True for name in ("force", "allow_identical") if getattr(self, name)}
        return {name: value for name, value in chosen.items() if value is not None}


def compare(
    baseline: str | Path | Mapping[str, str | Path],
    followup: str | Path | Mapping[str, str | Path],
    output_dir: str | Path | None = None,
    *,
    bundle: str | Path | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> ChangeResult:
    """Compare two scans of one patient and say what is new, what grew, what shrank and what is gone.

    Args:
        baseline: NIfTI, NRRD or MHA file, folder with a DICOM series, or a dict of modality to such.
        followup: the same of the later visit.
        output_dir: folder for the files of the result; none are written if it is not given.
        bundle: folder of the MONAI bundle to use; `ms_lesion_change` of this package by default. A bundle's
            configuration can run any code: use only those you trust.
        progress: called with stage and share done.
        options: fields of `CompareOptions`.

    Returns:
        The result. No change is a result too: it has no lesion with a `change_type`.

    Raises:
        InputError: if the input cannot be compared; the message says why and what to do.

    Example:
        >>> from monai_microchange import compare
        >>> compare("missing.nii.gz", "missing.nii.gz")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        monai_microchange.data.errors.InputError: baseline: missing.nii.gz: expected an image file or a DICOM folder...
    """
    chosen = CompareOptions(**options)
    if output_dir is not None:
        check_output(output_dir, overwrite=chosen.overwrite)
    root = Path(bundle).absolute() if bundle is not None else shipped_bundle()
    pair = {
        "baseline": baseline,
        "followup": followup,
        "brain_mask": chosen.brain_mask,
        "baseline_lesion": chosen.baseline_lesions,
        "followup_lesion": chosen.followup_lesions,
    }
    workflow = _load_workflow(root, chosen.settings())
    return workflow.run(pair, output_dir, overwrite=chosen.overwrite, progress=progress)


def _load_workflow(root: Path, settings: Mapping[str, Any]) -> "PairWorkflow":
    """The workflow that a bundle's `inference.yaml` describes, with some of its settings replaced."""
    config = root / "configs" / "inference.yaml"
    if not config.is_file():
        raise InputError(f"{root}: expected a bundle with configs/inference.yaml, found none; check --bundle.")
    parser = ConfigParser()
    try:
        parser.read_config(str(config))
        parser.update({**settings, "bundle_root": str(root)})
        workflow = parser.get_parsed_content("workflow")
    except (KeyError, YAMLError) as error:
        raise InputError(f"{config}: expected the configuration of a change bundle; got {error}.") from error
    except RuntimeError as error:
        # MONAI wraps whatever a component raises; the user's mistake is inside
        if isinstance(error.__cause__, (ValueError, OSError)):
            raise InputError(f"the bundle cannot be used: {error.__cause__}") from error
        raise
    return workflow


class PairWorkflow:
    """The stages of a comparison, as a bundle's `inference.yaml` puts them together.

    Args:
        preprocessing: from paths to `image`, the network's input (2 * C, I, J, K), and what postprocessing needs.
        network: maps (B, 2 * C, *spatial) to logits (B, 3, *spatial), with its weights, on its device.
        inferer: leads the network over the pair.
        postprocessing: from `pred`, logits (3, I, J, K), to lesions.
        modalities: what the network was trained on, in order.
        bundle_root: folder of the bundle, whose name and version go into the record.
        weights: the network's file, whose hash goes into the record.
    """

    def __init__(
        self,
        preprocessing: Compose,
        network: torch.nn.Module,
        inferer: PairSlidingWindow,
        postprocessing: Compose,
        *,
        modalities: list[str],
        bundle_root: str | Path,
        weights: str | Path,
    ):
        self.preprocessing = preprocessing
        self.network = network
        self.inferer = inferer
        self.postprocessing = postprocessing
        self.modalities = tuple(modalities)
        self.bundle_root = Path(bundle_root)
        self.weights = Path(weights)

    def run(
        self,
        pair: Mapping[str, Any],
        output_dir: str | Path | None = None,
        *,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> ChangeResult:
        """Compare one pair.

        Args:
            pair: `baseline` and `followup`, and the user's masks if there are any, by path.
            output_dir: where the result is written, if it is.
            overwrite: replace an earlier result there.
            progress: called with stage and share done.
        """
        if output_dir is not None:
            check_output(output_dir, overwrite=overwrite)
        clock = _Clock(progress)
        data: dict[Any, Any] = dict(pair)
        for transform in self.preprocessing.transforms:
            with clock.stage(STAGES.get(type(transform).__name__, "preparation")):
                data = transform(data)
            if "pair" in data:
                self._check_modalities(data["pair"])
        with clock.stage("network"):
            data["pred"] = self._infer(data.pop("image"), lambda share: clock.tell("network", share))
        for transform in self.postprocessing.transforms:
            with clock.stage(STAGES.get(type(transform).__name__, "postprocessing")):
                data = transform(data)
        with clock.stage("native space"):
            native = _native_changes(data)
        with clock.stage("writing"):
            result = _result(data, native, {**self._provenance(data), "seconds": clock.seconds})
            if output_dir is not None:
                result = replace(result, folder=Path(output_dir).absolute())
                write_result(output_dir, result, overwrite=overwrite)
        return result

    def _check_modalities(self, pair: ScanPair) -> None:
        given = tuple(pair.baseline.images)
        if given != self.modalities:
            raise InputError(
                f"the bundle was trained on {', '.join(self.modalities)}; got {', '.join(given)}; give these, in this "
                "order, or another --bundle."
            )

    def _infer(self, image: torch.Tensor, tell: Callable[[float], None]) -> torch.Tensor:
        device = next(self.network.parameters()).device
        inputs = torch.as_tensor(image).as_subclass(torch.Tensor)[None].to(device)  # type: ignore[arg-type]
        with torch.inference_mode():
            return self.inferer(inputs, self.network, progress=tell)[0].cpu()

    def _provenance(self, data: Mapping[str, Any]) -> dict[str, Any]:
        pair, registration, anatomy = data["pair"], data["registration"], shipped_bundle("head_anatomy")
        warnings = list(pair.warnings)
        if registration.correlation < LOW_CORRELATION:
            warnings.append(
                f"after alignment the scans' grey values correlate by {registration.correlation:.2f} only: look at the "
                "alignment before you trust the change."
            )
        packages = ("torch", "monai", "numpy", "scipy", "SimpleITK", "nibabel", "pydicom")
        return {
            "software": {
                "monai_microchange": monai_microchange.__version__,
                "python": sys.version.split()[0],
                **{name: version(name) for name in packages},
            },
            "bundle": _bundle_record(self.bundle_root) | {"weights_sha256": file_sha256(self.weights)},
            "anatomy": _bundle_record(anatomy) | {"weights_sha256": file_sha256(anatomy / "models" / "model.pt")},
            "device": str(next(self.network.parameters()).device),
            "inputs": {visit: _input_record(getattr(pair, visit)) for visit in VISITS},
            "interval_days": pair.interval_days,
            "seeds": {"registration": next(t.seed for t in self.preprocessing.transforms if hasattr(t, "seed"))},
            "region": data["region"],
            "lesion_source": data["lesion_source"],
            "registration": {
                "inverse_consistency_mm": round(registration.inverse_consistency_mm, 4),
                "disagreement_mm": round(registration.disagreement_mm, 4),
                "normalized_mutual_information": round(registration.normalized_mutual_information, 4),
                "overlap": round(registration.overlap, 4),
                "correlation": round(registration.correlation, 4),
            },
            "warnings": warnings,
            "note": "For research use only; not a medical device.",
        }


def _bundle_record(root: Path) -> dict[str, Any]:
    """Name and version of a bundle, as its metadata have them."""
    facts = ConfigParser.load_config_file(str(root / "configs" / "metadata.json"))
    return {"name": root.name, "version": facts.get("version")}


def _input_record(visit: Any) -> dict[str, Any]:
    """What may be told of an input: no name, no path, no date."""
    return {
        "modalities": list(visit.images),
        "sha256": dict(visit.modality_sha256),
        "shape": list(visit.shape[-3:]),
        "spacing_mm": [round(float(s), 4) for s in spacing_from_affine(np.asarray(visit.affine))],
    }


def _native_changes(data: dict[str, Any]) -> dict[str, MetaTensor]:
    """Change on each native grid; a lesion that finds no place there gets a note in its row."""
    native = {}
    for visit in VISITS:
        scan = getattr(data["pair"], visit).reference
        labels, lost = change_in_native_space(
            data["change"].numpy()[0],
            data["lesion_ids"].numpy()[0],
            mid_affine=data["change"].affine.numpy(),
            native_affine=scan.affine.numpy(),
            native_shape=tuple(scan.shape[1:]),
            mid_to_native=data["mid_space"].mid_to(visit),
            scan=visit,
        )
        data["lesions"] = [
            replace(row, note="; ".join(part for part in (row.note, lost.get(row.id, "")) if part))
            for row in data["lesions"]
        ]
        native[visit] = MetaTensor(torch.from_numpy(labels)[None], affine=scan.affine)
    return native


def _result(data: Mapping[str, Any], native: dict[str, MetaTensor], provenance: dict[str, Any]) -> ChangeResult:
    maps = ("change", "lesion_ids", "gain_probability", "loss_probability", "assessed")
    names = [*maps, *VISITS, *(f"{visit}_lesion" for visit in VISITS)]
    result = ChangeResult(
        lesions=tuple(data["lesions"]),
        **{name: data[name] for name in names},
        native_change=native,
        space=data["mid_space"],
        interval_days=data["pair"].interval_days,
        provenance=provenance,
    )
    changed = [lesion for lesion in result.lesions if lesion.change_type is not None]
    provenance["counts"] = result.counts
    provenance["volume_mm3"] = {
        "gain": round(sum(lesion.gain_mm3 for lesion in changed), 2),
        "loss": round(sum(lesion.loss_mm3 for lesion in changed), 2),
        "assessed": round(
            float(result.assessed.sum()) * float(np.prod(spacing_from_affine(result.assessed.affine.numpy())))
        ),
    }
    provenance["change_labels"] = {kind.name.lower(): int(kind) for kind in ChangeType}
    provenance["peak_memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return result


class _Clock:
    """Tells progress and keeps the seconds of each stage."""

    def __init__(self, progress: Progress | None):
        self.tell: Progress = progress or (lambda stage, share: None)
        self.seconds: dict[str, float] = {}
        self._stage, self._start = "", 0.0

    def stage(self, name: str) -> "_Clock":
        self._stage = name
        return self

    def __enter__(self) -> None:
        self.tell(self._stage, 0.0)
        self._start = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        spent = time.perf_counter() - self._start
        self.seconds[self._stage] = round(self.seconds.get(self._stage, 0.0) + spent, 3)
        if error[0] is None:
            self.tell(self._stage, 1.0)
