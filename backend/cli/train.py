"""`refam train-tiny` and `refam train-photos`: train the models that ship anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backend.cli.console import one_line_errors, require_file
from backend.cli.console import out as stdout
from backend.cli.out_option import output_folder
from backend.cli.result_folder import hold_folder


def train_tiny(
    out: Annotated[
        Path,
        typer.Option(
            help="The FluxPipeline folder to write.", show_default=False, parser=output_folder, metavar="<path>"
        ),
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
    with one_line_errors(), hold_folder(out):
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


def train_photos(
    data: Annotated[
        list[Path],
        typer.Argument(help="Folders with a photos.jsonl ({file, labels, captions} a line) and a folder pictures."),
    ],
    *,
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for features, checkpoints and the model.",
            show_default=False,
            parser=output_folder,
            metavar="<path>",
        ),
    ],
    minutes: Annotated[float, typer.Option(min=0.01, help="Time for the transformer, over all starts.")] = 60.0,
    checkpoint_minutes: Annotated[float, typer.Option(min=0.01, help="Time between checkpoints.")] = 5.0,
    latent_channels: Annotated[int, typer.Option(min=2, help="A token has four times as many numbers.")] = 48,
    variant: Annotated[str, typer.Option(help="The encoder: EfficientNet lite0 or lite2.")] = "lite0",
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Train the model for photographs from pictures and their labels or captions; no place is ever given.

    A second start with the same --out goes on from the last checkpoint.
    """
    with one_line_errors(), hold_folder(out):
        for folder in data:
            require_file(folder / "photos.jsonl")
        from refam.backbones.weights import quiet_libraries

        with quiet_libraries():
            from refam.photos.train import PhotoTraining, train_photos

        settings = PhotoTraining(
            minutes=minutes,
            checkpoint_minutes=checkpoint_minutes,
            latent_channels=latent_channels,
            variant=variant,
            seed=seed,
        )
        made = train_photos(data, out, settings, log=lambda line: stdout.print(line, markup=False))
        stdout.print(f"the model is in {made}", markup=False)
