# SPDX-License-Identifier: Apache-2.0
"""`microchange datalist`: the pairs of a folder, for training and evaluation."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from monai_microchange.apps.stderr import BAD_INPUT, errors

__all__ = ["DATALIST_HELP", "datalist"]

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
