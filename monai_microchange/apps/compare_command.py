# SPDX-License-Identifier: Apache-2.0
"""`microchange compare` and `microchange demo`: two visits, or a series of them."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from monai_microchange.apps.stderr import errors

__all__ = ["VISIT_OPTIONS", "compare", "demo"]

VISIT_OPTIONS = ("--baseline", "--followup")
"""Options that take several values: one for each modality."""


class Device(StrEnum):
    """Where the networks run."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Region(StrEnum):
    """Where change is looked for."""

    BRAIN = "brain"
    NONE = "none"


class Freedom(StrEnum):
    """Degrees of freedom of the alignment."""

    RIGID = "6"
    SCALE = "7"
    SCALES = "9"
    AFFINE = "12"


def compare(
    visits: Annotated[
        list[str] | None,
        typer.Argument(help="Scans in the order of time, two or more: NIfTI, NRRD, MHA, or DICOM folders."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the result.")] = Path("microchange_result"),
    baseline_modalities: Annotated[
        list[str] | None, typer.Option("--baseline", help="Earlier scan by modality: FLAIR=a.nii.gz T1=b.nii.gz.")
    ] = None,
    followup_modalities: Annotated[list[str] | None, typer.Option("--followup", help="Later scan by modality.")] = None,
    baseline_series: Annotated[str | None, typer.Option(help="Which DICOM series: UID, number or description.")] = None,
    followup_series: Annotated[str | None, typer.Option(help="Which DICOM series of the later scan.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="MONAI bundle to use in place of the shipped one.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Weights to use in place of the bundle's.")] = None,
    roi: Annotated[Region | None, typer.Option(help="brain, or none for other organs.")] = None,
    brain_mask: Annotated[Path | None, typer.Option(help="Your brain mask, in the earlier scan's space.")] = None,
    baseline_lesions: Annotated[Path | None, typer.Option(help="Your lesion mask of the earlier scan.")] = None,
    followup_lesions: Annotated[Path | None, typer.Option(help="Your lesion mask of the later scan.")] = None,
    false_per_pair: Annotated[
        float | None,
        typer.Option(help="False lesions that a pair without change may have on average: less is surer, finds less."),
    ] = None,
    dof: Annotated[
        Freedom | None, typer.Option(help="Alignment: 6 rigid, 7 with one scale, 9 with three scales, 12 affine.")
    ] = None,
    deformable: Annotated[
        bool, typer.Option("--deformable", help="Bend the scans onto each other too: takes out atrophy.")
    ] = False,
    device: Annotated[Device | None, typer.Option(help="Where the networks run.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier result.")] = False,
    allow_identical: Annotated[bool, typer.Option("--allow-identical", help="Compare a scan with itself.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Compare although patient, dates, alignment or scans are in doubt.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing unless something is wrong.")] = False,
) -> None:
    """Compare scans of one patient; write maps, table and segmentation of what changed.

    With more than two visits all are brought into one space, consecutive ones and the first with the last are compared,
    and each lesion keeps its number throughout.
    """
    pair_options: dict[str, Any] = {
        "brain_mask": brain_mask,
        "baseline_lesions": baseline_lesions,
        "followup_lesions": followup_lesions,
        "baseline_series": baseline_series,
        "followup_series": followup_series,
        "deformable": deformable,
    }
    options: dict[str, Any] = {
        "bundle": bundle,
        "weights": weights,
        "device": device and device.value,
        "roi": roi and roi.value,
        "false_per_pair": false_per_pair,
        "degrees_of_freedom": dof and int(dof.value),
        "force": force,
        "allow_identical": allow_identical,
        "overwrite": overwrite,
    }
    if visits and len(visits) > 2:
        modalities = {"baseline": baseline_modalities, "followup": followup_modalities}
        _refuse_pair_options(modalities | pair_options, len(visits))
        _compare_series(visits, output, quiet=quiet, **options)
        return
    given = [*(visits or []), None, None]
    first = _source("baseline", given[0], baseline_modalities)
    second = _source("followup", given[1], followup_modalities)
    _compare(first, second, output, quiet=quiet, **pair_options, **options)


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the result.")] = Path("microchange_demo"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier result.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing unless something is wrong.")] = False,
) -> None:
    """Compare the sample pair that comes with the package."""
    from monai_microchange._shipped import shipped_sample

    sample = shipped_sample()
    _compare(str(sample / "baseline.nii.gz"), str(sample / "followup.nii.gz"), output, quiet=quiet, overwrite=overwrite)


def _source(name: str, single: str | None, several: list[str] | None) -> str | dict[str, str]:
    """A path, or paths by modality, of one visit."""
    if (single is None) == (not several):
        which = {"baseline": "first", "followup": "second"}[name]
        raise typer.BadParameter(
            f"expected two scans or more, each once; give the {which} as a path or as --{name} MODALITY=FILE ..."
        )
    if single is not None:
        return single
    files = {}
    for entry in several or []:
        modality, found, path = entry.partition("=")
        if not found or not modality or not path:
            raise typer.BadParameter(f"--{name}: expected MODALITY=FILE, got {entry!r}")
        files[modality] = path
    return files


def _refuse_pair_options(options: dict[str, Any], n_visits: int) -> None:
    """Say which of the options given are for two visits only."""
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value]
    if given:
        raise typer.BadParameter(f"{', '.join(given)}: for two visits only, got {n_visits}; leave it out")


def _compare(baseline: Any, followup: Any, output: Path, *, quiet: bool, **options: Any) -> None:
    from monai_microchange.apps.screen import StageProgress, print_summary
    from monai_microchange.export.result_folder import check_output

    # before the network is loaded: an answer at once
    check_output(output, overwrite=bool(options.get("overwrite")))
    with StageProgress(enabled=not quiet) as progress:
        progress("loading", 0.0)
        from monai_microchange.pipeline import compare as run

        progress("loading", 1.0)
        result = run(baseline, followup, output, progress=progress, **options)
    if quiet:
        _warn(result.provenance["warnings"])
    else:
        print_summary(result)


def _compare_series(visits: list[str], output: Path, *, quiet: bool, **options: Any) -> None:
    from monai_microchange.apps.screen import StageProgress

    with StageProgress(enabled=not quiet) as progress:
        progress("loading", 0.0)
        from monai_microchange.apps.series_screen import print_series_summary
        from monai_microchange.series import compare_series

        progress("loading", 1.0)
        result = compare_series(visits, output, progress=progress, **options)
    if quiet:
        _warn(result.provenance["warnings"])
    else:
        print_series_summary(result)


def _warn(warnings: list[str]) -> None:
    for warning in warnings:
        errors.print(f"warning: {warning}", soft_wrap=True, markup=False)
