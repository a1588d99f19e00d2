"""`refam draw`: videos with a known truth, to try everything on."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Annotated

import typer

from backend.cli.console import one_line_errors, steps
from backend.cli.console import out as stdout
from backend.cli.out_option import output_folder
from backend.cli.result_folder import hold_folder, replace_results
from backend.cli.task_address import ADDRESS_UNLESS_GIVEN, check_url, note_outside


def draw(
    out: Annotated[
        Path, typer.Argument(help="The folder to write to.", show_default=False, parser=output_folder, metavar="out")
    ],
    *,
    count: Annotated[int, typer.Option(min=1, help="How many videos.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Of the first drawing; the others follow it.")] = 1,
    url: Annotated[
        str | None, typer.Option(help=f"Address of the folder in tasks; {ADDRESS_UNLESS_GIVEN}.", callback=check_url)
    ] = None,
) -> None:
    """Draw videos of moving shapes whose truth is known, to try everything on before your own.

    Writes OUT/scene-*.mp4; tasks.json and label_config.xml for Label Studio; manifest.csv for `refam curate`; and
    truth.json, the tasks as if a person had drawn their objects right, for `refam export`.
    """
    with one_line_errors(), steps() as step, hold_folder(out), replace_results(out) as part:
        from backend.demo.synthetic_videos import LABEL, draw_videos, list_scenes, task_data, truth_task
        from backend.labelstudio.addresses import local_file_address
        from backend.labelstudio.import_tasks import build_label_config

        folder = url or local_file_address(out)
        videos = []
        for video in draw_videos(part, list_scenes(seed, count)):
            videos.append(video)
            step("draw", len(videos) / count)
        _write_json(part / "tasks.json", [{"data": task_data(video, folder_url=folder)} for video in videos])
        _write_json(part / "truth.json", [truth_task(video, folder_url=folder) for video in videos])
        (part / "label_config.xml").write_text(build_label_config([LABEL]), encoding="utf-8")
        with (part / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["id", "video", "expressions"])
            rows.writerows([v.path.stem, v.path.name, "; ".join(v.expressions)] for v in videos)
    note_outside([out], url)
    frames = sum(len(video.times) for video in videos)
    lines = {
        f"{count} video{'s'[: count > 1]}": f"{out}/scene-*.mp4, {frames} frames in all",
        "tasks to import": out / "tasks.json",
        "their label config": out / "label_config.xml",
        "manifest": out / "manifest.csv",
        "the truth": out / "truth.json",
    }
    for name, text in lines.items():
        stdout.print(f"{name:<19}{text}", markup=False, soft_wrap=True)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
