"""One pass of a tracker through a clip, in either direction of time, in bounded memory; it can go on after a stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from video import masks
from video.io.probe import ReadingError
from video.masks import Mask
from video.tracking.state import CheckpointStore, Resumable, packed, unpacked
from video.types import Rle, Tracker

if TYPE_CHECKING:
    from video.io.reader import Clip

_CHUNK_BYTES = 64 << 20  # frames held at once when a clip is read backward
_KEEP_EVERY_S = 60.0

Seen = dict[int, tuple[Rle, float, bool]]  # what one pass saw of one object: frame -> (mask, score, visible)
Frames = Iterator[tuple[int, NDArray[np.uint8]]]


@dataclass(frozen=True)
class Direction:
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


class PassCheckpoint:
    """What the passes have seen so far; kept every minute and at an interruption, so that short ones cost nothing."""

    def __init__(self, checkpoints: CheckpointStore | None) -> None:
        self._checkpoints = checkpoints
        state = None if checkpoints is None else checkpoints.load()
        self._passes: dict[str, tuple[list[Seen], int, dict[str, Any]]] = (state and unpacked(state)) or {}
        self._since = time.monotonic()

    def resumed(self, way: Direction, tracker: Tracker) -> tuple[list[Seen], int] | None:
        """(seen, frames done) of a pass that was begun, with the tracker as it was then."""
        if way.name not in self._passes or not isinstance(tracker, Resumable):
            return None
        seen, done, held = self._passes[way.name]
        tracker.thaw(held)
        return seen, done

    def note(self, way: Direction, tracker: Tracker, seen: list[Seen], done: int, *, at_once: bool = False) -> None:
        """How far a pass is; what a tracker held at its end nobody asks for again."""
        if self._checkpoints is None or not isinstance(tracker, Resumable):
            return
        self._passes[way.name] = (seen, done, {} if done == len(way) else tracker.freeze())
        if at_once or time.monotonic() - self._since > _KEEP_EVERY_S:
            self._checkpoints.keep(packed(self._passes))
            self._since = time.monotonic()


def follow(
    clip: Clip,
    way: Direction,
    anchors: Sequence[Mapping[int, Mask]],
    tracker: Tracker,
    tick: Callable[[int], None],
    stopped: Callable[[ReadingError], None] | None,
    journal: PassCheckpoint,
) -> list[Seen]:
    """What the tracker sees of each object, by frame. tick: told the number of frames that were done since.

    What `tick` raises interrupts the pass, which is kept in the journal as it stands. See `propagate_all`.
    """
    seen, done = journal.resumed(way, tracker) or ([{} for _ in anchors], 0)
    if done:
        tick(done)
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
            journal.note(way, tracker, seen, done, at_once=True)
            raise
        journal.note(way, tracker, seen, done)
    return seen


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
