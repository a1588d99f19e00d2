"""The picture of `refam label --preview`: the first mask of each object, before anything is tracked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from refam.pipeline.preview import PreviewResult
from refam.pipeline.tracks import empty_track
from video.atomic_files import write_bytes
from video.images import encode_png
from video.io.reader import Clip
from video.visualize.overlay import draw_frame


def write_preview(clip: Clip, results: Sequence[PreviewResult], path: Path) -> list[int]:
    """Write a PNG of the frames on which objects were found first, one below the other, with their masks.

    Args:
        clip: The video.
        results: The previews, of which one at least has a mask.
        path: The file to write.

    Returns:
        The frames, ascending.

    Raises:
        ClipError: If a frame cannot be read.
        OSError: If the file cannot be written.
    """
    nothing = empty_track(clip, "")  # keeps the colour of the others
    tracks = [result.first_mask or nothing for result in results]
    frames = sorted({result.anchor_frame for result in results if result.first_mask is not None})
    picture = np.concatenate([draw_frame(clip, tracks, frame) for frame in frames])
    write_bytes(path, encode_png(picture))
    return frames
