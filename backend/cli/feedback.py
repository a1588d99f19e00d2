"""`refam feedback` and `refam next`: what people corrected, and which tasks to annotate next."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from backend.cli.console import AsJson, exit_code, one_line_errors, print_json, print_table, steps
from backend.cli.console import out as stdout
from backend.cli.out_option import output_page
from video.atomic_files import write_text

if TYPE_CHECKING:
    from backend.feedback.next_tasks import TaskSuggestion
    from backend.feedback.report import ReportLine

_MAX_LINES = 12  # of a table in the terminal; the page has them all


def feedback(
    *,
    project: Annotated[int | None, typer.Option(min=1, help="Only this project's corrections.")] = None,
    days: Annotated[float | None, typer.Option(min=0.0, help="Only those of the last so many days.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write a page with pictures of the most costly ones, such as feedback.html.",
            parser=output_page,
            metavar="<path>",
        ),
    ] = None,
) -> None:
    """What people made of the predictions: kept, moved, relabelled, deleted, added; strokes; overlap over time.

    `refam serve` learns it from the project's webhook (`refam connect` sets it up), without slowing anybody down. A
    task whose annotation is malformed or whose video is missing costs only itself; the exit code is 3 then.
    """
    left_out: list[str] = []
    with one_line_errors(), steps() as step:
        from backend.feedback.collector import compare_pending
        from backend.feedback.report import open_videos, render_page, summarize, summary_tables
        from backend.feedback.store import CorrectionStore
        from backend.labelstudio.client import label_studio_client
        from backend.settings import load_settings

        settings = load_settings()
        since = 0.0 if days is None else time.time() - 86_400 * days
        store = CorrectionStore(settings.data_dir)
        # Those that the backend has just received, or could not ask Label Studio about.
        pending = compare_pending(store, label_studio_client(settings), skipped=left_out) if store.pending() else 0
        corrections = store.corrections(project=project, since=since)
        if pending:
            stdout.print(f"{pending} annotation(s) wait to be compared: Label Studio cannot be asked at present")
        if not corrections:
            stdout.print(f"no corrections are known in {settings.data_dir} yet", markup=False, soft_wrap=True)
            raise typer.Exit(exit_code(left_out, done=0, of="tasks"))
        for name, lines in {"all": [summarize("all", corrections)], **summary_tables(corrections)}.items():
            print_table(_table(name, lines))
        if out is not None:
            step("pictures", 0.0)
            with open_videos(settings) as open_clip:
                write_text(out, render_page(corrections, open_clip, skipped=left_out))
            stdout.print(f"written to {out}", markup=False, soft_wrap=True)
    raise typer.Exit(exit_code(left_out, done=len({stored.task for stored in corrections}), of="tasks"))


def _table(name: str, lines: list[ReportLine]) -> Table:
    from backend.feedback.compare import RegionFate

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))  # narrow enough for 80 columns
    table.add_column(name, min_width=16, overflow="fold")
    for head in ("regions", *[f.value for f in RegionFate], "IoU", "strokes"):
        table.add_column(head, justify="right")
    for line in lines[:_MAX_LINES]:
        iou = "-" if line.iou is None else f"{line.iou:.2f}"
        fates = [str(line.fates[f]) for f in RegionFate]
        table.add_row(Text(line.name), str(line.regions), *fates, iou, f"{line.strokes:.1f}")
    return table


def next_tasks(
    *,
    project: Annotated[int, typer.Option(min=1, help="The project's number.")],
    count: Annotated[int, typer.Option(min=1, help="How many tasks.")] = 10,
    as_json: AsJson = False,
) -> None:
    """The tasks a person should look at next: where most strokes are expected, spread over the videos.

    By the predictions' scores (the chance that nothing needs a correction) and by what corrections have cost so far.
    """
    with one_line_errors():
        from backend.feedback.next_tasks import mean_strokes_by_label, suggest_tasks
        from backend.feedback.project import read_waiting_tasks
        from backend.feedback.store import CorrectionStore
        from backend.labelstudio.addresses import file_name
        from backend.settings import load_settings

        settings = load_settings()
        corrections = CorrectionStore(settings.data_dir).corrections(project=project)
        waiting = read_waiting_tasks(settings, project)
        suggestions = suggest_tasks(waiting, mean_strokes_by_label(corrections), count=count)
        if as_json:
            print_json([_describe_suggestion(suggestion) for suggestion in suggestions])
            return
        if not suggestions:
            stdout.print(f"project {project} has no task that has a prediction and no annotation")
            return
        table = Table(box=None, pad_edge=False)
        for head in ("task", "needs a person", "strokes expected"):
            table.add_column(head, justify="right")
        table.add_column("words")
        table.add_column("video", overflow="fold")
        for suggestion in suggestions:
            task = suggestion.waiting
            words, video = Text(task.words), Text(file_name(task.video))
            probability, strokes = f"{suggestion.probability:.2f}", f"{suggestion.strokes:.1f}"
            table.add_row(str(task.task), probability, strokes, words, video)
        print_table(table)


def _describe_suggestion(suggestion: TaskSuggestion) -> dict[str, object]:
    task = suggestion.waiting
    return {
        "task": task.task,
        "video": task.video,
        "words": task.words,
        "needs_a_person": round(suggestion.probability, 4),
        "strokes_expected": round(suggestion.strokes, 2),
    }
