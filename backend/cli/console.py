"""What the commands share: options, progress on stderr, findings, one-line errors, and the report of `refam label`."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from refam.pipeline.stages import Stage
from video.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from rich.progress import Progress, TaskID

    from backend.cli.outputs import Outputs
    from backend.runtime import Runtime
    from backend.settings import WeightSettings
    from refam.pipeline.types import TrackResult
    from refam.text.magnets import Magnets as MagnetWords
    from video.io.reader import Clip

out, err = Console(highlight=False), Console(stderr=True, highlight=False)

_STEPS: dict[str, str] = {
    "open": "open the video",
    "fetch": "fetch SAM2",
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
    """Print (state, text) lines, with the state ok, note or wrong, and return how many are wrong."""
    signs = {"ok": "[green]ok[/]   ", "note": "[yellow]note[/] ", "wrong": "[red]wrong[/]"}
    wrong = 0
    for state, text in findings:
        wrong += state == "wrong"
        out.print(f"{signs[state]} ", end="")
        out.print(text, markup=False, soft_wrap=True)
    return wrong


@contextmanager
def steps() -> Iterator[Steps]:
    """Show progress on stderr while the block runs."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (
        TextColumn("{task.description:<18}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        # of this step alone: the duration of later steps is unknown
        TextColumn("left in this step:"),
        Remaining(),
    )
    # No bar in a log or a pipe, where an error is to be the only line.
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        yield Steps(progress)


class Steps:
    """A progress callback that shows one line for each step that has begun."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, fraction: float) -> None:
        """Show that the fraction in [0, 1] of a stage is done; the first call for a stage adds its line."""
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(_STEPS.get(stage, stage), total=1.0)
        self._progress.update(self._tasks[stage], completed=fraction)


def report(clip: Clip, results: Sequence[TrackResult], written: Outputs, *, version: str) -> None:
    """Print the scores, when each object is visible, and where the files are."""
    from backend.cli.outputs import visible_spans_s

    table = Table("object", "label", "score", "seen on", "seen from - to", box=None, pad_edge=False)
    for k, result in enumerate(results):
        spans_s = visible_spans_s(result.track, clip)
        when = ", ".join(f"{a:.2f}-{b:.2f} s" for a, b in spans_s) or "never"
        count = f"{int(result.track.visible.sum())} of {len(clip)}"
        table.add_row(str(k), Text(result.target.label), f"{result.score:.2f}", count, when)
    out.print(table, markup=False)
    for k, result in enumerate(results):
        for sentence in result.notes:
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


def fetch_segmenter(weights: WeightSettings, sam2: str | None, *, progress: Steps) -> str | None:
    """Fetch SAM2-tiny if none is named and none is here, and say on stderr how that goes.

    Args:
        weights: The settings.
        sam2: What --sam2 says.
        progress: Shows the step "fetch".

    Returns:
        Why there are no weights, for `WeightSettings.segmenter_choice`; None if there are some or another was named.
    """
    why = weights.fetch_segmenter(
        sam2,
        report=lambda line: err.print(line, markup=False, soft_wrap=True),
        progress=lambda fraction: progress("fetch", fraction),
    )
    if why is not None and not weights.offline:
        err.print(f"masks are drawn by GrabCut instead, for plain scenes only. {why}", markup=False, soft_wrap=True)
    return why


def fetch_at_start(runtime: Runtime) -> None:
    """Do `Runtime.fetch_segmenter` with a progress bar on a terminal; its lines go to the log."""
    with steps() as step:
        runtime.fetch_segmenter(progress=lambda fraction: step("fetch", fraction))


def require_file(path: Path) -> None:
    """Raise OSError, which `one_line_errors` prints, if there is no such file or folder: before models are loaded."""
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, "there is no such file", str(path))


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print expected errors in one line on stderr and exit with code 1; let all others pass."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:  # a full disk, a folder without rights
            text = f"{error.filename}: {error.strerror}"
        elif isinstance(error, UserError):
            text = str(error)
        else:
            raise
        err.print(f"refam: {' '.join(text.split())}", markup=False, soft_wrap=True)
        raise typer.Exit(1) from None


# --- options ---------------------------------------------------------------------------------------------------------

Backbone = Annotated[
    str,
    typer.Option(
        envvar="REFAM_BACKBONE",
        help="What reads the words: a preset (`refam models` lists them), a pipeline's folder or its hub name.",
    ),
]
Download = Annotated[
    bool, typer.Option("--download", envvar="REFAM_DOWNLOAD", help="Fetch the backbone where it is not here yet.")
]
NoDownload = Annotated[
    bool,
    typer.Option(
        "--no-download",
        envvar="REFAM_OFFLINE",
        help="Download nothing. Else SAM2-tiny (about 155 MB) is fetched where no --sam2 is given and none is here.",
    ),
]
Magnets = Annotated[
    str | None,
    typer.Option(
        envvar="REFAM_MAGNETS", help='Attention magnets to append, such as "with to . pink"; see refam/README.md.'
    ),
]
Sam2 = Annotated[
    str | None,
    typer.Option(
        envvar="REFAM_SAM2",
        help="What draws masks: sam2-tiny and others of `refam models`, a folder, a hub name, or grabcut, which needs "
        "no weights; unless given, the best that is here, or else sam2-tiny, which is fetched. REFAM_TRACKER (auto, "
        "memory, sam2-video, flow): what follows them.",
    ),
]
Device = Annotated[str, typer.Option(envvar="REFAM_DEVICE", help="auto, cpu, cuda, cuda:1 or mps.")]


def magnet_words(text: str | None) -> MagnetWords:
    """Parse --magnets; None gives the default ones. Raises BadParameter."""
    from refam.text.magnets import Magnets as MagnetWords

    try:
        return MagnetWords() if text is None else MagnetWords.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--magnets") from error
