"""`refam feedback`: what people corrected."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from backend.cli.console import one_line_errors, steps
from backend.cli.console import out as stdout

if TYPE_CHECKING:
    from backend.feedback.report import ReportLine

_SHOWN = 12  # lines of a table on the terminal; the page has all


def feedback(
    *,
    project: Annotated[int | None, typer.Option(min=1, help="Only this project's corrections.")] = None,
    days: Annotated[float | None, typer.Option(min=0.0, help="Only those of the last so many days.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write a page with pictures of the most costly ones, such as feedback.html.")
    ] = None,
) -> None:
    """What people made of the predictions: kept, moved, relabelled, deleted, added; strokes; overlap over time.

    `refam serve` learns it from the project's webhook (`refam connect` sets it up), without slowing anybody down.
    """
    with one_line_errors(), steps() as step:
        from backend.feedback.report import line, page, tables
        from backend.feedback.store import CorrectionStore
        from backend.settings import load_settings

        settings = load_settings()
        since = 0.0 if days is None else time.time() - 86_400 * days
        store = CorrectionStore(settings.data_dir)
        rows, waiting = store.rows(project=project, since=since), len(store.waiting())
        if waiting:
            stdout.print(f"{waiting} annotation(s) wait to be compared: Label Studio could not be asked yet")
        if not rows:
            stdout.print(f"no corrections are known in {settings.data_dir} yet", markup=False, soft_wrap=True)
            raise typer.Exit(0)
        for name, lines in {"all": [line("all", rows)], **tables(rows)}.items():
            stdout.print(_table(name, lines))
        if out is not None:
            from backend.feedback.videos import opener

            step("pictures", 0.0)
            with opener(settings) as opened:
                out.write_text(page(rows, opened), encoding="utf-8")
            stdout.print(f"written to {out}", markup=False, soft_wrap=True)


def _table(name: str, lines: list[ReportLine]) -> Table:
    from backend.feedback.compare import RegionFate

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))  # fits 80 columns with names of some length
    table.add_column(name, min_width=16, overflow="fold")
    for head in ("regions", *[f.value for f in RegionFate], "IoU", "strokes"):
        table.add_column(head, justify="right")
    for one in lines[:_SHOWN]:
        iou = "-" if one.iou is None else f"{one.iou:.2f}"
        fates = [str(one.fates[f]) for f in RegionFate]
        table.add_row(Text(one.name), str(one.regions), *fates, iou, f"{one.strokes:.1f}")
    return table


def next_tasks(
    *,
    project: Annotated[int, typer.Option(min=1, help="The project's number.")],
    count: Annotated[int, typer.Option(min=1, help="How many tasks.")] = 10,
) -> None:
    """The tasks a person should look at next: where most strokes are expected, spread over the videos.

    By the predictions' scores (the chance that nothing needs a correction) and by what corrections have cost so far.
    """
    with one_line_errors():
        from backend.feedback.next_tasks import strokes_by_label, suggest
        from backend.feedback.project import waiting
        from backend.feedback.store import CorrectionStore
        from backend.labelstudio.export_sources import address_parts
        from backend.settings import load_settings

        settings = load_settings()
        costs = strokes_by_label(CorrectionStore(settings.data_dir).rows(project=project))
        found = suggest(waiting(settings, project), costs, count=count)
        if not found:
            stdout.print(f"project {project} has no task that has a prediction and no annotation")
            return
        table = Table(box=None, pad_edge=False)
        for head in ("task", "needs a person", "strokes expected"):
            table.add_column(head, justify="right")
        table.add_column("words")
        table.add_column("video", overflow="fold")
        for one in found:
            address = one.waiting.video  # its file name: a terminal has no room for more
            words, video = Text(one.waiting.words), Text(address_parts(address)[-1] if address else "")
            table.add_row(str(one.waiting.task), f"{one.chance:.2f}", f"{one.strokes:.1f}", words, video)
        stdout.print(table)


def calibrate(
    *,
    project: Annotated[int | None, typer.Option(min=1, help="The project whose annotations are learnt from.")] = None,
    forget: Annotated[bool, typer.Option("--forget", help="Go back to the settings that ship.")] = False,
) -> None:
    """Choose the method's own settings by what people corrected; no weights are trained.

    Blocks, noise level and magnets, the keyframes' tolerance and the meaning of the score, each by cross-validation
    over videos: what does not gain on videos that it was not chosen by stays as it is. The model version changes with
    the settings, so retrieving predictions again shows the gain.
    """
    with one_line_errors(), steps() as step:
        from backend.cli.calibrate import calibrate_project
        from backend.feedback.calibrated import FILE_NAME
        from backend.settings import load_settings
        from refam.pipeline.confidence import SCORE_MODELS_FILE

        settings = load_settings()
        if forget:
            for name in (FILE_NAME, SCORE_MODELS_FILE):
                (settings.data_dir / name).unlink(missing_ok=True)
            stdout.print("the settings that ship are used from the next start on")
            raise typer.Exit(0)
        if project is None:
            raise typer.BadParameter("name the project to learn from", param_hint="--project")
        for sentence in calibrate_project(settings, project, progress=step):
            stdout.print(sentence, markup=False, soft_wrap=True)
