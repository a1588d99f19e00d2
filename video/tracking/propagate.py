"""Runs a tracker over a clip, forward and backward from wherever each object is known, in bounded memory."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from video import masks
from video.io.probe import ReadingError
from video.masks import Mask
from video.tracking.bidirectional import join
from video.tracking.flow_tracker import FlowTracker, FlowTrackerOptions
from video.tracking.memory_tracker import MemoryTracker, MemoryTrackerOptions
from video.tracking.postprocess import drop_departed_parts
from video.tracking.state import CheckpointStore, Resumable, packed, unpacked
from video.types import FeatureSource, MaskTrack, Rle, Segmenter, Tracker, TrackerSource

if TYPE_CHECKING:
    from video.io.reader import Clip


@dataclass(frozen=True, eq=False)
class TrackStart:
    """What is known of one object: its mask (H, W) bool on one frame or more."""

    label: str
    anchors: Mapping[int, Mask]

    def __post_init__(self) -> None:
        if not self.anchors:
            raise ValueError(f"{self.label!r}: a track needs a mask on at least one frame")
        if any(not mask.any() for mask in self.anchors.values()):
            raise ValueError(f"{self.label!r}: a track cannot start from an empty mask")


def tracker_for(segmenter: Segmenter, *, options: FlowTrackerOptions | None = None) -> Tracker:
    """The segmenter's own tracker (`TrackerSource`), the one that remembers where there are features, else by flow.

    Of the options the first takes none, the second `refit_every` alone: it looks as often.
    """
    if isinstance(segmenter, TrackerSource):
        return segmenter.make_tracker()
    if isinstance(segmenter, FeatureSource):
        every = 1 if options is None else options.refit_every
        return MemoryTracker(segmenter, options=MemoryTrackerOptions(look_every=every))
    return FlowTracker(segmenter, options=options)


def tracker_name(segmenter: Segmenter) -> str:
    """The name of the tracker that `tracker_for` would make: said in the model version."""
    if isinstance(segmenter, TrackerSource):
        return segmenter.tracker_name
    return MemoryTracker.name if isinstance(segmenter, FeatureSource) else FlowTracker.name


def propagate(
    clip: Clip,
    anchor: int,
    mask: Mask,
    segmenter: Segmenter,
    *,
    label: str = "object",
    options: FlowTrackerOptions | None = None,
    make_tracker: Callable[[], Tracker] | None = None,
    progress: Callable[[float], None] | None = None,
) -> MaskTrack:
    """One object from one frame, over the whole clip. See `propagate_all`."""
    start = TrackStart(label, {anchor: mask})
    return propagate_all(clip, [start], segmenter, options=options, make_tracker=make_tracker, progress=progress)[0]


def propagate_all(
    clip: Clip,
    starts: Sequence[TrackStart],
    segmenter: Segmenter,
    *,
    window: tuple[int, int] | None = None,
    options: FlowTrackerOptions | None = None,
    make_tracker: Callable[[], Tracker] | None = None,
    progress: Callable[[float], None] | None = None,
    stopped: Callable[[ReadingError], None] | None = None,
    checkpoints: CheckpointStore | None = None,
) -> list[MaskTrack]:
    """All objects together, so frames are decoded and flow is computed once per direction; masks do not overlap.

    window: first and last frame (both included) to look at, the whole clip without it. Every anchor must lie
    in it. Returns one track per start, with every frame of the window. Before its first anchor an object is
    followed backward, after its last forward; between two it is followed from both, and joined where the two
    agree best and are surest (`video.tracking.bidirectional`). What parted from it and went away is taken out
    (`video.tracking.postprocess`). make_tracker: called once per direction, `tracker_for` without
    it. progress: called with the fraction done. stopped: told where a pass could read no further; what was seen
    until then is kept, the other pass goes on by itself, and frames that neither reached are not visible. Without it
    ReadingError is raised. checkpoints: where both passes are kept every minute and when they are interrupted, to go
    on from there to the same masks; with a tracker that is not `Resumable` it begins anew. Raises ValueError
    naming an anchor outside the window.
    """
    first, last = window or (0, len(clip) - 1)
    if not 0 <= first <= last < len(clip):
        raise ValueError(f"window {first}..{last} is not within the clip's frames 0..{len(clip) - 1}")
    for start in starts:
        for frame in start.anchors:
            if not first <= frame <= last:
                raise ValueError(f"{start.label!r}: anchor frame {frame} is not within {first}..{last}")
    if not starts:
        return []
    earliest = min(min(s.anchors) for s in starts)
    latest = max(max(s.anchors) for s in starts)
    ways = [Direction("ahead", earliest, last), Direction("behind", latest, first)]
    total = sum(map(len, ways))
    done = 0

    def tick(frames: int) -> None:
        nonlocal done
        done += frames
        if progress is not None:
            progress(done / total)

    fresh = make_tracker or (lambda: tracker_for(segmenter, options=options))
    anchors = [start.anchors for start in starts]
    journal = PassCheckpoint(checkpoints)
    ahead, behind = (follow(clip, way, anchors, fresh(), tick, stopped, journal) for way in ways)
    frames = range(first, last + 1)
    return [
        drop_departed_parts(_track(start.label, clip.size, frames, _join(start, a, b)), given=start.anchors)
        for start, a, b in zip(starts, ahead, behind, strict=True)
    ]


def _join(start: TrackStart, ahead: Seen, behind: Seen) -> Seen:
    anchors = sorted(start.anchors)
    # Where a pass could not read, what the other one saw counts.
    joined = {f: v for f, v in behind.items() if f <= anchors[-1]}
    joined |= {f: v for f, v in ahead.items() if f >= anchors[0]}
    for a, b in itertools.pairwise(anchors):
        between = range(a, b + 1)
        if all(f in ahead and f in behind for f in between):
            joined |= zip(between, join([ahead[f] for f in between], [behind[f] for f in between]), strict=True)
    return joined


def _track(label: str, size: tuple[int, int], frames: range, seen: Seen) -> MaskTrack:
    nothing = masks.empty(size)
    rows = [seen.get(f, (nothing, 0.0, False)) for f in frames]
    rles = tuple(r if visible and masks.area(r) else nothing for r, _, visible in rows)
    scores = np.array([score for _, score, _ in rows], np.float64)
    return masks.track_from_rles(label, np.arange(frames.start, frames.stop, dtype=np.int64), rles, scores)


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
