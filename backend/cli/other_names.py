"""Hints for what users of other programs type: Ultralytics, CVAT, FiftyOne. Nothing of it is an alias."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from backend.cli.console import err
from video.errors import shorten, shorten_values

_UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # Typer does not export it

_COMMANDS = {
    "predict": "label",
    "detect": "label",
    "segment": "label",
    "annotate": "label",
    "run": "label",
    "convert": "export",
    "dump": "export",
    "upload": "import",
    "app": "serve",
    "launch": "serve",
    "start": "serve",
    "val": "eval",
    "validate": "eval",
    "benchmark": "eval",
    "train": "train-photos",
    "checks": "doctor",
    "check": "doctor",
    "info": "doctor",
    "settings": "doctor",
    "download": "models pull",
    "pull": "models pull",
    "extract": "frames",
    "suggest": "next",
}
# By an option of another program: those of this one, of which a command has one.
_OPTIONS = {
    "--output": ("--out",),
    "--output-dir": ("--out",),
    "--export-dir": ("--out",),
    "--save-dir": ("--out",),
    "--save-path": ("--out",),
    "-o": ("--out",),
    "--model": ("--backbone", "--sam2"),
    "--weights": ("--backbone", "--sam2"),
    "--checkpoint": ("--sam2", "--backbone"),
    "--text": ("--words",),
    "--prompt": ("--words",),
    "--name": ("--label",),
    "--classes": ("--label",),
    "--class": ("--label",),
    "--bbox": ("--box",),
    "--bboxes": ("--box",),
    "--points": ("--point",),
    "--vid-stride": ("--every",),
    "--stride": ("--every",),
    "--frame-step": ("--every",),
    "--frame-filter": ("--every",),
    "--imgsz": ("--max-size",),
    "--size": ("--max-size",),
    "--frames": ("--range",),
    "--start-frame": ("--range",),
    "--stop-frame": ("--range",),
    "--show": ("--open",),
    "--dataset-type": ("--format",),
    "--type": ("--format",),
    "--label-field": ("--label",),
    "--labels": ("--label", "--config"),
    "--save-images": ("--images",),
    "--gpu": ("--device",),
    "--offline": ("--no-download",),
    "--task": ("--project",),
    "--address": ("--host",),
}


class Command(TyperCommand):
    """A command that answers an option of another program with its own."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as Typer does, whose own suggestions go by spelling alone."""
        own = {name for parameter in self.params for name in (*parameter.opts, *parameter.secondary_opts)}
        options = itertools.takewhile(lambda argument: argument != "--", args)
        for name in (argument.partition("=")[0] for argument in options):
            if name not in own and (here := next((n for n in _OPTIONS.get(name, ()) if n in own), None)):
                ctx.fail(f"No such option: {name}. Here it is {here}.")
        given = list(args)  # parsing empties it
        try:
            return super().parse_args(ctx, args)
        except _UsageError as error:
            option = getattr(error, "option_name", None)  # of "-1 dogs" it is "-1"
            words = next((a for a in given if option and a.startswith(option) and " " in a), None)
            if words is not None:
                ctx.fail(f"{shorten(words)!r} was taken for an option; write -- before it, behind all options.")
            raise


class Group(TyperGroup):
    """A group that answers a command of another program with its own, and says wrong values and Ctrl-C plainly."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as Typer does; long values are shortened in its errors."""
        with _plain_errors():
            return super().parse_args(ctx, args)

    def make_context(self, *args: Any, **more: Any) -> Any:
        """Read the arguments as Typer does. Ctrl-C ends it with the exit code 130 and one line."""
        with _plain_interrupt():
            return super().make_context(*args, **more)

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Ctrl-C ends it with the exit code 130 and one line."""
        with _plain_interrupt(), _plain_errors():
            return super().invoke(ctx)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a command as Typer does."""
        if args[0] not in self.commands and args[0] in _COMMANDS and not ctx.resilient_parsing:
            ctx.fail(f"No such command {args[0]!r}. Here it is `refam {_COMMANDS[args[0]]}`.")
        return super().resolve_command(ctx, args)


@contextmanager
def _plain_interrupt() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        err.print("refam: stopped by Ctrl-C", markup=False)
        raise typer.Exit(130) from None


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Shorten long values in errors of usage; leave out what pydantic puts before the sentence of a wrong choice."""
    try:
        yield
    except _UsageError as error:
        said: Any = error
        said.message = shorten_values(said.message.removeprefix("Value error, "))
        raise
