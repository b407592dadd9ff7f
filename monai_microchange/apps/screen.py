# SPDX-License-Identifier: Apache-2.0
"""What the command shows: progress of the stages, and one screen of summary."""

from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from monai_microchange.enums import ResultFile, Verdict
from monai_microchange.postprocessing import Lesion
from monai_microchange.quality import Comparability
from monai_microchange.result import ChangeResult

__all__ = ["StageProgress", "print_summary"]

MOST_ROWS = 12
"""Lesions listed on the screen; the rest are in the table file."""

MOST_REASONS = 4
"""Reasons of the verdict on the screen, worst first; the rest are in the record."""

VERDICT_STYLE = {Verdict.COMPARABLE: "green", Verdict.READ_WITH_CARE: "yellow", Verdict.DO_NOT_COMPARE: "bold red"}


class StageProgress:
    """Progress bars on standard error, one a stage. A context manager; call it with a stage and the share done.

    Args:
        enabled: nothing is shown if it is False.
    """

    def __init__(self, *, enabled: bool = True):
        columns = (
            TextColumn("{task.description:<15}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
        )
        self._progress = Progress(*columns, console=Console(stderr=True), disable=not enabled)
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, share: float) -> None:
        """Show that a share (0 to 1) of a stage is done."""
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=1.0)
        self._progress.update(self._tasks[stage], completed=share)

    def __enter__(self) -> "StageProgress":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()


def print_summary(result: ChangeResult, console: Console | None = None) -> None:
    """One screen: the answer, the largest changes, doubts, and where the files are."""
    console = console or Console(highlight=False)
    changed = [lesion for lesion in result.lesions if lesion.change_type is not None]
    console.print()
    console.print(headline(result), style="bold")
    if changed:
        console.print(_lesion_table(changed[:MOST_ROWS]))
        if len(changed) > MOST_ROWS:
            console.print(f"and {len(changed) - MOST_ROWS} more in {ResultFile.TABLE}")
    registration = result.provenance["registration"]
    console.print(
        f"Alignment: correlation {registration['correlation']:.2f}, overlap {registration['overlap']:.0%}. "
        f"Region: {result.provenance['region']}. "
        f"{sum(result.provenance['seconds'].values()):.0f} s, {result.provenance['peak_memory_mb'] / 1024:.1f} GiB."
    )
    _print_comparability(result.comparability, console)
    for warning in result.provenance["warnings"]:
        console.print(f"[yellow]Beware:[/] {escape(warning)}")
    if result.folder is not None:
        folder = escape(str(result.folder))
        console.print(f"Written to [bold]{folder}[/]", soft_wrap=True)
        console.print(f"  in 3D Slicer: mid/baseline.nii.gz, mid/followup.nii.gz and {ResultFile.SEGMENTATION}")
        console.print(f"  in a spreadsheet: {ResultFile.TABLE}")
    console.print("For research use only; not a medical device.", style="dim")


def _print_comparability(comparability: Comparability, console: Console) -> None:
    verdict, style = comparability.verdict, VERDICT_STYLE[comparability.verdict]
    left = comparability.measures["misalignment_mm"]
    apart = f"residual misalignment {left['median']:.1f} mm (95th percentile {left['p95']:.1f} mm)"
    console.print(f"Acquisitions: [{style}]{verdict}[/]; {apart}.")
    for reason in comparability.reasons[:MOST_REASONS]:
        console.print(f"  [{VERDICT_STYLE[reason.verdict]}]-[/] {escape(reason.sentence)}")
    if len(comparability.reasons) > MOST_REASONS:
        console.print(f"  and {len(comparability.reasons) - MOST_REASONS} more in {ResultFile.PROVENANCE}")


def headline(result: ChangeResult) -> str:
    """The answer in one line."""
    counts = result.counts
    stable = counts.pop("stable")
    found = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    if not found:
        return f"No change found ({stable} stable lesions)."
    volume = result.provenance["volume_mm3"]
    return f"{found} ({stable} stable): +{volume['gain']:.0f} mm³ gained, -{volume['loss']:.0f} mm³ lost."


def _lesion_table(lesions: list[Lesion]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("id", "type", "where", "change mm³", "confidence", "at (R A S mm)"):
        table.add_column(name, justify="left" if name in ("type", "where") else "right")
    for lesion in lesions:
        place = " ".join(f"{x:.0f}" for x in lesion.centroid_ras_mm)
        change = f"{lesion.change_mm3:+.0f}"
        table.add_row(str(lesion.id), lesion.type_name, lesion.location, change, f"{lesion.confidence:.2f}", place)
    return table
