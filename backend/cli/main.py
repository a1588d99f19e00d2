"""The command line. `--help` starts at once, since each command imports what it needs when it runs."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from backend.cli.calibrate import calibrate
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
from backend.cli.pick import pick
from backend.cli.serve import connect, serve, work
from backend.cli.train import train_photos, train_tiny
from backend.cli.words import words
from refam.version import __version__


class _Group(TyperGroup):
    """The commands; what pydantic puts before the sentence of a wrong choice is left out of its error."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")
            raise


app = typer.Typer(
    name="refam",
    cls=_Group,
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
app.command()(pick)
app.command()(words)
app.command()(doctor)
app.command()(train_tiny)
app.command()(train_photos)


@app.command()
def version() -> None:
    """Print the version."""
    stdout.print(__version__)


if __name__ == "__main__":
    app()
