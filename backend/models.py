"""`refam models`: which backbones there are, what they weigh, their licences, and what is on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backend.console import err, one_line_errors
from backend.console import out as stdout

if TYPE_CHECKING:
    from refam.backbones import Preset

models_app = typer.Typer(
    help="The backbones that read words: list them, fetch one.",
    epilog="How weights are held is set by REFAM_DTYPE (auto, float32, bfloat16, float16), REFAM_OFFLOAD=1 (parts "
    "visit the GPU one at a time), REFAM_QUANTISE (bnb-4bit, bnb-8bit, int8), REFAM_FREE_TEXT=1 (text encoders are let "
    "go between calls) and REFAM_DOWNLOAD=1.",
    invoke_without_command=True,
)


@models_app.callback()
def list_models(context: typer.Context) -> None:
    """List the backbones: size, memory, licence, and what is on this machine. Asks no network."""
    if context.invoked_subcommand is not None:
        return
    with one_line_errors():
        from rich.table import Table
        from rich.text import Text

        from refam.backbones import PRESETS

        table = Table(box=None, pad_edge=False)
        for heading in ("backbone", "reads", "weights", "offloaded", "licence", "on this machine"):
            table.add_column(heading, justify="right" if heading in ("weights", "offloaded") else "left")
        for preset in PRESETS.values():
            table.add_row(*(Text(cell) for cell in _row(preset)))
        stdout.print(table, soft_wrap=True)
        stdout.print(
            "\nSizes are approximate: parameters, counted from the configurations, at 2 bytes each. So much is\n"
            "downloaded, and so much must a GPU hold for the weights alone. With REFAM_OFFLOAD=1 it holds the\n"
            "transformer or the other parts, whichever is larger. A folder or a hub name of any of these pipelines\n"
            "will do as well. Only tiny was measured: the others' weights were not at hand.",
            markup=False,
            soft_wrap=True,
        )


@models_app.command()
def pull(
    name: Annotated[str, typer.Argument(help="A preset or a hub name, pinned as NAME@REVISION.", show_default=False)],
) -> None:
    """Download a backbone from the hub into its cache."""
    with one_line_errors():
        from refam.backbones import preset_for
        from refam.backbones.store import pull as fetch
        from refam.backbones.store import size_on_disk

        preset = preset_for(name)
        if Path(preset.source).is_dir():
            stdout.print(f"{preset.source} is a folder on this machine already", markup=False, soft_wrap=True)
            return
        size = f", about {preset.size_gb:.0f} GB" if preset.size_gb else ""
        err.print(f"fetching {preset.source}{size}. Licence: {preset.licence}.", markup=False, soft_wrap=True)
        directory = fetch(preset.source, preset.revision)
        stdout.print(f"{directory} ({size_on_disk(directory) / 1e9:.1f} GB)", markup=False, soft_wrap=True)


def _row(preset: Preset) -> tuple[str, ...]:
    from refam.backbones.loading import BACKBONES
    from refam.backbones.store import find, missing_files, read_index, size_on_disk

    here = "no"
    directory = find(preset.source, preset.revision)
    if directory is not None and (directory / "model_index.json").is_file():
        gone = missing_files(directory, read_index(directory))
        here = f"{_size(size_on_disk(directory))}{', not complete' if gone else ''}"
    weights = offloaded = "-"
    if preset.billions is not None:
        weights = f"{2 * sum(preset.billions):.0f} GB"
        offloaded = f"{2 * max(preset.billions):.0f} GB"
    licence = preset.licence + (" (to accept on the hub)" if preset.gated else "")
    return (
        preset.name,
        "clips" if BACKBONES[preset.pipeline].is_clip else "frames",
        weights,
        offloaded,
        licence,
        here,
    )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
