"""How large a video may be, told from its header before a frame is decoded: a few bytes can announce a giant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av

from video.io.probe import ClipError, open_container, video_stream


@dataclass(frozen=True)
class VideoLimits:
    """most_px: pixels of one frame, width times height. most_s: seconds of playing."""

    most_px: float
    most_s: float

    def __post_init__(self) -> None:
        if not (self.most_px > 0 and self.most_s > 0):
            raise ValueError(f"limits must be above 0, got {self.most_px} pixels and {self.most_s} s")

    def check_header(self, path: Path) -> None:
        """Raises ClipError for a video whose header announces too much. Decodes nothing; headers may announce less
        than there is, so `check` what was opened as well.
        """
        with open_container(path) as container:
            stream = video_stream(container, path)
            self.check(path.name, (stream.width, stream.height), (container.duration or 0) / av.time_base)

    def check(self, name: str, size: tuple[int, int], duration_s: float) -> None:
        """size: (width, height) in pixels. Raises ClipError."""
        w, h = size
        if w * h > self.most_px:
            raise ClipError(f"{name}: its frames have {w}x{h} pixels, more than {self.most_px / 1e6:g} megapixels")
        if duration_s > self.most_s:
            raise ClipError(f"{name}: it plays {duration_s:.0f} s, longer than {self.most_s:g} s: cut it")
