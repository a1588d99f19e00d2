"""`refam eval`: score the method on drawn scenes, on benchmarks, and by what its tracks cost an annotator."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backend.cli import console
from backend.cli.console import exit_code, one_line_errors, require_file, steps
from backend.cli.console import out as stdout
from backend.cli.eval_datasets import DATASETS, dataset_command
from backend.cli.examples import examples
from refam.backbones.presets import DEFAULT_BACKBONE
from video.errors import UserError

if TYPE_CHECKING:
    from refam.grounder import Grounder
    from refam.pipeline.pipeline import Pipeline

eval_app = typer.Typer(
    help="Judge a backbone on scenes whose truth is known, and on benchmarks.",
    epilog=examples("eval"),
    no_args_is_help=True,
)
Backbone = Annotated[
    str, typer.Option(envvar="REFAM_BACKBONE", help="Preset name, pipeline folder or hub name that reads the words.")
]
Reading = Annotated[
    bool,
    typer.Option(
        "--reading",
        help="Compare ways of reading the attention instead: contrast, head weights, prototypes; of a video model, "
        "frames and clips.",
    ),
]
Like = Annotated[
    str | None,
    typer.Option(help="Blocks, noise level and sizes of this preset, for a folder of the same kind, e.g. tiny."),
]

_FRAMES_PER_CLIP = 8  # planned frames of a held-out clip, each of which counts as a scene

for _name, _dataset in DATASETS.items():
    eval_app.command(_name, help=_dataset.about, epilog=examples(f"eval {_name}"))(dataset_command(_name))


# --- annotation effort -----------------------------------------------------------------------------------------------


@eval_app.command(epilog=examples("eval strokes"))
def strokes(
    root: Annotated[Path | None, typer.Argument(help="Clips laid out as DAVIS; drawn ones without it.")] = None,
    *,
    clips: Annotated[list[str] | None, typer.Option("--clip", help="Only these clips of ROOT.")] = None,
    step: Annotated[int, typer.Option(min=1, help="Every n-th frame of ROOT's clips.")] = 1,
    limit: Annotated[int, typer.Option(min=1, help="How many drawn objects.")] = 12,
    keyframe_iou: Annotated[
        list[float] | None,
        typer.Option(min=0.1, max=1.0, help="How closely keyframes keep the track; several compare."),
    ] = None,
    backbone: console.Backbone = DEFAULT_BACKBONE,
    sam2: console.Sam2 = None,
    device: console.Device = "auto",
) -> None:
    """What correcting costs: a simulated annotator mends every answer until all frames are right (IoU 0.8).

    Beside the fewest keyframes that a person could set alone, and one box per frame. Drawn clips are asked for by their
    words; those of ROOT by one click, for the small model knows no photographs. Prints Markdown.
    """
    with one_line_errors(), steps() as show_step:
        if root is not None:
            require_file(root / "JPEGImages")
        from backend.feedback.effort import AnnotationEffort, davis_cases, drawn_cases, effort_table, measure_effort
        from video.keyframes import KEYFRAME_IOU

        pipeline = _load_pipeline(backbone, sam2, device)
        efforts_by_iou: dict[float, list[AnnotationEffort]] = {iou: [] for iou in keyframe_iou or [KEYFRAME_IOU]}
        with tempfile.TemporaryDirectory() as cache_dir:
            if root is not None:
                names = clips or sorted(p.name for p in (root / "JPEGImages").iterdir())
                cases, total = davis_cases(root, names, step=step), len(names)
            else:
                cases, total = drawn_cases(limit), limit
            for n, case in enumerate(cases):
                for iou, efforts in efforts_by_iou.items():
                    effort = measure_effort(case, pipeline, cache_dir=Path(cache_dir), keyframe_iou=iou)
                    efforts.append(effort)
                show_step("mend", (n + 1) / total)
        _print(f"{pipeline.model_version}\n")
        for iou, efforts in efforts_by_iou.items():
            _print(f"keyframes within IoU {iou}\n\n{effort_table(efforts)}\n")


@eval_app.command(epilog=examples("eval need"))
def need(
    *,
    clips: Annotated[int, typer.Option(min=2, help="Held-out drawn clips of three objects each.")] = 60,
    fit: Annotated[
        int, typer.Option(min=0, help="First fit the score anew on so many other clips, and keep it in the package.")
    ] = 0,
    backbone: console.Backbone = "tiny",
    sam2: console.Sam2 = None,
    device: console.Device = "auto",
) -> None:
    """Whether the score tells which tracks a person must correct: AUROC on held-out drawn clips, and calibration."""
    with one_line_errors(), steps() as step:
        from backend.feedback import score_evaluation
        from refam.pipeline.confidence import SHIPPED_MODELS, load_score_model, save_score_model

        pipeline = _load_pipeline(backbone, sam2, device)
        if fit:
            tracks = score_evaluation.track_drawn_clips(
                pipeline, fit, score_evaluation.FIT_SEED, progress=lambda f: step("fit", f)
            )
            model = score_evaluation.fit_outcomes(tracks, made_with=pipeline.made_with, source=f"{fit} drawn clips")
            save_score_model(model, SHIPPED_MODELS)
            _print(f"fitted on {len(tracks)} tracks of {fit} drawn clips: {SHIPPED_MODELS}")
        held_out = score_evaluation.track_drawn_clips(
            pipeline, clips, score_evaluation.HELD_OUT_SEED, progress=lambda f: step("judge", f)
        )
        table = score_evaluation.score_table(load_score_model(pipeline.made_with), held_out)
        _print(f"{pipeline.made_with}\n\n{table}")


def _load_pipeline(backbone: str, sam2: str | None, device: str) -> Pipeline:
    from backend.settings import weight_settings
    from refam.grounder_loading import load_grounder_or_group
    from refam.grounding import GroundingOptions
    from refam.pipeline.pipeline import Pipeline

    weights = weight_settings()
    options = GroundingOptions(reading=weights.reading_options())
    grounder = load_grounder_or_group(backbone, device=device, options=options, loading=weights.loading())
    return Pipeline(weights.segmenter(sam2, device=device), grounder=lambda: grounder)


# --- drawn scenes ----------------------------------------------------------------------------------------------------


@eval_app.command(epilog=examples("eval scenes"))
def scenes(
    *,
    backbone: Backbone = "tiny",
    like: Like = None,
    device: console.Device = "auto",
    limit: Annotated[int, typer.Option(min=2, max=1000, help="How many of the 1000 held-out scenes.")] = 1000,
    ablate: Annotated[bool, typer.Option("--ablate", help="What each part of the method is worth.")] = False,
    looks: Annotated[
        bool, typer.Option("--looks", help="What more draws, noise levels and frames that vote buy, and cost.")
    ] = False,
    calibration: Annotated[
        bool, typer.Option("--calibration", help="Whether its confidence means what it says.")
    ] = False,
    choose: Annotated[
        bool, typer.Option("--choose", help="Search blocks and noise level, on other scenes than the held-out ones.")
    ] = False,
    reading: Reading = False,
) -> None:
    """Ground held-out scenes: point accuracy, J and F with 95 % intervals, for each kind of expression.

    The mask for J and F is what GrabCut, the segmenter that needs no weights, makes of the heatmap. Prints Markdown.
    """
    with one_line_errors(), steps() as step:
        if reading and (ablate or looks or calibration or choose):
            raise UserError("--reading prints a table of its own: give it without the other tables' options")
        from refam.evaluation import grounding_scores, reading_choice, reading_scores
        from refam.segmenters.load import load_segmenter
        from refam.tiny import heldout

        grounder, segmenter = _load_grounder(backbone, like, device), load_segmenter(None)
        if choose:
            other_scenes = list(heldout.held_out_scenes(limit, heldout.CHOICE_SEED))
            _print(reading_scores.search_readings(grounder, other_scenes, progress=lambda f: step("ground", f)))
            return
        if reading:
            is_video = grounder.backbone.is_video
            count = max(1, limit // _FRAMES_PER_CLIP) if is_video else limit
            moving = reading_choice.clip_cases(heldout.held_out_clips(count, heldout.HELD_OUT_SEED))
            still = reading_choice.scene_cases(heldout.held_out_scenes(count, heldout.HELD_OUT_SEED))
            table = reading_choice.compare_readings(
                grounder, moving if is_video else still, segmenter, count=count, progress=lambda f: step("read", f)
            )
            _print(table)
            return
        cases = list(heldout.held_out_scenes(limit, heldout.HELD_OUT_SEED))
        if looks:
            _print(reading_scores.plan_table(grounder, cases, segmenter, progress=lambda f: step("looks", f)))
            clips = list(heldout.held_out_clips(max(1, limit // _FRAMES_PER_CLIP), heldout.HELD_OUT_SEED))
            _print(f"\n{len(clips)} clips of 8 planned frames\n")
            _print(reading_scores.fusion_table(grounder, clips, progress=lambda f: step("votes", f)))
            return
        parts = grounding_scores.ABLATION if ablate else {"as it ships": grounding_scores.SHIPPED}
        rows = {name: replace(options, reading=grounder.options.reading) for name, options in parts.items()}
        scores = grounding_scores.score_cases(grounder, cases, rows, segmenter, progress=lambda f: step("ground", f))
        shipped = scores["as it ships"]
        _print(
            grounding_scores.ablation_table(scores, "as it ships") if ablate else grounding_scores.kind_table(shipped)
        )
        if calibration:
            _print("\n" + grounding_scores.confidence_report(grounder, shipped))


@eval_app.command(epilog=examples("eval photos"))
def photos(
    root: Annotated[Path, typer.Argument(help="Folder with objects.jsonl and a folder pictures.", show_default=False)],
    *,
    backbone: Backbone = "photos",
    device: console.Device = "auto",
    limit: Annotated[int | None, typer.Option(min=1, help="How many pictures; all unless given.")] = None,
    places: Annotated[bool, typer.Option(help="Also ask for the left and the right one of two of a kind.")] = False,
    choose: Annotated[
        bool, typer.Option("--choose", help="Compare blocks instead: the current ones, published ones, all, thirds.")
    ] = False,
    masks: Annotated[bool, typer.Option(help="Also outline what is found: the IoU of the first mask.")] = False,
    reading: Reading = False,
    sam2: console.Sam2 = None,
) -> None:
    """Ground the nouns of photographs whose objects are outlined: the share of peaks on the object, for each noun.

    objects.jsonl has a line for each picture: {file, objects: [{name, polygon}]}, polygons in fractions of width and
    height. Nouns that are not there are tried, too. A line or picture that cannot be read costs only itself. Prints
    Markdown.
    """
    left_out: list[str] = []
    with one_line_errors(), steps() as step:
        require_file(root)
        if choose and masks:
            raise UserError("--choose compares the peaks of heatmaps only: give it without --masks")
        if reading and (choose or masks or places):
            raise UserError("--reading prints a table of its own: give it without --choose, --masks and --places")
        from backend.settings import weight_settings
        from refam.evaluation.photos import (
            knows_noun,
            photo_table,
            place_table,
            read_outlined,
            score_pictures,
            score_places,
        )

        pictures = read_outlined(root, skipped=left_out)[:limit]
        grounder = _load_grounder(backbone, None, device)
        known = cache(partial(knows_noun, grounder))
        if reading:
            from refam.evaluation.reading_choice import compare_readings, count_photo_cases, photo_cases

            table = compare_readings(
                grounder,
                photo_cases(pictures, known),
                weight_settings().segmenter(sam2, device=device),
                count=count_photo_cases(pictures, known),
                progress=lambda f: step("read", f),
            )
            _print(table)
        elif choose:
            from refam.evaluation.block_choice import compare_blocks

            _print(compare_blocks(grounder, pictures, known, progress=lambda f: step("ground", f)))
        else:
            segmenter = weight_settings().segmenter(sam2, device=device) if masks else None
            scores = score_pictures(
                grounder, pictures, known, segmenter=segmenter, progress=lambda f: step("ground", f)
            )
            _print(photo_table(scores))
        if places:
            beside = score_places(grounder, pictures, known, progress=lambda f: step("ground words of place", f))
            _print("\n" + place_table(beside))
    raise typer.Exit(exit_code(left_out, done=len(pictures), of="pictures"))


@eval_app.command(epilog=examples("eval absent"))
def absent(
    *,
    backbone: Backbone = "tiny",
    like: Like = None,
    sam2: console.Sam2 = None,
    device: console.Device = "auto",
    pictures: Annotated[int, typer.Option(min=0, help="How many held-out drawn pictures.")] = 300,
    clips: Annotated[int, typer.Option(min=0, help="How many held-out drawn clips, from words to scored tracks.")] = 40,
) -> None:
    """Whether what is not there is told from what is: AUROC on drawn pictures and clips that nothing was fitted on.

    The expressions name a colour, a shape or a texture that nothing has, or that things have which are not the same.
    Prints Markdown.
    """
    with one_line_errors(), steps() as step:
        from backend.settings import weight_settings
        from refam.evaluation import presence_scores
        from refam.pipeline.pipeline import Pipeline
        from refam.pipeline.types import PipelineOptions
        from refam.tiny.heldout import HELD_OUT_SEED

        grounder = _load_grounder(backbone, like, device)
        if pictures:
            least = PipelineOptions().min_presence
            scores = presence_scores.score_pictures(
                grounder, pictures, HELD_OUT_SEED, least=least, progress=lambda f: step("pictures", f)
            )
            _print(f"{pictures} pictures\n\n{presence_scores.presence_table(scores)}\n")
        if clips:
            pipeline = Pipeline(weight_settings().segmenter(sam2, device=device), grounder=lambda: grounder)
            scores = presence_scores.score_clips(pipeline, clips, HELD_OUT_SEED, progress=lambda f: step("clips", f))
            _print(f"{clips} clips\n\n{presence_scores.presence_table(scores)}")


@eval_app.command(epilog=examples("eval calibrate"))
def calibrate(
    *,
    backbone: Backbone = "tiny",
    like: Like = None,
    device: console.Device = "auto",
    limit: Annotated[
        int, typer.Option(min=10, help="How many scenes or pictures to fit on; none of them is held out.")
    ] = 1000,
    photos: Annotated[
        Path | None,
        typer.Option(help="Fit on photographs: a folder as for `refam train-photos`, with `complete` lists."),
    ] = None,
) -> None:
    """Fit what a backbone's confidence means, and how to tell what is not there; both are kept beside the model.

    Writes refam_calibration.json and refam_presence.json into the pipeline's folder, or, for a hub name, into
    ~/.cache/refam. They count for these weights and settings alone, and for pictures like those they were fitted on:
    drawn scenes, or photographs, whose labels say what is there but not where, so that refam_presence.json alone is
    written. Fewer than 8 examples of either kind, or examples that are not told apart, leave the old file as it is.
    """
    with one_line_errors(), steps() as step:
        if photos is not None:
            require_file(photos)
            code = _calibrate_on_photos(backbone, like, device, photos, limit, lambda f: step("tell", f))
            raise typer.Exit(code)
        from refam.backbones import preset_for
        from refam.calibration import calibration_path
        from refam.evaluation.grounding_scores import calibrate_grounder
        from refam.evaluation.presence_scores import calibrate_presence
        from refam.presence import presence_path

        grounder, source = _load_grounder(backbone, like, device), preset_for(backbone).source
        calibrate_grounder(grounder, limit, progress=lambda f: step("ground", f)).save(calibration_path(source))
        _print(f"written to {calibration_path(source)}; see `refam eval scenes --calibration`")
        calibrate_presence(grounder, limit, progress=lambda f: step("tell", f)).save(presence_path(source))
        _print(f"written to {presence_path(source)}; see `refam eval absent`")


def _calibrate_on_photos(
    backbone: str, like: str | None, device: str, directory: Path, limit: int, progress: Callable[[float], None]
) -> int:
    """Fit and write, say which lines and pictures were left out, and return the exit code."""
    from refam.backbones import preset_for
    from refam.evaluation.photo_presence import calibrate_presence_on_photos
    from refam.photos.labels import read_photos
    from refam.presence import presence_path

    left_out: list[str] = []
    listed = read_photos(directory, skipped=left_out)
    grounder, path = _load_grounder(backbone, like, device), presence_path(preset_for(backbone).source)
    try:
        model = calibrate_presence_on_photos(grounder, listed, limit, progress=progress, skipped=left_out)
    except UserError:
        exit_code(left_out, done=0, of="pictures")  # says why there may be too few
        raise
    model.save(path)
    _print(f"written to {path}; see `refam eval photos`")
    return exit_code(left_out, done=model.scenes, of="expressions")


def _load_grounder(backbone: str, like: str | None, device: str) -> Grounder:
    """Load the grounder with its shipped options, and the reading that is set, and print its settings."""
    from backend.settings import weight_settings
    from refam.grounder_loading import load_grounder
    from refam.grounding import GroundingOptions

    weights = weight_settings()
    options = GroundingOptions(reading=weights.reading_options())
    grounder = load_grounder(backbone, device=device, options=options, settings_from=like, loading=weights.loading())
    preset = grounder.backbone.preset
    _print(f"{grounder.name}: blocks {preset.blocks}, noise {preset.noise}, draws {preset.draws}\n")
    return grounder


def _print(text: str) -> None:
    stdout.print(text, markup=False, soft_wrap=True)
