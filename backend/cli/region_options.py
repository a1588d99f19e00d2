"""The options of `refam label` and `refam pick` that say which frames of a video are looked at, and how closely."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from refam.pipeline.quality import Quality

if TYPE_CHECKING:
    from refam.pipeline.roi import RegionOfInterest

Range = Annotated[
    str,
    typer.Option(
        "--range",
        metavar="FROM-TO",
        help="Look at this part only: frames (100-250) or seconds (4s-9s). Masks are written for it alone.",
    ),
]
Every = Annotated[
    int, typer.Option(metavar="N", help="Look at every N-th frame; on those between, masks are interpolated.")
]
MaxSize = Annotated[
    int | None, typer.Option(metavar="PX", help="Look at frames of this longer side; masks come in full size.")
]
QualityOption = Annotated[
    Quality,
    typer.Option("--quality", help="How closely to look: frames grounded, how often masks are looked at, size."),
]
Rate = Annotated[
    float | None,
    typer.Option(
        "--fps",
        help="The editor's frame rate in the task; the clip's own unless given. Of a folder of pictures its rate, "
        "24 unless given.",
    ),
]


def read_region(frame_range: str, every: int, max_side_px: int | None, quality: Quality) -> RegionOfInterest:
    """Return what to look at. Raises BadParameter for numbers or a range that cannot be."""
    from refam.pipeline.roi import RegionOfInterest

    size = quality.max_side_px if max_side_px is None else max_side_px
    try:
        return RegionOfInterest(frame_range, every=every, max_side_px=size)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def read_rate(fps: float | None) -> float | None:
    """Return the editor's frame rate, None for the video's own. Raises BadParameter for a rate that it cannot have."""
    from backend.labelstudio.timeline import editor_rate

    try:
        return None if fps is None else editor_rate(fps)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
