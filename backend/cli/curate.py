"""`refam curate`: a manifest of videos and words -> a folder of results, on this machine or a Ray cluster."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from backend.cli.console import (
    GivenDevice,
    NoDownload,
    err,
    exit_code,
    fetch_at_start,
    given_settings,
    one_line_errors,
    print_table,
    require_file,
    steps,
)
from backend.cli.console import out as stdout
from backend.cli.out_option import output_folder
from backend.cli.result_folder import refuse_overwriting
from refam.pipeline.device import require_device
from refam.pipeline.quality import Quality
from video.formats.registry import ExportFormat

if TYPE_CHECKING:
    from collections.abc import Callable

    from backend.batch.results import RunSummary
    from backend.settings import Settings

_MAX_ERRORS = 5  # different ones, in the summary
_MAX_LEFT_OUT = 20  # rows that are named
_REPEAT_S = 1.0  # `steps` says how far it is much more rarely


def curate(
    manifest: Annotated[
        Path | None,
        typer.Argument(
            help="A .parquet, .csv or .jsonl file with the columns video, expressions and, if you like, labels, id and "
            "prompts.",
            show_default=False,
        ),
    ] = None,
    *,
    out: Annotated[
        Path | None,
        typer.Option(help="The folder to write to.", show_default=False, parser=output_folder, metavar="<path>"),
    ] = None,
    status: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Only say how far the run in this folder is.", show_default=False)
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="A Ray cluster that is there (HOST:PORT or auto); this machine unless given.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Unless given, one for each GPU, else one for two processors.")
    ] = None,
    cpus: Annotated[float, typer.Option(min=0.1, help="Processors of one worker.")] = 2,
    gpus: Annotated[
        float | None, typer.Option(min=0, help="GPUs of one worker, 0.5 for two on each; 1 where there are any.")
    ] = None,
    tries: Annotated[int, typer.Option(min=1, help="How often a video may kill its worker, or not be had.")] = 2,
    clip_limit: Annotated[float, typer.Option(min=1, help="Seconds after which a clip is given up.")] = 3600.0,
    export: Annotated[
        ExportFormat | None, typer.Option(help="Write OUT/exports/FORMAT too; again with another, for more.")
    ] = None,
    retry_errors: Annotated[
        bool, typer.Option("--retry-errors", help="Try rows again that ended in an error.")
    ] = False,
    quality: Annotated[
        Quality | None,
        typer.Option(help="See `refam label` \\[env: REFAM_QUALITY; normal].", show_default=False),
    ] = None,
    sam2: Annotated[str | None, typer.Option(help="See `refam label` \\[env: REFAM_SAM2].", show_default=False)] = None,
    device: GivenDevice = None,
    no_download: NoDownload = False,
) -> None:
    """Find the objects of a whole manifest: OUT/parts/*.parquet, one row for each of its rows.

    A row that is malformed or whose video cannot be used costs only itself: it is named at the end, and the exit code
    is 3. Started again after a crash or Ctrl+C, it goes on where it was, with the same models. Other models and limits
    are set by the environment as for `refam serve` (REFAM_BACKBONE, ...).
    """
    if (manifest is None or out is None) == (status is None):
        raise typer.BadParameter("give MANIFEST and --out DIR, or --status DIR alone")
    with one_line_errors():
        from backend.settings import load_settings

        settings = load_settings(**given_settings({"quality": quality, "sam2": sam2, "device": device}, no_download))
        if status is None and address is None:  # else the models are on the cluster's machines
            require_device(settings.device)
        _check_installed()
        if status is not None:
            from backend.batch.results import ResultFolderError, summarize_results

            if not (status / "run.json").is_file():
                raise ResultFolderError(f"{status} holds no run of `refam curate`: there is no run.json in it")
            _print_summary(status, summarize_results(status))
            raise typer.Exit(0)
        assert manifest is not None
        assert out is not None
        require_file(manifest)
        refuse_overwriting([out / "run.json", out / "parts", out / "exports"], [manifest])
        from backend.batch.results import summarize_results

        left_out: list[str] = []
        plan = (workers, cpus, gpus, tries, clip_limit)
        _process(manifest, out, address, plan, retry_errors, settings, left_out)
        summary = summarize_results(out)
        _print_summary(out, summary)
        if export is not None:
            from backend.batch.results import export_results

            folders = export_results(out, export)
            stdout.print(f"{export:<16}{out / 'exports' / export}, {len(folders)} folder(s)", markup=False)
    left_out += [_describe_failure(*failure) for failure in sorted(summary.failed)]
    if (more := len(left_out) - _MAX_LEFT_OUT) > 0:
        left_out[_MAX_LEFT_OUT:] = [f"and {more} more: the results have the error of each"]
    raise typer.Exit(exit_code(left_out, done=summary.finished - len(summary.failed), of="rows"))


def _describe_failure(row: int, video: str, error: str) -> str:
    from backend.labelstudio.addresses import file_name

    name = file_name(video)
    return f"row {row}: {error}" if name in error else f"row {row}, {name}: {error}"


def _process(
    source: Path,
    out: Path,
    address: str | None,
    plan: tuple[int | None, float, float | None, int, float],
    retry_errors: bool,
    settings: Settings,
    left_out: list[str],
) -> None:
    """left_out: gets a sentence for each row that cannot be used."""
    from backend.batch.manifest import read_manifest

    manifest = read_manifest(source, skipped=left_out)
    if left_out:
        text = f"{len(left_out)} row(s) cannot be used: the others are done, and these are named at the end"
        err.print(text, markup=False)
    if manifest.repeated:
        err.print(f"{manifest.repeated} row(s) say the same as an earlier one: done once", markup=False)
    if manifest.unused:
        err.print(f"columns that nothing reads: {', '.join(manifest.unused)}", markup=False)
    from backend.batch.results import has_results, read_info

    info = read_info(out)
    if info is not None and has_results(out, {row.key for row in manifest.rows}, retry_errors=retry_errors):
        return  # what is asked for is there, so it does not matter which models there are now
    from backend.batch.clips import find_fault, worker_settings
    from backend.batch.run import WorkerPlan, run
    from backend.runtime import Runtime

    runtime = Runtime(settings)
    fetch_at_start(runtime)
    workers, cpus, gpus, tries, limit_s = plan
    with _show_progress() as progress:
        run(
            manifest,
            str(source),
            out,
            plan=WorkerPlan(workers, cpus, gpus, tries=tries, limit_s=limit_s),
            settings=worker_settings(settings),
            model_version=runtime.model_version,
            address=address,
            retry_errors=retry_errors,
            find_fault=None if address else find_fault,  # the files of a cluster are on its machines
            progress=progress,
        )


def _check_installed() -> None:
    """Raise ManifestError if Ray is not installed; importing it would take seconds."""
    from importlib.util import find_spec

    from backend.batch.manifest_file import ManifestError

    if any(find_spec(name) is None for name in ("pyarrow", "ray")):
        raise ManifestError("`refam curate` needs Ray: pip install 'refam-label-studio[curate]'")


@contextmanager
def _show_progress() -> Iterator[Callable[[int, int, int], None]]:
    """Show on stderr how many rows are done: a bar on a terminal, lines in a log or a pipe."""
    with _progress_bar() if err.is_terminal else _progress_lines() as update:
        yield update


@contextmanager
def _progress_lines() -> Iterator[Callable[[int, int, int], None]]:
    """Lines come between two rows too, since one may take minutes."""
    ended, lock, fraction = threading.Event(), threading.Lock(), 0.0
    with steps() as step:

        def update(done: int, failed: int, total: int) -> None:
            nonlocal fraction
            with lock:
                fraction = done / max(total, 1)
                step("videos", fraction)

        def repeat() -> None:
            while not ended.wait(_REPEAT_S):
                with lock:
                    step("videos", fraction)

        thread = threading.Thread(target=repeat, name="refam-progress", daemon=True)
        thread.start()
        try:
            yield update
        finally:
            ended.set()
            thread.join()


@contextmanager
def _progress_bar() -> Iterator[Callable[[int, int, int], None]]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("videos", total=None)

        def update(done: int, failed: int, total: int) -> None:
            text = f"videos, {failed} with an error" if failed else "videos"
            progress.update(task, completed=done, total=total, description=text)

        yield update


def _print_summary(out: Path, summary: RunSummary) -> None:
    table = Table("", "rows", box=None, pad_edge=False)
    for status, count in sorted(summary.statuses.items()):
        table.add_row(status, str(count))
    table.add_row("still to do", str(max(0, summary.rows - summary.finished)))
    print_table(table)
    total_s = sum(summary.stages_s.values())
    video_h, worker_h = summary.video_s / 3600, summary.seconds / 3600
    stdout.print(
        f"{summary.objects} objects in {video_h:.2f} h of video, {worker_h:.2f} worker hours",
        markup=False,
    )
    if total_s:
        shares = ", ".join(f"{stage} {s / total_s:.0%}" for stage, s in summary.stages_s.most_common())
        stdout.print(f"time went to: {shares}", markup=False, soft_wrap=True)
    for text, count in summary.errors.most_common(_MAX_ERRORS):
        stdout.print(Text(f"{count} x {text}"), soft_wrap=True)
    stdout.print(f"{'made by':<16}{summary.model_version}", markup=False, soft_wrap=True)
    stdout.print(f"{'results':<16}{out / 'parts'}", markup=False, soft_wrap=True)
