"""`refam explain`: write a page that shows how words became a mask."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backend.cli.console import (
    NOTHING_DONE,
    SOME_DONE,
    Backbone,
    Device,
    Download,
    Magnets,
    NoDownload,
    Sam2,
    describe_error,
    err,
    fetch_segmenter,
    magnet_words,
    one_line_errors,
    steps,
)
from backend.cli.console import out as stdout
from backend.cli.out_option import output_page
from backend.cli.result_folder import refuse_overwriting
from backend.cli.videos import VideoError, find_one_video, open_source
from backend.cli.word_advice import refuse_words
from refam.backbones.presets import DEFAULT_BACKBONE
from video.atomic_files import write_text
from video.errors import UserError, shorten


def explain(
    video: Annotated[
        str, typer.Argument(help="A video file, a folder of pictures (one video) or an address.", show_default=False)
    ],
    words: Annotated[
        str, typer.Argument(help="What to find; with ; between expressions a page for each.", show_default=False)
    ],
    *,
    out: Annotated[
        Path,
        typer.Option(
            help="The page to write, an .html file; of several expressions with -1, -2 ... behind its name.",
            show_default=False,
            parser=output_page,
            metavar="<path>",
        ),
    ],
    frame: Annotated[
        int | None, typer.Option(min=0, help="Which frame, from 0; the one on which the words are surest unless given.")
    ] = None,
    backbone: Backbone = DEFAULT_BACKBONE,
    sam2: Sam2 = None,
    magnets: Magnets = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of the noise that the words are read with.")] = 0,
    download: Download = False,
    no_download: NoDownload = False,
) -> None:
    """Write a page that shows how words became a mask in one frame: every word's map, and what each step changed."""
    from backend.cli.prompts import split_expressions

    words_added = magnet_words(magnets)
    if not words.strip():
        raise typer.BadParameter("say what to find, for example 'the red star'", param_hint="WORDS")
    with one_line_errors():
        from refam.text.labelled import split_label

        expressions = [split_label(text)[1] for text in split_expressions([words])]
        several = len(expressions) > 1
        pages = [out.with_stem(f"{out.stem}-{i}") for i in range(1, len(expressions) + 1)] if several else [out]
        source = find_one_video(video)
        refuse_overwriting(pages, [] if source.is_address else [Path(source.text)])
    refuse_words("explain", source.text, expressions, backbone=backbone, magnets=words_added, download=download)
    written = 0
    with one_line_errors(), open_source(source) as clip:
        if frame is not None and frame >= len(clip):  # before models are loaded
            raise VideoError(f"there is no frame {frame}; {source.name} has frames 0 to {len(clip) - 1}")
        from backend.settings import weight_settings
        from refam.explain.video import explain_video
        from refam.grounder import GroundingOptions
        from refam.grounder_loading import load_grounder_or_group

        weights = weight_settings(download=download, offline=no_download)
        options = GroundingOptions(seed=seed, magnet_words=words_added, reading=weights.reading_options())
        grounder = load_grounder_or_group(backbone, device=device, options=options, loading=weights.loading())
        with steps() as step:
            fetch_segmenter(weights, sam2, step=step)
        segmenter = weights.segmenter(sam2, device=device)
        for expression, path in zip(expressions, pages, strict=True):
            try:
                with steps() as step:
                    page = explain_video(
                        clip,
                        expression,
                        source=source.name,
                        frame=frame,
                        grounder=grounder,
                        segmenter=segmenter,
                        progress=step,
                    )
                write_text(path, page)
            except (UserError, OSError) as error:  # a page that cannot be written costs no other
                sentence = describe_error(error)
                if not several or sentence is None:
                    raise
                err.print(f"refam: {shorten(expression)}: {sentence}", markup=False, soft_wrap=True)
                continue
            written += 1
            named = f": {shorten(expression)}" if several else ""
            stdout.print(f"written to {path}{named}", markup=False, soft_wrap=True)
    if clip.broken:
        err.print(f"note: {clip.broken}", markup=False, soft_wrap=True)
    if written < len(pages):
        raise typer.Exit(SOME_DONE if written else NOTHING_DONE)
