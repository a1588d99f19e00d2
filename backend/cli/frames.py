"""`refam frames`: a clip cut into the pictures of a task for mask projects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.cli.console import AsJson, check_label, err, one_line_errors, print_json
from backend.cli.console import out as stdout
from backend.cli.out_option import output_folder
from backend.cli.result_folder import OutputError, hold_folder, refuse_overwriting, replace_results
from backend.cli.task_address import ADDRESS_UNLESS_GIVEN, check_url, note_outside
from backend.cli.videos import find_one_video, open_source
from backend.labelstudio.picture_tasks import MaskTag, build_mask_label_config, write_frames

if TYPE_CHECKING:
    from video.io.reader import Clip


def frames(
    video: Annotated[
        str, typer.Argument(help="A video file, a folder of pictures (one video) or an address.", show_default=False)
    ],
    *,
    out: Annotated[
        Path, typer.Option(help="The folder to write to.", show_default=False, parser=output_folder, metavar="<path>")
    ],
    fps: Annotated[
        float | None,
        typer.Option(help="So many pictures a second, by presentation time; pictures in a folder count as 24."),
    ] = None,
    every: Annotated[int | None, typer.Option(min=1, help="Every so many frames; 1 takes all.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="A label to offer. May be given again.", callback=check_label)
    ] = None,
    words: Annotated[str, typer.Option(help="What to find; the task's `prompt`.")] = "",
    masks: Annotated[MaskTag, typer.Option(help="How the editor shall keep masks.")] = "brush",
    url: Annotated[
        str | None,
        typer.Option(help=f"Address of the folder of pictures; {ADDRESS_UNLESS_GIVEN}.", callback=check_url),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Cut a clip into a task of pictures, for masks: OUT/frames/*.jpg, OUT/tasks.json and OUT/label_config.xml."""
    if fps is not None and every is not None:
        raise typer.BadParameter("give --fps or --every, not both")
    if fps is not None and not 0 < fps <= 1000:
        raise typer.BadParameter("--fps must be above 0, and at most 1000")
    with one_line_errors():
        source = find_one_video(video)
        inputs = [] if source.is_address else [Path(source.text)]
        if (out / "frames").exists() and not (out / "tasks.json").exists():
            raise OutputError(f"{out / 'frames'} is there already and is not from an earlier run; choose another --out")
        refuse_overwriting([out / "frames", out / "tasks.json", out / "label_config.xml"], inputs)
        with hold_folder(out), open_source(source) as clip, replace_results(out, inputs=inputs) as part:
            report = _write_task(clip, out, part, fps=fps, every=every, labels=label, words=words, masks=masks, url=url)
            broken = clip.broken
    if broken:
        err.print(f"note: {broken}", markup=False, soft_wrap=True)
    note_outside([out], url)
    if as_json:
        print_json({**report, "broken": broken or None})
        return
    stdout.print(
        f"{report['frames']} of {report['of']} frames written to {report['folder']}", markup=False, soft_wrap=True
    )
    stdout.print(f"task to import   {report['task']}", markup=False, soft_wrap=True)
    stdout.print(f"its label config {report['label_config']}", markup=False, soft_wrap=True)


def _write_task(
    clip: Clip,
    out: Path,
    part: Path,
    *,
    fps: float | None,
    every: int | None,
    labels: list[str] | None,
    words: str,
    masks: MaskTag,
    url: str | None,
) -> dict[str, Any]:
    """Write the pictures, the task and the label config, and return how many there are and where they will be.

    part: The folder to write to, whose files are moved to OUT.
    """
    from backend.labelstudio.addresses import address_in, local_file_address
    from video.formats.base import frames_at_rate

    chosen = frames_at_rate(clip.times, fps).tolist() if fps else list(range(0, len(clip), every or 1))
    names = write_frames(clip, chosen, part / "frames")
    folder = url or address_in(local_file_address(out), "frames")
    task = {
        "frames": [address_in(folder, name) for name in names],
        "times_s": [round(float(clip.times[i]), 6) for i in chosen],
        "prompt": words,
    }
    files = {"task": "tasks.json", "label_config": "label_config.xml"}
    (part / files["task"]).write_text(json.dumps([{"data": task}], indent=1, ensure_ascii=False), encoding="utf-8")
    (part / files["label_config"]).write_text(build_mask_label_config(labels or ["Object"], masks), encoding="utf-8")
    counts = {"frames": len(chosen), "of": len(clip), "folder": str(out / "frames")}
    return {**counts, **{name: str(out / file) for name, file in files.items()}}
