# SPDX-License-Identifier: Apache-2.0
"""`microchange phantom`: a pair of scans with known changes."""

from pathlib import Path
from typing import Annotated

import typer

from monai_microchange.apps.stderr import errors

__all__ = ["phantom"]


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
