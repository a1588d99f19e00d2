"""The command line. `--help` starts at once, since each command imports what it needs when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from backend.cli.calibrate import calibrate
from backend.cli.console import out as stdout
from backend.cli.curate import curate
from backend.cli.doctor import doctor
from backend.cli.draw import draw
from backend.cli.eval import eval_app
from backend.cli.examples import examples
from backend.cli.explain import explain
from backend.cli.export import export, import_
from backend.cli.feedback import feedback, next_tasks
from backend.cli.frames import frames
from backend.cli.label import LABEL_EXAMPLES, label
from backend.cli.models import models_app
from backend.cli.other_names import Command, Group
from backend.cli.pick import pick
from backend.cli.serve import connect, serve, work
from backend.cli.train import train_photos, train_tiny
from backend.cli.words import words
from refam.version import __version__

app = typer.Typer(
    name="refam",
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode="rich",
    epilog=examples(""),
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


app.command(cls=Command, epilog=LABEL_EXAMPLES)(label)
app.command("track", cls=Command, epilog=LABEL_EXAMPLES, help="The same as `refam label`.")(label)
for command in (serve, work, connect, frames, feedback, calibrate, export, curate, draw):
    app.command(cls=Command, epilog=examples(command.__name__))(command)
app.command("next", cls=Command, epilog=examples("next"))(next_tasks)
app.command("import", cls=Command, epilog=examples("import"))(import_)
app.add_typer(eval_app, name="eval")
app.add_typer(models_app, name="models")
app.command(cls=Command, epilog=examples("explain"))(explain)
app.command(cls=Command, epilog=examples("pick"))(pick)
app.command(cls=Command, epilog=examples("words"))(words)
app.command(cls=Command, epilog=examples("doctor"))(doctor)
app.command(cls=Command, epilog=examples("train-tiny"))(train_tiny)
app.command(cls=Command, epilog=examples("train-photos"))(train_photos)


@app.command(cls=Command, epilog=examples("version"))
def version() -> None:
    """Print the version."""
    stdout.print(__version__)


if __name__ == "__main__":
    app()
