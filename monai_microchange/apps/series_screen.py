# SPDX-License-Identifier: Apache-2.0
"""One screen of summary for a series: a line a pair, and the lesions that changed most."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from monai_microchange.apps.screen import VERDICT_STYLE, headline
from monai_microchange.quality import Comparability
from monai_microchange.series import SeriesFile, SeriesLesion, SeriesResult

__all__ = ["print_series_summary"]

MOST_ROWS = 10
"""Lesions listed on the screen; the rest are in the table file."""


def print_series_summary(result: SeriesResult, console: Console | None = None) -> None:
    """One screen: the answer of each pair, trajectories of lesions, doubts, and where the files are."""
    console = console or Console(highlight=False)
    console.print()
    for (a, b), pair in result.pairs.items():
        days = "" if pair.interval_days is None else f" ({pair.interval_days} days)"
        console.print(f"[bold]Visits {a} and {b}{days}:[/] {headline(pair)}")
        _print_verdict(pair.comparability, console)
    changed = [lesion for lesion in result.lesions if any(row.change_type for row in lesion.rows.values())]
    if changed:
        console.print()
        console.print(_trajectories(changed[:MOST_ROWS], result))
        if len(changed) > MOST_ROWS:
            console.print(f"and {len(changed) - MOST_ROWS} more in {SeriesFile.TABLE}")
    facts = result.provenance
    closure = "not known" if result.loop_closure_mm is None else f"{result.loop_closure_mm:.2f} mm"
    console.print(
        f"Alignment: loops of three visits close within {closure}. "
        f"{sum(facts['seconds'].values()):.0f} s, {facts['peak_memory_mb'] / 1024:.1f} GiB."
    )
    for warning in facts["warnings"]:
        console.print(f"[yellow]Beware:[/] {escape(warning)}")
    if result.folder is not None:
        console.print(f"Written to [bold]{escape(str(result.folder))}[/]", soft_wrap=True)
        console.print("  in 3D Slicer: visits/*/scan.nii.gz, visits/*/lesion_ids.nii.gz, pairs/*/change.seg.nrrd")
        console.print(f"  in a spreadsheet: {SeriesFile.TABLE}")
    console.print("For research use only; not a medical device.", style="dim")


def _print_verdict(comparability: Comparability, console: Console) -> None:
    """The verdict on a pair of acquisitions and its worst reason, unless all is well."""
    if comparability.reasons:
        style, verdict = VERDICT_STYLE[comparability.verdict], comparability.verdict
        console.print(f"  [{style}]{verdict}:[/] {escape(comparability.reasons[0].sentence)}")


def _trajectories(lesions: list[SeriesLesion], result: SeriesResult) -> Table:
    """Volume at each visit, and what became of the lesion between consecutive ones."""
    table = Table(box=None, pad_edge=False)
    table.add_column("id", justify="right")
    table.add_column("where")
    for visit in result.visits:
        table.add_column(f"{visit.number} (mm³)", justify="right")
    table.add_column("from visit to visit")
    steps = [(a, b) for a, b in result.pairs if b == a + 1]
    for lesion in lesions:
        volumes = [f"{volume:.0f}" for volume in lesion.volumes_mm3]
        course = ", ".join(lesion.type_name(step) or "-" for step in steps)
        table.add_row(str(lesion.id), lesion.location, *volumes, course)
    return table
