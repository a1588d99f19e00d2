"""The command line. `--help` starts at once: everything heavy is imported by the command that needs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from backend import __version__
from backend.console import one_line_errors, print_findings, report, steps
from backend.console import out as stdout
from backend.curate.app import curate
from backend.eval_app import eval_app
from backend.exchange.app import export, import_
from backend.frames_app import frames
from backend.loop.app import calibrate, feedback, next_tasks
from backend.models import models_app
from backend.serve_app import connect, serve, work

if TYPE_CHECKING:
    from backend.pipeline import Pipeline
    from refam.magnets import Magnets as MagnetWords

app = typer.Typer(
    name="refam",
    help="Words and a video in, tracked objects out: pre-annotations for Label Studio.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    add_completion=False,
)

for command in (serve, work, connect, frames, feedback, calibrate, export, curate):
    app.command()(command)
app.command("next")(next_tasks)
app.command("import")(import_)
app.add_typer(eval_app, name="eval")
app.add_typer(models_app, name="models")
Backbone = Annotated[
    str,
    typer.Option(
        envvar="REFAM_BACKBONE",
        help="What reads the words: a preset (`refam models` lists them), a pipeline's folder or its hub name.",
    ),
]
Download = Annotated[
    bool, typer.Option("--download", envvar="REFAM_DOWNLOAD", help="Fetch the backbone where it is not here yet.")
]
Magnets = Annotated[
    str | None,
    typer.Option(envvar="REFAM_MAGNETS", help='Attention magnets to append, such as "with to . pink"; see the README.'),
]
Sam2 = Annotated[
    str | None,
    typer.Option(
        envvar="REFAM_SAM2",
        help="What draws masks: sam2-tiny and others of `refam models`, a folder, a hub name, or grabcut, which needs "
        "no weights; unless given, the best that is here. REFAM_TRACKER (auto, memory, sam2-video, flow): what follows "
        "them.",
    ),
]
Device = Annotated[str, typer.Option(envvar="REFAM_DEVICE", help="auto, cpu, cuda, cuda:1 or mps.")]


@app.command(
    epilog="[b]Examples[/b]\n\n"
    '  refam label clip.mp4 "the red star" --out found\n\n'
    '  refam label clip.mp4 "the red star" "the small ring" --out found\n\n'
    '  refam label clip.mp4 "the dog" --point 0.42,0.61@0 --out found\n\n'
    "  refam label clip.mp4 --box 0.30,0.20,0.15,0.40@25 --out found\n\n"
    "  refam label clip.mp4 --mask first.png@0 --not-point 0.9,0.1@40 --out found\n\n"
    "What is drawn is kept as it is, and only what lies between drawings is followed anew.\n\n"
    "Points and boxes are in fractions of the frame, x and y from the top left; frames are counted from 0."
)
def label(
    video: Annotated[Path, typer.Argument(help="The video file.", show_default=False)],
    words: Annotated[
        list[str] | None, typer.Argument(help="What to find; each quoted expression is one object.", show_default=False)
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="The folder to write to.", show_default=False)],
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
    backbone: Backbone = "tiny",
    sam2: Sam2 = None,
    magnets: Magnets = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of the noise that the words are read with.")] = 0,
    download: Download = False,
) -> None:
    """Find objects in a video by words, points, boxes or masks, and track them.

    Writes to OUT: masks/OBJECT/FRAME.png (0 or 255; both counted from 0; one for every frame), tracks.json,
    label_studio.json (ready to import) with label_config.xml, and overlay.mp4.
    """
    from backend.ask import AskError, Drawn, check_drawn, targets_of
    from video.timeline import editor_rate

    words_added = _magnets(magnets)
    try:
        targets = targets_of(words or [], Drawn(point or [], not_point or [], box or [], mask or []))
        rate = None if fps is None else editor_rate(fps)
    except (AskError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error
    with one_line_errors(), steps() as step:
        from backend.outputs import places, write_all
        from video.clip import open_clip

        places(out)  # before hours of work, not after
        step("open", 0.0)
        clip = open_clip(video)
        step("open", 1.0)
        check_drawn(targets, len(clip), clip.size)
        pipeline = _pipeline(backbone, sam2, device=device, seed=seed, magnets=words_added, download=download)
        results = pipeline.run(clip, targets, progress=step)
        written = write_all(
            out,
            clip,
            results,
            model_version=pipeline.model_version,
            video=url or f"/data/local-files/?d={quote(video.name)}",
            fps=rate or max(1.0, clip.average_fps),
            progress=step,
        )
    report(clip, results, written, version=pipeline.model_version)
    if sam2 is None:
        stdout.print(f"{'masks by':<17}{_masks_by(device)}", markup=False, soft_wrap=True)


@app.command()
def explain(
    video: Annotated[Path, typer.Argument(help="The video file.", show_default=False)],
    words: Annotated[str, typer.Argument(help="What to find.", show_default=False)],
    *,
    out: Annotated[Path, typer.Option(help="The page to write, an .html file.", show_default=False)],
    frame: Annotated[
        int | None, typer.Option(min=0, help="Which frame, from 0; the one on which the words are surest unless given.")
    ] = None,
    backbone: Backbone = "tiny",
    sam2: Sam2 = None,
    magnets: Magnets = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of the noise that the words are read with.")] = 0,
    download: Download = False,
) -> None:
    """Write a page that shows how words became a mask in one frame: every word's map, and what each step changed."""
    words_added = _magnets(magnets)
    with one_line_errors(), steps() as step:
        from backend.explain_app import make_page
        from backend.settings import weight_settings
        from refam.grounder import GroundingOptions, load_grounder

        options = GroundingOptions(seed=seed, magnet_words=words_added)
        weights = weight_settings(download=download)
        grounder = load_grounder(backbone, device=device, options=options, loading=weights.loading())
        segmenter = weights.segmenter(sam2, device=device)
        page = make_page(video, words, frame=frame, grounder=grounder, segmenter=segmenter, progress=step)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page, encoding="utf-8")
    stdout.print(f"written to {out}", markup=False, soft_wrap=True)


