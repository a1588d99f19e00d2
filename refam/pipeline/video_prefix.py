"""Frames to listen in, as far as the clip can be read: a file that fails on the way costs what lies behind, no more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from video.heatmap_fusion import MotionLink, link_frames
from video.io.probe import ReadingError
from video.sampling import plan_frames

if TYPE_CHECKING:
    from video.io.reader import Clip

Images = NDArray[np.uint8]
TO_DO = "the object is followed as far as frames could be read: ask again for the rest"


@dataclass(frozen=True, eq=False)
class VideoPrefix:
    """The first n frames of a clip, read as a clip; other than `video.io.clip_view.ClipView`, of pictures in a row
    too.
    """

    whole: Clip
    n: int

    def __len__(self) -> int:
        return self.n

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.whole.size

    @property
    def times(self) -> NDArray[np.float64]:
        """(n,) float64 seconds."""
        return self.whole.times[: self.n]

    def frame(self, i: int) -> Images:
        """(H, W, 3) uint8 RGB."""
        return self.whole.frame(i)

    def batches(
        self, indices: Sequence[int] | NDArray[np.int64] | None = None, *, size: int = 16
    ) -> Iterator[tuple[NDArray[np.int64], Images]]:
        """As `Clip.batches`."""
        return self.whole.batches(range(self.n) if indices is None else indices, size=size)


def planned_frames(
    clip: Clip, *, count: int, stops: list[ReadingError]
) -> tuple[Clip, NDArray[np.int64], list[Images]]:
    """What is planned of the part of the clip that can be read -> that part, (m,) int64 frames of it, their pictures.

    stops: gets what went wrong on the way. Raises ReadingError where not even the first frame can be read.
    """
    part = clip
    while True:  # each round is of fewer frames
        try:
            planned = plan_frames(part, count=count)
            return part, planned, [image for _, images in part.batches(planned) for image in images]
        except ReadingError as error:
            if error.frame == 0:
                raise
            stops.append(error)
            part = cast("Clip", VideoPrefix(clip, error.frame))


def links_between(clip: Clip, planned: NDArray[np.int64], stops: list[ReadingError]) -> list[MotionLink]:
    """The motion between neighbours of `planned`, of as many from the first on as can be read: one less than those."""
    while len(planned) > 1:
        try:
            return link_frames(clip, planned)
        except ReadingError as error:
            stops.append(error)
            planned = planned[planned < error.frame]
    return []


def told(stops: Sequence[ReadingError]) -> list[str]:
    """A sentence for people on each place where reading stopped."""
    return [f"{text}; {TO_DO}" for text in dict.fromkeys(map(str, stops))]
