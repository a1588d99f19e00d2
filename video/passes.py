"""One pass of a tracker through a clip, in either direction of time, in bounded memory; it can go on after a stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from video import masks
from video.checkpoints import Checkpoints, Resumable, packed, unpacked
from video.masks import Mask
from video.probe import ReadingError
from video.types import Rle, Tracker

if TYPE_CHECKING:
    from video.clip import Clip

_CHUNK_BYTES = 64 << 20  # frames held at once when a clip is read backward
_KEEP_EVERY_S = 60.0

Seen = dict[int, tuple[Rle, float, bool]]  # what one pass saw of one object: frame -> (mask, score, visible)
Frames = Iterator[tuple[int, NDArray[np.uint8]]]


@dataclass(frozen=True)
class Way:
    """From frame `begin` to frame `end`, both included."""

    name: Literal["ahead", "behind"]
    begin: int
    end: int

    def __len__(self) -> int:
        return abs(self.end - self.begin) + 1

    def frames(self, clip: Clip, *, done: int) -> Frames:
        """Index and picture of each without the first `done`."""
        if self.name == "ahead":
            return _forward(clip, self.begin + done, self.end)
        return _backward(clip, self.begin - done, self.end)


def follow(
    clip: Clip,
    way: Way,
    anchors: Sequence[Mapping[int, Mask]],
    tracker: Tracker,
    tick: Callable[[int], None],
    stopped: Callable[[ReadingError], None] | None = None,
    checkpoints: Checkpoints | None = None,
) -> list[Seen]:
    """What the tracker sees of each object, by frame. tick: told the number of frames that were done since.

    What `tick` raises interrupts the pass, which is kept in `checkpoints` as it stands. See `propagate_all`.
    """
    seen, done = _kept(way, tracker, checkpoints) or ([{} for _ in anchors], 0)
    if done:
        tick(done)
    since = time.monotonic()
    for index, image in _until_stopped(way.frames(clip, done=done), stopped):
        observed = tracker.step(image)
        for k, masks_of in enumerate(anchors):
            if index in masks_of:
                observed[k] = tracker.start(k, masks_of[index])
        for k, now in observed.items():
            seen[k][index] = (masks.encode(now.mask), now.score, now.visible)
        done += 1
        try:
            tick(1)
        except BaseException:
            _keep(way, tracker, checkpoints, seen, done)
            raise
        if done == len(way) or time.monotonic() - since > _KEEP_EVERY_S:
            _keep(way, tracker, checkpoints, seen, done)
            since = time.monotonic()
    return seen


def _kept(way: Way, tracker: Tracker, checkpoints: Checkpoints | None) -> tuple[list[Seen], int] | None:
    if checkpoints is None or not isinstance(tracker, Resumable) or (state := checkpoints.load(way.name)) is None:
        return None
    content = unpacked(state)
    if content is None:
        return None
    seen, done, held = content
    tracker.thaw(held)
    return seen, done


def _keep(way: Way, tracker: Tracker, checkpoints: Checkpoints | None, seen: list[Seen], done: int) -> None:
    if checkpoints is not None and isinstance(tracker, Resumable):
        checkpoints.keep(way.name, packed((seen, done, tracker.freeze())))


def _until_stopped(frames: Frames, stopped: Callable[[ReadingError], None] | None) -> Frames:
    try:
        yield from frames
    except ReadingError as error:
        if stopped is None:
            raise
        stopped(error)


def _forward(clip: Clip, first: int, last: int) -> Frames:
    for indices, images in clip.batches(range(first, last + 1)):
        yield from zip(indices.tolist(), images, strict=True)


def _backward(clip: Clip, last: int, first: int) -> Frames:
    """Decoders only go forward: read a bounded chunk, hand it out from its end, go to the chunk before."""
    w, h = clip.size
    chunk = int(np.clip(_CHUNK_BYTES // (3 * w * h), 4, 64))
    for high in range(last, first - 1, -chunk):
        low = max(first, high - chunk + 1)
        held, stop = _up_to(clip, low, high)
        yield from reversed(held)
        if stop is not None:
            raise stop


def _up_to(clip: Clip, first: int, last: int) -> tuple[list[tuple[int, NDArray[np.uint8]]], ReadingError | None]:
    """The frames first..last; where some cannot be read, those behind them, and the last such failure."""
    stop = None
    while first <= last:
        try:
            return list(_forward(clip, first, last)), stop
        except ReadingError as error:
            first, stop = error.frame + 1, error
    return [], stop
