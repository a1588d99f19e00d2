"""What the command line shows: steps with their progress, and the report at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as Remaining
from rich.table import Table
from rich.text import Text

from refam.pipeline.stages import Stage
from video.errors import UserError

if TYPE_CHECKING:
    from backend.cli.outputs import Outputs
    from refam.pipeline.pipeline import TrackResult
    from video.io.reader import Clip

out, err = Console(highlight=False), Console(stderr=True, highlight=False)

_STEPS: dict[str, str] = {
    "open": "open the video",
    Stage.DECODE: "decode",
    Stage.GROUND: "ground the words",
    Stage.CONSENSUS: "agree over time",
    Stage.MASK: "find the mask",
    Stage.TRACK: "track",
    Stage.KEYFRAMES: "choose keyframes",
    "masks": "write the masks",
    "overlay": "write the overlay",
}


def print_findings(findings: Iterable[tuple[str, str]]) -> int:
    """Prints (state, text) lines, state one of ok, note and wrong; returns how many are wrong."""
    signs = {"ok": "[green]ok[/]   ", "note": "[yellow]note[/] ", "wrong": "[red]wrong[/]"}
    wrong = 0
    for state, text in findings:
        wrong += state == "wrong"
        out.print(f"{signs[state]} ", end="")
        out.print(text, markup=False, soft_wrap=True)
    return wrong


@contextmanager
def steps() -> Iterator[Steps]:
    """Progress on stderr while the block runs."""
    columns = (
        TextColumn("{task.description:<18}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        # What later steps will take is not known before they run, so it is not guessed.
        TextColumn("left in this step:"),
        Remaining(),
    )
    # In a log or a pipe a bar is noise, and an error is to be the only line.
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        yield Steps(progress)


class Steps:
    """One line for each step that has begun. Called with a step's name and how much of it is done, in [0, 1]."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, fraction: float) -> None:
        """This much of the step `stage` is done; a step that was not heard of yet begins."""
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(_STEPS.get(stage, stage), total=1.0)
        self._progress.update(self._tasks[stage], completed=fraction)


def report(clip: Clip, results: Sequence[TrackResult], written: Outputs, *, version: str) -> None:
    """Prints the scores, when each object is seen, and where everything is."""
    from backend.cli.outputs import spans

    table = Table("object", "label", "score", "seen on", "seen from - to", box=None, pad_edge=False)
    for k, result in enumerate(results):
        seen = spans(result.track, clip)
        when = ", ".join(f"{a:.2f}-{b:.2f} s" for a, b in seen) or "never"
        count = f"{int(result.track.visible.sum())} of {len(clip)}"
        table.add_row(str(k), Text(result.target.label), f"{result.score:.2f}", count, when)
    out.print(table, markup=False)
    for k, result in enumerate(results):
        for sentence in result.notes:  # when it was lost and found again is among them
            out.print(f"object {k}: {sentence}", markup=False, soft_wrap=True)
    for what, path in (
        ("masks", written.masks),
        ("tracks", written.tracks),
        ("task to import", written.task),
        ("its label config", written.config),
        ("overlay", written.overlay),
        (
            "needs a look",
            written.sheet
            if written.sheet.exists()
            else "nothing: no gap, low score, sudden change or doubt of the words",
        ),
    ):
        out.print(f"{what:<17}{path}", markup=False, soft_wrap=True)
    out.print(f"{'made by':<17}{version}", markup=False, soft_wrap=True)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """What may be expected to go wrong is told in one line on stderr, with exit code 1."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:  # a full disk, a folder without rights
            text = f"{error.strerror}: {error.filename}"
        elif isinstance(error, UserError):
            text = str(error)
        else:
            raise
        err.print(f"refam: {' '.join(text.split())}", markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
