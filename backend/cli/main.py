"""The command line. `--help` starts at once: everything heavy is imported by the command that needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backend.cli.calibrate import calibrate
from backend.cli.console import one_line_errors, print_findings, steps
from backend.cli.console import out as stdout
from backend.cli.curate import curate
from backend.cli.draw import draw
from backend.cli.eval import eval_app
from backend.cli.export import export, import_
from backend.cli.feedback import feedback, next_tasks
from backend.cli.frames import frames
from backend.cli.label import LABEL_EXAMPLES, label
from backend.cli.models import models_app
from backend.cli.options import Backbone, Device, Download, Magnets, Sam2, magnet_words
from backend.cli.serve import connect, serve, work
from refam.version import __version__

app = typer.Typer(
    name="refam",
    help="Words and a video in, tracked objects out: pre-annotations for Label Studio.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    add_completion=False,
)

app.command(epilog=LABEL_EXAMPLES)(label)
for command in (serve, work, connect, frames, feedback, calibrate, export, curate, draw):
    app.command()(command)
app.command("next")(next_tasks)
app.command("import")(import_)
app.add_typer(eval_app, name="eval")
app.add_typer(models_app, name="models")


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
    words_added = magnet_words(magnets)
    with one_line_errors(), steps() as step:
        from backend.cli.explain import make_page
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

    from backend.cli.doctor import examine
    from backend.cli.doctor_service import examine_service

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
        from refam.tiny.train import train_tiny

        made = train_tiny(
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


if __name__ == "__main__":
    app()
