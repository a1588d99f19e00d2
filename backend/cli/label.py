"""`refam label`: find and track objects in a video, and write masks, tracks and a task."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from backend.cli.console import (
    Backbone,
    Device,
    Download,
    Magnets,
    NoDownload,
    Sam2,
    fetch_segmenter,
    magnet_words,
    one_line_errors,
    report,
    require_file,
    steps,
)
from backend.cli.console import out as stdout
from backend.cli.out_option import output_folder
from backend.cli.word_advice import refuse_words
from refam.pipeline.quality import Quality

if TYPE_CHECKING:
    from backend.settings import WeightSettings
    from refam.model import Model
    from refam.text.magnets import Magnets as MagnetWords

LABEL_EXAMPLES = (
    "[b]Examples[/b]\n\n"
    '  refam label clip.mp4 "the red star" --out found\n\n'
    '  refam label clip.mp4 "the red star" "the small ring" --out found\n\n'
    '  refam label clip.mp4 "the dog" --point 0.42,0.61@0 --out found\n\n'
    "  refam label clip.mp4 --box 0.30,0.20,0.15,0.40@25 --out found\n\n"
    "  refam label clip.mp4 --mask first.png@0 --not-point 0.9,0.1@40 --out found\n\n"
    "Boxes and masks are kept as they are. A later point corrects the mask at which it is: on the object it adds the "
    "piece around it, off the object it takes it away. Only what lies between drawings is followed anew.\n\n"
    "Points and boxes are in fractions of the frame, x and y from the top left; frames are counted from 0."
)


def label(
    video: Annotated[Path, typer.Argument(help="The video file.", show_default=False)],
    words: Annotated[
        list[str] | None, typer.Argument(help="What to find; each quoted expression is one object.", show_default=False)
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="The folder to write to.", show_default=False, callback=output_folder)],
    point: Annotated[
        list[str] | None, typer.Option(metavar="X,Y@FRAME", help="A point on the object. May be given again.")
    ] = None,
    not_point: Annotated[
        list[str] | None, typer.Option(metavar="X,Y@FRAME", help="A point off the object. May be given again.")
    ] = None,
    box: Annotated[
        list[str] | None, typer.Option(metavar="X,Y,W,H@FRAME", help="A box around it. May be given again.")
    ] = None,
    mask: Annotated[
        list[str] | None, typer.Option(metavar="FILE@FRAME", help="Its mask, a PNG. May be given again.")
    ] = None,
    fps: Annotated[
        float | None, typer.Option(help="The editor's frame rate in the task; the clip's own unless given.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="The video's address in the task; unless given, as a local file of that name.")
    ] = None,
    range_: Annotated[
        str,
        typer.Option("--range", metavar="FROM-TO", help="Look at this part only: frames (100-250) or seconds (4s-9s)."),
    ] = "",
    every: Annotated[
        int, typer.Option(metavar="N", help="Look at every N-th frame; on those between, masks are interpolated.")
    ] = 1,
    max_size: Annotated[
        int | None, typer.Option(metavar="PX", help="Look at frames of this longer side; masks come in full size.")
    ] = None,
    quality: Annotated[
        Quality, typer.Option(help="How closely to look: frames grounded, how often masks are looked at, size.")
    ] = Quality.NORMAL,
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
    backbone: Backbone = "tiny",
    sam2: Sam2 = None,
    magnets: Magnets = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of the noise that the words are read with.")] = 0,
    download: Download = False,
    no_download: NoDownload = False,
) -> None:
    """Find objects in a video by words, points, boxes or masks, and track them.

    Writes to OUT: masks/OBJECT/FRAME.png (0 or 255; both counted from 0; one for every frame), tracks.json,
    label_studio.json (ready to import) with label_config.xml, overlay.mp4, and needs_a_look.jpg where frames need a
    look: gaps, low scores, sudden changes. A file that breaks off is labelled up
    to there, and that is said.
    """
    words_added = magnet_words(magnets)
    with one_line_errors():
        require_file(video)
    if words and all(w.strip() for w in words) and not (point or not_point or box or mask):
        refuse_words("label", str(video), words, backbone=backbone, magnets=words_added, download=download)
    from backend.cli.targets import PromptOptions, build_targets, check_prompts
    from backend.labelstudio.timeline import editor_rate, rate_for_task
    from refam.pipeline.roi import RegionOfInterest
    from refam.pipeline.types import PromptError

    try:
        targets = build_targets(words or [], PromptOptions(point or [], not_point or [], box or [], mask or []))
        rate = None if fps is None else editor_rate(fps)
        region = RegionOfInterest(range_, every=every, max_side_px=max_size or quality.max_side_px)
    except (PromptError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error
    with one_line_errors(), steps() as step:
        from backend.cli.outputs import delete_stages, output_paths, stage_cache, write_outputs
        from backend.settings import weight_settings
        from video.io.reader import open_clip

        output_paths(out)  # raises before hours of work, not after
        step("open", 0.0)
        clip = open_clip(video, partial=True)
        step("open", 1.0)
        check_prompts(targets, len(clip), clip.size)
        region.view(clip, targets)  # raises before the models are loaded
        stages = stage_cache(out, video, (backbone, seed, str(words_added), region, quality), again=again)
        weights = weight_settings(download=download, offline=no_download)
        why_no_weights = fetch_segmenter(weights, sam2, progress=step)
        model = _load_model(
            weights,
            backbone,
            sam2,
            device=device,
            seed=seed,
            magnets=words_added,
            quality=quality,
            cache=cache,
        )
        results = model.run(clip, targets, region=region, progress=step, cache=stages)
        written = write_outputs(
            out,
            clip,
            results,
            model_version=model.model_version,
            video=url or f"/data/local-files/?d={quote(video.name)}",
            fps=rate or rate_for_task(clip.average_fps),
            progress=step,
        )
        if not any(result.read_errors for result in results):  # a later run may be able to read what this one could not
            delete_stages(out)
    report(clip, results, written, version=model.model_version)
    if sam2 is None:
        choice = weights.segmenter_choice(None, device=device, why_no_weights=why_no_weights)
        stdout.print(f"{'masks by':<17}{choice.version}: {choice.why}", markup=False, soft_wrap=True)


def _load_model(
    weights: WeightSettings,
    backbone: str,
    sam2: str | None,
    *,
    device: str,
    seed: int,
    magnets: MagnetWords,
    quality: Quality,
    cache: Path | None,
) -> Model:
    import refam

    return refam.load(
        backbone,
        sam2,
        device=device,
        quality=quality,
        tracker=weights.tracker,
        magnets=magnets,
        seed=seed,
        dtype=weights.dtype,
        offload=weights.offload,
        quantise=weights.quantise,
        free_text=weights.free_text,
        download=weights.download,
        offline=True,  # what is to be fetched has been
        models_dir=weights.models_dir,
        feature_cache=cache or weights.data_dir / "features",
        feature_cache_mb=weights.features_mb,
    )
