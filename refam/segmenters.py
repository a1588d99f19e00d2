"""Which segmenter to use: SAM2 where its weights are, GrabCut where there are none."""

from __future__ import annotations

from refam.grabcut import GrabCutSegmenter
from refam.sam2 import Sam2Segmenter, SegmenterError
from video.types import Segmenter

__all__ = ["GrabCutSegmenter", "Sam2Segmenter", "SegmenterError", "load_segmenter"]


def load_segmenter(name_or_dir: str | None, *, device: str = "auto") -> Segmenter:
    """None or "" or "grabcut" -> GrabCut, which needs nothing. Else SAM2 from a directory or a hub id.

    Raises SegmenterError when the weights cannot be loaded: what was asked for is never quietly replaced.
    """
    if not name_or_dir or name_or_dir == "grabcut":
        return GrabCutSegmenter()
    return Sam2Segmenter.load(name_or_dir, device=device)
