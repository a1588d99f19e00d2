"""`refam pick`: click on an object in a local page, see its first mask, and get the command that tracks it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backend.cli.console import Device, NoDownload, Sam2, check_label, fetch_segmenter, one_line_errors, steps
from backend.cli.console import out as stdout
from backend.cli.out_option import output_folder
from backend.cli.region_options import Every, MaxSize, QualityOption, Range, Rate, read_rate, read_region
from backend.cli.videos import VideoError, find_videos, open_source, output_folders
from backend.cli.word_advice import range_option
from refam.pipeline.quality import Quality


def pick(
    video: Annotated[str, typer.Argument(help="A video file, a folder of pictures or an address.", show_default=False)],
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The folder that `refam label` is to write to.",
            show_default=False,
            parser=output_folder,
            metavar="<path>",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--label", help="The object's label.", callback=check_label)] = None,
    fps: Rate = None,
    range_: Range = "",
    every: Every = 1,
    max_size: MaxSize = None,
    quality: QualityOption = Quality.NORMAL,
    sam2: Sam2 = None,
    device: Device = "auto",
    no_download: NoDownload = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 for any that is free.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the page's address.")] = False,
) -> None:
    """Click on an object in a page, see its mask at once, and get the `refam label` command that tracks it.

    The page is for this machine only. A click is on the object, shift-click off it, drag a box. The command is printed
    here too; a button runs it. Ctrl-C ends.
    """
    region, rate = read_region(range_, every, max_size, quality), read_rate(fps)
    with one_line_errors():
        sources = find_videos([video])
        if len(sources) != 1:
            raise VideoError(f"{video}: this names {len(sources)} videos; give one")
        if sources[0].error:
            raise VideoError(f"{video}: {sources[0].error}")
        from backend.cli.outputs import check_outputs
        from backend.cli.pick_page import Picker, serve
        from backend.settings import weight_settings

        (folder,) = output_folders(sources, out)
        check_outputs(folder, [] if sources[0].is_address else [Path(sources[0].text)])  # as `refam label` will
        weights = weight_settings(offline=no_download)
        options = [
            *(["--label", name] if name else []),
            *(["--out", str(out)] if out else []),
            *(["--fps", f"{fps:g}"] if fps is not None else []),
            *range_option(range_),
            *(["--every", str(every)] if every != 1 else []),
            *(["--max-size", str(max_size)] if max_size is not None else []),
            *(["--quality", str(quality)] if quality is not Quality.NORMAL else []),
            *(["--sam2", sam2] if sam2 else []),
            *(["--device", device] if device != "auto" else []),
            *(["--no-download"] if no_download else []),
        ]
        with open_source(sources[0], fps=rate) as clip:
            with steps() as step:
                fetch_segmenter(weights, sam2, step=step)
                step("load", 0.0)
                segmenter = weights.segmenter(sam2, device=device)
            region.view(clip, [])  # raises for a range outside of the video before anything is drawn
            picker = Picker(clip, segmenter, [sources[0].text, *options], region)
            serve(picker, port=port, ready=lambda address: _announce(address, browser=not no_browser))


def _announce(address: str, *, browser: bool) -> None:
    stdout.print(f"open {address} in a browser on this machine; Ctrl-C ends", markup=False, soft_wrap=True)
    if browser:
        typer.launch(address)
