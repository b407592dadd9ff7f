# SPDX-License-Identifier: Apache-2.0
"""The main job: two scans in, what changed out. Command line, bundle and Python call all pass through here."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Compose
from yaml import YAMLError

from monai_microchange._shipped import shipped_bundle
from monai_microchange.data import InputError, ScanPair
from monai_microchange.enums import VISITS
from monai_microchange.export import change_in_native_space
from monai_microchange.export.result_folder import check_output, write_result
from monai_microchange.inferers import PairSlidingWindow
from monai_microchange.options import CompareOptions
from monai_microchange.provenance import outcome_record, provenance_record
from monai_microchange.result import ChangeResult
from monai_microchange.stages import STAGES, Progress, StageClock

__all__ = ["CompareOptions", "PairWorkflow", "compare", "load_workflow"]

NEEDED = frozenset({"ReadPaird", "AlignMidSpaced", "JudgePaird", "AssessRegiond"})
"""Transforms whose results every record holds."""


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
    workflow = load_workflow(root, chosen.settings())
    return workflow.run(pair, output_dir, overwrite=chosen.overwrite, progress=progress)


def load_workflow(root: Path, settings: Mapping[str, Any]) -> "PairWorkflow":
    """The workflow that a bundle's `inference.yaml` describes, with some of its settings replaced.

    Args:
        root: folder of the bundle.
        settings: values by name, as `CompareOptions.settings` gives them.

    Raises:
        InputError: if there is no such bundle, or it cannot be used.
    """
    config = root / "configs" / "inference.yaml"
    if not config.is_file():
        raise InputError(f"{root}: expected a bundle with configs/inference.yaml, found none; check --bundle.")
    parser = ConfigParser()
    try:
        parser.read_config(str(config))
        if unknown := sorted(set(settings) - set(parser.get())):
            raise InputError(
                f"{config}: expected a bundle that knows {', '.join(unknown)}; leave it out, or update it."
            )
        parser.update({**settings, "bundle_root": str(root)})
        workflow = parser.get_parsed_content("workflow")
    except (KeyError, YAMLError) as error:
        raise InputError(f"{config}: expected the configuration of a change bundle; got {error}.") from error
    except RuntimeError as error:
        # MONAI wraps whatever a component raises; the user's mistake is inside
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from error
        if isinstance(error.__cause__, (ValueError, OSError)):
            raise InputError(f"the bundle cannot be used: {error.__cause__}") from error
        if isinstance(error.__cause__, TypeError):
            raise InputError(
                f"{config}: expected the configuration of a change bundle of this version; got one with "
                f"{error.__cause__}; compare it with that of the shipped bundle."
            ) from error
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

    Raises:
        ValueError: if a transform that the result cannot do without is missing.
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
        names = {type(transform).__name__ for transform in preprocessing.transforms}
        if missing := NEEDED - names:
            raise ValueError(
                f"expected preprocessing with {', '.join(sorted(missing))}, as the shipped bundle has; got "
                f"{', '.join(sorted(names))}"
            )
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
        done: Collection[str] = (),
    ) -> ChangeResult:
        """Compare one pair.

        Args:
            pair: `baseline` and `followup`, and the user's masks if there are any, by path.
            output_dir: where the result is written, if it is.
            overwrite: replace an earlier result there.
            progress: called with stage and share done.
            done: class names of preprocessing transforms that `pair` has been through already.
        """
        if output_dir is not None:
            check_output(output_dir, overwrite=overwrite)
        clock = StageClock(progress)
        data: dict[Any, Any] = dict(pair)
        for transform in self.preprocessing.transforms:
            if type(transform).__name__ in done:
                continue
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
        seed = next(transform.seed for transform in self.preprocessing.transforms if hasattr(transform, "seed"))
        return provenance_record(
            data,
            bundle_root=self.bundle_root,
            weights=self.weights,
            device=str(next(self.network.parameters()).device),
            seeds={"registration": seed},
        )


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
            warp=data["mid_space"].warp(visit),
            scan=visit,
        )
        data["lesions"] = [
            replace(row, note="; ".join(part for part in (row.note, lost.get(row.id, "")) if part))
            for row in data["lesions"]
        ]
        native[visit] = MetaTensor(torch.from_numpy(labels)[None], affine=scan.affine)
    return native


def _result(data: Mapping[str, Any], native: dict[str, MetaTensor], provenance: dict[str, Any]) -> ChangeResult:
    maps = ("change", "lesion_ids", "gain_probability", "loss_probability", "assessed", "misalignment")
    names = [*maps, *VISITS, *(f"{visit}_lesion" for visit in VISITS)]
    result = ChangeResult(
        lesions=tuple(data["lesions"]),
        **{name: data[name] for name in names},
        comparability=data["comparability"],
        native_change=native,
        space=data["mid_space"],
        interval_days=data["pair"].interval_days,
        provenance=provenance,
    )
    provenance |= outcome_record(result)
    return result
