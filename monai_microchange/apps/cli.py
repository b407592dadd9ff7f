# SPDX-License-Identifier: Apache-2.0
"""`microchange compare | phantom | datalist | demo`."""

import signal
import sys
from typing import Annotated

import typer

import monai_microchange
from monai_microchange.apps.compare_command import VISIT_OPTIONS, compare, demo
from monai_microchange.apps.datalist_command import DATALIST_HELP, datalist
from monai_microchange.apps.phantom_command import phantom
from monai_microchange.apps.quiet import quiet_third_parties
from monai_microchange.apps.stderr import BAD_INPUT, errors

__all__ = ["app", "main"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Compare scans of one patient and show what changed. For research; not a medical device.",
)
app.command()(compare)
app.command()(demo)
app.command()(phantom)
app.command(help=DATALIST_HELP)(datalist)


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
