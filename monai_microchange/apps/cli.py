# SPDX-License-Identifier: Apache-2.0
"""`microchange compare | phantom | datalist | demo`."""

import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

import monai_microchange
from monai_microchange.apps.quiet import quiet_third_parties

__all__ = ["app", "main"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Compare two scans of one patient and show what changed. For research; not a medical device.",
)
errors = Console(stderr=True, highlight=False)

BAD_INPUT = 2
"""Exit code when the input cannot be used."""

VISIT_OPTIONS = ("--baseline", "--followup")
"""Options that take several values: one for each modality."""


DATALIST_HELP = """List the pairs of a folder, with labels, for training and evaluation, after checking all of them.

A BIDS folder:

\b
  sub-*/ses-*/anat/*_FLAIR.nii[.gz]          scans; another ending by --suffix
  sub-*/sub-*_sessions.tsv                   acq_time orders the sessions, else their names do
  [derivatives/*/]sub-*/ses-*/anat/*_label-change_mask.nii[.gz]
                                             change since the session before; desc-change or _dseg will do
  ..._label-ignore_mask                      what nobody judged
  ..._desc-brain_mask, ..._label-lesion_mask in the space of the session's scan

A folder a patient, or one patient's folder (any of NIfTI, NRRD, MHA):

\b
  baseline.nii.gz, followup.nii.gz           or study1_FLAIR, study2_FLAIR; flair_time01, flair_time02; or folders
                                             baseline, followup with such a file or a DICOM series
  change, change_mask, label, gt, ground_truth or truth .nii.gz
  ignore, brain_mask, baseline_lesion, followup_lesion .nii.gz

A label of 1 new, 2 enlarging, 3 shrinking, 4 resolved says the direction, a mask of one value only that something
changed. It lies in the baseline's space, or beside it is a transform (ITK, as it resamples the baseline onto the label;
or JSON with a 4 x 4 matrix, label to baseline, RAS mm): LABEL_to_baseline.tfm, .txt or .json,
study1_FLAIR_to_common_space.txt, or a phantom's truth.json.

Every fault is a line of its own. A list in place of the folder is checked likewise, and nothing is written.
With errors nothing is written and the exit code is 2, unless --skip-faulty.
"""


