"""`refam frames`: a clip cut into the pictures of a task for mask projects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from backend.cli.console import one_line_errors
from backend.cli.console import out as stdout
from backend.cli.out_option import output_folder
from backend.labelstudio.picture_tasks import MaskTag, build_mask_label_config, write_frames


def frames(
    video: Annotated[Path, typer.Argument(help="The video file.", show_default=False)],
    *,
    out: Annotated[Path, typer.Option(help="The folder to write to.", show_default=False, callback=output_folder)],
    fps: Annotated[float | None, typer.Option(help="So many pictures a second, by presentation time.")] = None,
    every: Annotated[int | None, typer.Option(min=1, help="Every so many frames; 1 takes all.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="A label to offer. May be given again.")] = None,
    words: Annotated[str, typer.Option(help="What to find; the task's `prompt`.")] = "",
    masks: Annotated[MaskTag, typer.Option(help="How the editor shall keep masks.")] = "brush",
    url: Annotated[
        str | None, typer.Option(help="Address of the folder of pictures; as local files of OUT's name unless given.")
    ] = None,
) -> None:
    """Cut a clip into a task of pictures, for masks: OUT/frames/*.jpg, OUT/tasks.json and OUT/label_config.xml."""
    if fps is not None and every is not None:
        raise typer.BadParameter("give --fps or --every, not both")
    if fps is not None and not 0 < fps <= 1000:
        raise typer.BadParameter("--fps must be above 0, and at most 1000")
    with one_line_errors():
        from video.formats.base import frames_at_rate
        from video.io.reader import open_clip

        clip = open_clip(video)
        chosen = frames_at_rate(clip.times, fps).tolist() if fps else list(range(0, len(clip), every or 1))
        names = write_frames(clip, chosen, out / "frames")
        folder = (url or f"/data/local-files/?d={quote(out.resolve().name)}/frames").rstrip("/")
        task = {
            "frames": [f"{folder}/{quote(name)}" for name in names],
            "times_s": [round(float(clip.times[i]), 6) for i in chosen],
            "prompt": words,
        }
        (out / "tasks.json").write_text(json.dumps([{"data": task}], indent=1, ensure_ascii=False), encoding="utf-8")
        (out / "label_config.xml").write_text(build_mask_label_config(label or ["Object"], masks), encoding="utf-8")
    stdout.print(f"{len(chosen)} of {len(clip)} frames written to {out / 'frames'}", markup=False, soft_wrap=True)
    stdout.print(f"task to import   {out / 'tasks.json'}", markup=False, soft_wrap=True)
    stdout.print(f"its label config {out / 'label_config.xml'}", markup=False, soft_wrap=True)
