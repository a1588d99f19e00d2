"""What the commands share: options, progress on stderr, findings and one-line errors."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from backend.cli import progress
from backend.cli.progress import Steps
from video.errors import UserError, shorten_values

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from backend.runtime import Runtime
    from backend.settings import WeightSettings
    from refam.text.magnets import Magnets as MagnetWords

_WIDEST_TABLE = 10_000  # characters
out, err = Console(highlight=False, emoji=False), Console(stderr=True, highlight=False, emoji=False)


def print_findings(findings: Iterable[tuple[str, str]]) -> int:
    """Print (state, text) lines, with the state ok, note or wrong, and return how many are wrong."""
    signs = {"ok": "[green]ok[/]   ", "note": "[yellow]note[/] ", "wrong": "[red]wrong[/]"}
    wrong = 0
    for state, text in findings:
        wrong += state == "wrong"
        out.print(f"{signs[state]} ", end="")
        out.print(text, markup=False, soft_wrap=True)
    return wrong


def print_table(table: Table) -> None:
    """Print a table as wide as the terminal; into a file or a pipe as wide as it needs, so that no cell breaks.

    No line ends in blanks, which rich fills the last column with.
    """
    width = out.width
    if not out.is_terminal:
        table.width = width = out.measure(table, options=out.options.update(max_width=_WIDEST_TABLE)).maximum
    for segments in out.render_lines(table, out.options.update(width=width), pad=False):
        line = Text.assemble(*((segment.text, segment.style or "") for segment in segments))
        line.rstrip()
        out.print(line, soft_wrap=True)


def print_json(content: Any) -> None:
    """Print JSON and nothing else on stdout, without wrapping or markup."""
    out.print(json.dumps(content, ensure_ascii=False, indent=1), markup=False, soft_wrap=True, highlight=False)


def steps() -> AbstractContextManager[Steps]:
    """Show progress on stderr while a block runs; it gets the callback."""
    return progress.steps(err)


def fetch_segmenter(weights: WeightSettings, sam2: str | None, *, step: Steps) -> str | None:
    """Fetch SAM2-tiny if none is named and none is here, and say on stderr how that goes.

    Args:
        weights: The settings.
        sam2: What --sam2 says.
        step: Shows the step "fetch".

    Returns:
        Why there are no weights, for `WeightSettings.segmenter_choice`; None if there are some or another was named.

    Raises:
        SegmenterError: If it was named, and neither is here nor can be fetched.
    """
    why = weights.fetch_segmenter(
        sam2,
        report=lambda line: err.print(line, markup=False, soft_wrap=True),
        progress=lambda fraction: step("fetch", fraction),
    )
    if why is not None and sam2:
        from refam.segmenters.load import SegmenterError
        from refam.segmenters.sam2_weights import describe_missing

        raise SegmenterError(describe_missing(sam2, why, offline=weights.offline))
    if why is not None and not weights.offline:
        err.print(f"masks are drawn by GrabCut instead, for plain scenes only. {why}", markup=False, soft_wrap=True)
    return why


def fetch_at_start(runtime: Runtime) -> None:
    """Do `Runtime.fetch_segmenter` with a progress bar on a terminal; its lines go to the log."""
    if not err.is_terminal:
        runtime.fetch_segmenter()
        return
    with steps() as step:
        runtime.fetch_segmenter(progress=lambda fraction: step("fetch", fraction))


def require_file(path: Path) -> None:
    """Raise OSError, which `one_line_errors` prints, if there is no such file or folder: before models are loaded."""
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, "there is no such file", str(path))


_OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG, errno.EMFILE, errno.ENFILE)


def describe_error(error: Exception) -> str | None:
    """Return the text of an expected error, in one line; None for an error that is a bug."""
    if isinstance(error, OSError) and error.filename is not None:  # a folder without rights
        return shorten_values(f"{error.filename}: {error.strerror}")
    if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:  # write() names no file
        return error.strerror
    return " ".join(str(error).split()) if isinstance(error, UserError) else None


DONE, NOTHING_DONE, SOME_DONE = 0, 1, 3
"""Exit codes: all was done; nothing was; some items failed or were left out."""


def exit_code(left_out: Sequence[str], *, done: int, of: str) -> int:
    """Say on stderr which items were left out, and return the exit code.

    Args:
        left_out: A sentence for each.
        done: How many items were done.
        of: What they are, such as "videos".
    """
    if not left_out:
        return DONE
    if done:
        err.print(f"{done} {of} done; left out:", markup=False, soft_wrap=True)
    for sentence in left_out:
        err.print(f"  {sentence}" if done else f"refam: {sentence}", markup=False, soft_wrap=True)
    return SOME_DONE if done else NOTHING_DONE


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print expected errors in one line on stderr and exit with code 1; let all others pass."""
    try:
        yield
    except Exception as error:
        if (text := describe_error(error)) is None:
            raise
        err.print(f"refam: {text}", markup=False, soft_wrap=True)
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
        help="Download nothing. Else SAM2-tiny (about 156 MB) is fetched where no --sam2 is given and none is here.",
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
        help="What draws masks: sam2-tiny and others of `refam models`, a folder of SAM2 or SAM3, a hub name, or "
        "grabcut, which needs no weights; unless given, the best that is here, or else sam2-tiny, which is fetched. "
        "REFAM_TRACKER (auto, memory, sam2-video, sam3-video, flow): what follows them.",
    ),
]


def check_device(context: typer.Context, device: str | None) -> str | None:
    """Refuse a device that is not there, as the callback of --device: before any model or video is opened."""
    if device is not None and not context.resilient_parsing:
        with one_line_errors():
            from refam.pipeline.device import require_device

            require_device(device)
    return device


def check_label(label: str | list[str] | None) -> str | list[str] | None:
    """Refuse an empty label, as the callback of --label."""
    if any(not name.strip() for name in ([label] if isinstance(label, str) else label or ())):
        raise typer.BadParameter("it is empty: give the name that the object is to have")
    return label


Device = Annotated[
    str, typer.Option(envvar="REFAM_DEVICE", help="auto, cpu, cuda, cuda:1 or mps.", callback=check_device)
]
GivenDevice = Annotated[str | None, typer.Option(help="See `refam label` \\[env: REFAM_DEVICE].", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def given_settings(options: Mapping[str, Any], no_download: bool) -> dict[str, Any]:
    """Return the options that were given, as settings that win over the environment."""
    given = {name: value for name, value in options.items() if value is not None}
    return given | ({"offline": True} if no_download else {})


def magnet_words(text: str | None) -> MagnetWords:
    """Parse --magnets; None gives the default ones. Raises BadParameter."""
    from refam.text.magnets import Magnets as MagnetWords

    try:
        return MagnetWords() if text is None else MagnetWords.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--magnets") from error
