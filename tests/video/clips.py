"""Clips in memory for tests: `ArrayClip`, and one whose frames fail."""

from __future__ import annotations

from refam.evaluation.synthetic import ArrayClip
from video.io.probe import ReadingError

__all__ = ["ArrayClip", "FailingClip"]


class FailingClip(ArrayClip):
    """A clip some of whose frames cannot be read; `bad` holds their indices."""

    def __init__(self, frames, *, bad, **options):
        super().__init__(frames, **options)
        self.bad = set(bad)

    def frame(self, i):
        return next(self.batches([i]))[1][0]

    def batches(self, indices=None, *, size=16):
        for part, images in super().batches(indices, size=size):
            good = next((k for k, i in enumerate(part.tolist()) if i in self.bad), len(part))
            if good:
                yield part[:good], images[:good]
            if good < len(part):
                frame = int(part[good])
                raise ReadingError(f"clip.mp4: the disk fails; reading stopped at frame {frame}", frame=frame)
