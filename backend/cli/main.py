"""The command line. `--help` starts at once, since each command imports what it needs when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backend.cli.calibrate import calibrate
from backend.cli.console import one_line_errors
from backend.cli.console import out as stdout
from backend.cli.curate import curate
from backend.cli.doctor import doctor
from backend.cli.draw import draw
from backend.cli.eval import eval_app
from backend.cli.explain import explain
from backend.cli.export import export, import_
from backend.cli.feedback import feedback, next_tasks
from backend.cli.frames import frames
from backend.cli.label import LABEL_EXAMPLES, label
from backend.cli.models import models_app
from backend.cli.out_option import output_folder
from backend.cli.serve import connect, serve, work
from refam.version import __version__

app = typer.Typer(
    name="refam",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        stdout.print(f"refam {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Words and a video in, tracked objects out: pre-annotations for Label Studio."""


app.command(epilog=LABEL_EXAMPLES)(label)
app.command("track", epilog=LABEL_EXAMPLES, help="The same as `refam label`.")(label)
for command in (serve, work, connect, frames, feedback, calibrate, export, curate, draw):
    app.command()(command)
app.command("next")(next_tasks)
app.command("import")(import_)
app.add_typer(eval_app, name="eval")
app.add_typer(models_app, name="models")
app.command()(explain)
app.command()(doctor)


@app.command()
def train_tiny(
    out: Annotated[
        Path, typer.Option(help="The FluxPipeline folder to write.", show_default=False, callback=output_folder)
    ],
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
