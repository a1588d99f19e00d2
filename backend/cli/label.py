"""`refam label`: find and track objects in videos, and write masks, tracks and a task for each."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backend.cli.console import (
    Backbone,
    Device,
    Download,
    Magnets,
    NoDownload,
    Sam2,
    err,
    magnet_words,
    one_line_errors,
)
from backend.cli.out_option import output_folder
from backend.cli.region_options import Every, MaxSize, QualityOption, Range, Rate, read_rate, read_region
from backend.cli.task_address import ADDRESS_UNLESS_GIVEN, check_url
from backend.cli.videos import find_videos, looks_like_a_video, output_folders, split_arguments
from backend.cli.word_advice import note_several, range_option, refuse_words
from refam.backbones.presets import DEFAULT_BACKBONE
from refam.pipeline.quality import Quality

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from backend.cli.prompts import ObjectPlan, Option

LABEL_EXAMPLES = (
    "[b]Examples[/b]\n\n"
    '  refam label clip.mp4 "the red star"\n\n'
    '  refam label clip.mp4 "Car: the red square" "the small ring" --out found\n\n'
    '  refam label a.mp4 b.mp4 clips/ "more/*.mp4" https://host/c.mp4 "the red star"\n\n'
    '  refam label frames/ "the red star" --fps 25   [dim]# a folder of JPEGs is one video[/dim]\n\n'
    "  refam label clip.mp4 --point 0.42,0.61 --preview   [dim]# shows the first mask, then tracks it[/dim]\n\n"
    '  refam label clip.mp4 --box "Car: 640,360,200,90@1.2s" --point "Dog: 120,80@30"\n\n'
    "  refam label clip.mp4 --mask first.png@0 --not-point 0.9,0.1@40\n\n"
    "Points and boxes are fractions of the frame, or pixels, x and y from the top left; @30 is a frame, counted from "
    "0, @1.2s a time; @0 unless given. NAME: before them says which object they belong to, and is its label.\n\n"
    "Boxes and masks are kept as they are. A later point corrects the mask at which it is: on the object it adds the "
    "piece around it, off the object it takes it away. Only what lies between drawings is followed anew.\n\n"
    "Exit codes: 0 all done, 3 some videos or objects were not found or failed, 1 nothing was done, 2 wrong usage."
)


def label(
    video: Annotated[
        str,
        typer.Argument(
            help="A video file, a folder of videos, a folder of pictures (one video), a glob, a list of videos (.txt, "
            "one a line), or an address.",
            show_default=False,
        ),
    ],
    more: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VIDEO | WORDS",
            help="More videos, and what to find: each quoted expression is one object, or several with ; between them; "
            "with LABEL: before it, it gets that label.",
            show_default=False,
        ),
    ] = None,
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The folder to write to; with several videos a folder for each in it. Unless given, found/VIDEO.",
            show_default=False,
            parser=output_folder,
            metavar="<path>",
        ),
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option("--label", help="The object's label. With several objects once for each.")
    ] = None,
    point: Annotated[
        list[str] | None, typer.Option(metavar="[NAME:]X,Y[@WHEN]", help="A point on the object. May be given again.")
    ] = None,
    not_point: Annotated[
        list[str] | None, typer.Option(metavar="[NAME:]X,Y[@WHEN]", help="A point off the object. May be given again.")
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME:]X,Y,W,H[@WHEN]",
            help="A box around it, from its top left corner. May be given again; several on one frame are as many "
            "objects.",
        ),
    ] = None,
    mask: Annotated[
        list[str] | None, typer.Option(metavar="[NAME: ]FILE[@WHEN]", help="Its mask, a PNG. May be given again.")
    ] = None,
    fps: Rate = None,
    url: Annotated[
        str | None,
        typer.Option(
            help="The video's address in the task, or with several videos that of their folder; "
            f"{ADDRESS_UNLESS_GIVEN}.",
            callback=check_url,
        ),
    ] = None,
    range_: Range = "",
    every: Every = 1,
    max_size: MaxSize = None,
    quality: QualityOption = Quality.NORMAL,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where SAM2's features of frames are kept, so that none is encoded twice; REFAM_FEATURES_MB (2000) "
            "bounds it. Unless given, in the data directory.",
        ),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Begin anew; else a run that was stopped goes on where it was.")
    ] = False,
    preview: Annotated[
        bool,
        typer.Option("--preview", help="First write OUT/preview.png, the mask that is to be tracked, and say so."),
    ] = False,
    preview_only: Annotated[
        bool, typer.Option("--preview-only", help="Write OUT/preview.png and stop; a later run goes on from there.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    show: Annotated[bool, typer.Option("--open", help="Open the overlay when it is done.")] = False,
    backbone: Backbone = DEFAULT_BACKBONE,
    sam2: Sam2 = None,
    magnets: Magnets = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of the noise that the words are read with.")] = 0,
    download: Download = False,
    no_download: NoDownload = False,
) -> None:
    """Find objects in videos by words, points, boxes or masks, and track them.

    Writes to OUT: masks/OBJECT/FRAME.png (0 or 255; both counted from 0), tracks.json, label_studio.json (ready to
    import) with label_config.xml, overlay.mp4, and needs_a_look.jpg where frames need a look: gaps, low scores, sudden
    changes. A file that breaks off is labelled up to there, and that is said. One bad video of several costs only
    itself.
    """
    from backend.cli.prompts import describe_corner, split_expressions

    given, words = split_arguments([video, *(more or ())])
    words_added = magnet_words(magnets)
    sources = find_videos(given)
    with one_line_errors():
        if all(source.error for source in sources):
            from backend.cli.videos import VideoError

            raise VideoError("; ".join(f"{source.text}: {source.error}" for source in sources))
    drawn: dict[Option, list[str] | None] = {"--point": point, "--not-point": not_point, "--box": box, "--mask": mask}
    plans = _plan(split_expressions(words), drawn, name, given, range_)
    if not any(plan.drawings for plan in plans):
        refuse_words(
            "label",
            sources[0].text,
            [plan.words or "" for plan in plans],
            backbone=backbone,
            magnets=words_added,
            download=download,
            frame_range=range_,
        )
    note_several("label", given, plans, frame_range=range_)
    for note in filter(None, (describe_corner(drawing) for plan in plans for drawing in plan.drawings)):
        err.print(f"note: {note}", markup=False, soft_wrap=True)
    region, rate = read_region(range_, every, max_size, quality), read_rate(fps)
    from backend.cli.label_run import LabelRun, ModelOptions

    options = ModelOptions(
        backbone=backbone,
        sam2=sam2,
        magnets=words_added,
        device=device,
        seed=seed,
        quality=quality,
        cache=cache,
        download=download,
        offline=no_download,
    )
    run = LabelRun(
        plans,
        options,
        region=region,
        rate=rate,
        url=url,
        again=again,
        preview=preview or preview_only,
        preview_only=preview_only,
        as_json=as_json,
        show=show,
    )
    with one_line_errors():  # what is not of one video, such as a standard output that cannot be written to
        code = run(list(zip(sources, output_folders(sources, out), strict=True)))
    raise typer.Exit(code)


def _plan(
    words: Sequence[str],
    texts: Mapping[Option, list[str] | None],
    labels: list[str] | None,
    videos: Sequence[str],
    frame_range: str,
) -> list[ObjectPlan]:
    """Return the objects to find. Raises BadParameter."""
    from backend.cli.prompts import parse_drawing, plan_objects
    from refam.pipeline.errors import PromptError
    from refam.text.lexicon import is_no_thing

    if not words and len(videos) > 1 and not any(texts.values()) and not looks_like_a_video(videos[0]):
        command = shlex.join(["refam", "label", *videos[1:], videos[0], *range_option(frame_range)])
        raise typer.BadParameter(f"{videos[0]!r} is no video; the video comes first, then the words: {command}")
    if len(words) > 1 and (alone := next((w for w in words if is_no_thing(w.strip().lower())), "")):
        command = f'{shlex.join(["refam", "label", *videos])} "{" ".join(words)}"'
        command = " ".join([command, *map(shlex.quote, range_option(frame_range))])
        raise typer.BadParameter(f"{alone!r} names nothing to look for; quote the words of an expression: {command}")
    try:
        drawings = [parse_drawing(option, text) for option, given in texts.items() for text in given or ()]
        return plan_objects(words, drawings, labels or ())
    except PromptError as error:
        hint = ""
        if not words and len(videos) > 1:  # a word that is also the name of a folder
            hint = f" ({videos[-1]!r} was taken for a video; more than one word is never)"
        raise typer.BadParameter(f"{error}{hint}") from error