class Device(StrEnum):
    """Where the networks run."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Region(StrEnum):
    """Where change is looked for."""

    BRAIN = "brain"
    NONE = "none"


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"microchange {monai_microchange.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def compare(
    baseline: Annotated[str | None, typer.Argument(help="Earlier scan: NIfTI, NRRD, MHA, or DICOM folder.")] = None,
    followup: Annotated[str | None, typer.Argument(help="Later scan.")] = None,
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
    device: Annotated[Device | None, typer.Option(help="Where the networks run.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier result.")] = False,
    allow_identical: Annotated[bool, typer.Option("--allow-identical", help="Compare a scan with itself.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Compare although patient, dates or alignment are in doubt.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing unless something is wrong.")] = False,
) -> None:
    """Compare two scans of one patient; write maps, table and segmentation of what changed."""
    options: dict[str, Any] = {
        "bundle": bundle,
        "weights": weights,
        "device": device and device.value,
        "roi": roi and roi.value,
        "brain_mask": brain_mask,
        "baseline_lesions": baseline_lesions,
        "followup_lesions": followup_lesions,
        "baseline_series": baseline_series,
        "followup_series": followup_series,
        "force": force,
        "allow_identical": allow_identical,
        "overwrite": overwrite,
    }
    first = _source("baseline", baseline, baseline_modalities)
    second = _source("followup", followup, followup_modalities)
    _compare(first, second, output, quiet=quiet, **options)


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the result.")] = Path("microchange_demo"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier result.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing unless something is wrong.")] = False,
) -> None:
    """Compare the sample pair that comes with the package."""
    from monai_microchange._shipped import shipped_sample

    sample = shipped_sample()
    _compare(str(sample / "baseline.nii.gz"), str(sample / "followup.nii.gz"), output, quiet=quiet, overwrite=overwrite)


@app.command()
def phantom(
    folder: Annotated[Path, typer.Argument(help="Folder for the pair and its truth.")],
    seed: Annotated[int, typer.Option(help="Another seed, another head and other lesions.")] = 0,
    per_type: Annotated[int, typer.Option(min=0, help="Lesions of each kind of change; 0: nothing changes.")] = 2,
    dicom: Annotated[bool, typer.Option("--dicom", help="Write two DICOM series in place of NIfTI.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier phantom.")] = False,
) -> None:
    """Make a pair of FLAIR-like scans of a head with known changes."""
    with errors.status("making a phantom"):
        from monai_microchange.simulation import make_phantom, write_phantom

        write_phantom(folder, make_phantom(seed, n_per_type=per_type), dicom=dicom, overwrite=overwrite)
    typer.echo(f"{folder}: baseline, followup and truth (seed {seed})")


@app.command(help=DATALIST_HELP)
def datalist(
    folder: Annotated[Path, typer.Argument(help="BIDS folder, or folder with a folder for each patient.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="JSON file to write.")] = Path("datalist.json"),
    folds: Annotated[
        int | None, typer.Option(min=0, help="Folds over patients; 5, or as many as there are patients. 0: none.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the folds.")] = 0,
    suffix: Annotated[str, typer.Option(help="How scans' names end; acq-3D_FLAIR chooses among several.")] = "FLAIR",
    labels: Annotated[
        str | None, typer.Option(help="Label files: a glob with {patient}, {baseline}, {followup}, from FOLDER.")
    ] = None,
    signed: Annotated[
        bool | None, typer.Option("--signed/--unsigned", help="Labels say the direction; else their values show it.")
    ] = None,
    first_to_last: Annotated[bool, typer.Option("--first-to-last", help="Pair the first and last visit too.")] = False,
    check: Annotated[bool, typer.Option(help="Read every file and look for faults.")] = True,
    same_grid: Annotated[bool, typer.Option("--same-grid", help="Visits must lie on one grid.")] = False,
    skip_faulty: Annotated[bool, typer.Option("--skip-faulty", help="List the pairs without errors.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier list.")] = False,
) -> None:
    """List the pairs of a folder."""
    with errors.status("loading"):
        from monai_microchange.apps.datalist import DatalistOptions, make_datalist

    options = DatalistOptions(
        suffix=suffix,
        labels=labels,
        signed=signed,
        first_to_last=first_to_last,
        folds=folds,
        seed=seed,
        check=check,
        same_grid=same_grid,
        skip_faulty=skip_faulty,
        overwrite=overwrite,
    )
    if not make_datalist(folder, output, options, screen=Console(highlight=False), errors=errors):
        raise typer.Exit(BAD_INPUT)


def _source(name: str, single: str | None, several: list[str] | None) -> str | dict[str, str]:
    """A path, or paths by modality, of one visit."""
    if (single is None) == (not several):
        raise typer.BadParameter(f"give {name.upper()} once, as a path or as --{name} MODALITY=FILE ...")
    if single is not None:
        return single
    files = {}
    for entry in several or []:
        modality, found, path = entry.partition("=")
        if not found or not modality or not path:
            raise typer.BadParameter(f"--{name}: expected MODALITY=FILE, got {entry!r}")
        files[modality] = path
    return files


def _compare(baseline: Any, followup: Any, output: Path, *, quiet: bool, **options: Any) -> None:
    from monai_microchange.apps.screen import StageProgress, print_summary
    from monai_microchange.export.result_folder import check_output

    # before torch and MONAI are loaded: an answer at once
    check_output(output, overwrite=bool(options.get("overwrite")))
    with StageProgress(enabled=not quiet) as progress:
        progress("loading", 0.0)
        from monai_microchange.pipeline import compare as run

        progress("loading", 1.0)
        result = run(baseline, followup, output, progress=progress, **options)
    if quiet:
        for warning in result.provenance["warnings"]:
            errors.print(f"warning: {warning}", soft_wrap=True, markup=False)
    else:
        print_summary(result)


def _spread_modalities(arguments: list[str]) -> list[str]:
    """Repeat `--baseline` and `--followup` before each of their values, as the parser wants it.

    >>> _spread_modalities(["compare", "--baseline", "FLAIR=a", "T1=b", "-o", "out"])
    ['compare', '--baseline', 'FLAIR=a', '--baseline', 'T1=b', '-o', 'out']
    """
    spread: list[str] = []
    option = None
    for argument in arguments:
        if argument in VISIT_OPTIONS:
            option = argument
            continue
        if argument.startswith("-"):
            option = None
        if option is not None:
            spread.append(option)
        spread.append(argument)
    return spread


def main(arguments: list[str] | None = None) -> None:
    """Run the command; bad input ends in one sentence on standard error and exit code 2."""
    quiet_third_parties()
    # a run that is told to stop cleans up like one that fails
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    given = sys.argv[1:] if arguments is None else arguments
    try:
        app(_spread_modalities(given), prog_name="microchange")
    except (ValueError, OSError, ImportError) as error:
        errors.print("error:", style="bold red", end=" ")
        errors.print(str(error), soft_wrap=True, markup=False)
        raise SystemExit(BAD_INPUT) from None


if __name__ == "__main__":
    main()