@app.command()
def doctor(backbone: Backbone = "tiny", sam2: Sam2 = None, device: Device = "auto") -> None:
    """Say what is installed, what would be used, and whether it works. Exit code 1 when something will fail."""
    import itertools

    from backend.doctor import examine
    from backend.doctor_service import examine_service

    stdout.print(f"refam {__version__}")
    findings = itertools.chain(examine(backbone, sam2, device), examine_service())
    wrong = print_findings((finding.state, f"{finding.part:<12}{finding.text}") for finding in findings)
    if wrong:
        raise typer.Exit(1)


@app.command()
def train_tiny(
    out: Annotated[Path, typer.Option(help="The FluxPipeline folder to write.", show_default=False)],
    autoencoder_minutes: Annotated[float, typer.Option(min=0.01, help="Time for the autoencoder.")] = 30.0,
    transformer_minutes: Annotated[float, typer.Option(min=0.01, help="Time for the transformer.")] = 75.0,
    scenes: Annotated[int, typer.Option(min=64, help="How many scenes to draw.")] = 40_000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    autoencoder_from: Annotated[
        Path | None, typer.Option(exists=True, help="The autoencoder.pt of an earlier run, to skip that stage.")
    ] = None,
    go_on_from: Annotated[
        Path | None, typer.Option(exists=True, help="The folder of an earlier run, to train its transformer further.")
    ] = None,
) -> None:
    """Train the small model from drawn scenes and their captions alone."""
    with one_line_errors():
        from refam.tiny.train import main

        made = main(
            out,
            autoencoder_minutes=autoencoder_minutes,
            transformer_minutes=transformer_minutes,
            scenes=scenes,
            seed=seed,
            autoencoder_from=autoencoder_from,
            go_on_from=go_on_from,
            log=lambda line: stdout.print(line, markup=False),
        )
        stdout.print(f"the model is in {made}", markup=False)


@app.command()
def version() -> None:
    """Print the version."""
    stdout.print(__version__)


def _pipeline(
    backbone: str, sam2: str | None, *, device: str, seed: int, magnets: MagnetWords, download: bool
) -> Pipeline:
    from backend.pipeline import Pipeline
    from backend.settings import weight_settings

    weights = weight_settings(download=download)

    def grounder():  # type: ignore[no-untyped-def]  # noqa: ANN202 - the type alone would import torch
        from refam.grounder import GroundingOptions, load_grounder

        options = GroundingOptions(seed=seed, magnet_words=magnets)
        return load_grounder(backbone, device=device, options=options, loading=weights.loading())

    return Pipeline(weights.segmenter(sam2, device=device), grounder=grounder)


def _masks_by(device: str) -> str:
    """Nobody said what is to draw the masks: what did, and why."""
    from backend.settings import weight_settings

    choice = weight_settings().segmenter_choice(None, device=device)
    return f"{choice.version}: {choice.why}"


def _magnets(text: str | None) -> MagnetWords:
    """Raises BadParameter before anything heavy is loaded."""
    from refam.magnets import Magnets as MagnetWords

    try:
        return MagnetWords() if text is None else MagnetWords.read(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--magnets") from error


if __name__ == "__main__":
    app()
