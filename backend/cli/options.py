"""Options that several commands have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from refam.text.magnets import Magnets as MagnetWords

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


def magnet_words(text: str | None) -> MagnetWords:
    """The magnets; the usual ones for None. Raises BadParameter before anything heavy is loaded."""
    from refam.text.magnets import Magnets as MagnetWords

    try:
        return MagnetWords() if text is None else MagnetWords.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--magnets") from error
