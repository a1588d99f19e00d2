"""A clip in memory: what the stages use of `video.io.reader.Clip`, with drawn frames. For tests only."""

from __future__ import annotations

import numpy as np

from video.io.probe import ReadingError


class ArrayClip:
    """frames: (N, H, W, 3) uint8 RGB. Remembers the most frames that were handed out in one batch."""

    def __init__(self, frames, *, fps=24.0, times=None):
        self.frames = frames
        self.size = (frames.shape[2], frames.shape[1])
        self.times = np.arange(len(frames)) / fps if times is None else np.asarray(times)
        self.most_at_once = 0
        self.read = []

    def __len__(self):
        return len(self.frames)

    def frame(self, i):
        return self.frames[i]

    def batches(self, indices=None, *, size=16):
        wanted = np.unique(np.arange(len(self)) if indices is None else np.asarray(list(indices)))
        for first in range(0, len(wanted), size):
            part = wanted[first : first + size]
            self.most_at_once = max(self.most_at_once, len(part))
            self.read += part.tolist()
            yield part, self.frames[part]


class FailingClip(ArrayClip):
    """A clip of which some frames can no longer be read."""

    def __init__(self, frames, *, bad, **how):
        super().__init__(frames, **how)
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
