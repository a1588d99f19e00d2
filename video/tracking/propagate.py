"""Runs a tracker through a clip, forward and backward from the frames on which each object is known.

Memory is bounded: frames are decoded in batches, and masks are held run-length encoded. A pass that was interrupted can
be resumed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from video import masks
from video.io.probe import ReadingError
from video.masks import Mask
from video.tracking.bidirectional import join_passes
from video.tracking.flow_tracker import FlowTracker, FlowTrackerOptions
from video.tracking.memory_tracker import MemoryTracker, MemoryTrackerOptions
from video.tracking.postprocess import drop_departed_parts
from video.tracking.schedule import LookSchedule
from video.tracking.state import CheckpointStore, PassCheckpoint, PassObservations
from video.types import (
    EncodedObservation,
    FeatureSource,
    MaskTrack,
    Observation,
    RevisingTracker,
    Segmenter,
    Tracker,
    TrackerSource,
)

if TYPE_CHECKING:
    from video.io.reader import Clip

_CHUNK_BYTES = 64 << 20  # frames held at once while a clip is read backward

IndexedFrames = Iterator[tuple[int, NDArray[np.uint8]]]


@dataclass(frozen=True, eq=False)
class TrackStart:
    """What is known of an object before it is tracked.

    Args:
        label: The object's label.
        anchors: Its mask, (H, W) bool, by frame, on one frame at least.
    """

    label: str
    anchors: Mapping[int, Mask]

    def __post_init__(self) -> None:
        if not self.anchors:
            raise ValueError(f"{self.label!r}: a track needs a mask on at least one frame")
        if any(not mask.any() for mask in self.anchors.values()):
            raise ValueError(f"{self.label!r}: a track cannot start from an empty mask")


@dataclass(frozen=True)
class Direction:
    """The frames of one pass, from `first` to `last`, both included, in the order in which they are tracked."""

    name: Literal["forward", "backward"]
    first: int
    last: int

    def __len__(self) -> int:
        return abs(self.last - self.first) + 1

    def indices(self) -> range:
        """Return the indices of the frames, in the order in which they are tracked."""
        step = 1 if self.name == "forward" else -1
        return range(self.first, self.last + step, step)

    def frames(self, clip: Clip, *, skip: int) -> IndexedFrames:
        """Yield the index and the image, (H, W, 3) uint8 RGB, of each frame but the first `skip`."""
        if self.name == "forward":
            return _read_forward(clip, self.first + skip, self.last)
        return _read_backward(clip, self.first - skip, self.last)


def tracker_for(
    segmenter: Segmenter, *, options: FlowTrackerOptions | None = None, schedule: LookSchedule | None = None
) -> Tracker:
    """Make the best tracker for a segmenter.

    That is the segmenter's own tracker (`TrackerSource`), a `MemoryTracker` if the segmenter offers features, else a
    `FlowTracker`.

    Args:
        segmenter: The segmenter.
        options: Options of a `FlowTracker`.
        schedule: When a `MemoryTracker` looks at frames with the segmenter. A segmenter's own tracker takes neither.
    """
    if isinstance(segmenter, TrackerSource):
        return segmenter.make_tracker()
    if isinstance(segmenter, FeatureSource):
        return MemoryTracker(segmenter, options=MemoryTrackerOptions(schedule=schedule or LookSchedule()))
    return FlowTracker(segmenter, options=options)


def tracker_name(segmenter: Segmenter) -> str:
    """Return the name of the tracker that `tracker_for` would make, which is part of the model version."""
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
    schedule: LookSchedule | None = None,
    make_tracker: Callable[[], Tracker] | None = None,
    progress: Callable[[float], None] | None = None,
) -> MaskTrack:
    """Track one object over the whole clip from its mask on one frame.

    Args:
        clip: The video.
        anchor: The frame of the mask.
        mask: (H, W) bool.
        segmenter: See `propagate_all`, as for the following.
        label: The object's label.
        options: See `tracker_for`.
        schedule: See `tracker_for`.
        make_tracker: Makes the trackers.
        progress: Called with the fraction done.
    """
    start = TrackStart(label, {anchor: mask})
    (track,) = propagate_all(
        clip,
        [start],
        segmenter,
        options=options,
        schedule=schedule,
        make_tracker=make_tracker,
        progress=progress,
    )
    return track


def propagate_all(
    clip: Clip,
    starts: Sequence[TrackStart],
    segmenter: Segmenter,
    *,
    window: tuple[int, int] | None = None,
    options: FlowTrackerOptions | None = None,
    schedule: LookSchedule | None = None,
    make_tracker: Callable[[], Tracker] | None = None,
    progress: Callable[[float], None] | None = None,
    on_read_error: Callable[[ReadingError], None] | None = None,
    checkpoints: CheckpointStore | None = None,
) -> list[MaskTrack]:
    """Track several objects together: frames are decoded once per direction, and the masks do not overlap.

    An object is tracked backward before its first anchor and forward after its last. Between two anchors it is tracked
    from both, and the two results are joined (`video.tracking.bidirectional`). Parts that separate from an object and
    move away are removed (`video.tracking.postprocess`).

    Args:
        clip: The video.
        starts: What is known of each object.
        segmenter: Refines the masks, or brings its own tracker.
        window: First and last frame to track, both included; the whole clip by default.
        options: See `tracker_for`.
        schedule: See `tracker_for`.
        make_tracker: Called once per direction; `tracker_for` by default.
        progress: Called with the fraction done. An error that it raises interrupts the tracking.
        on_read_error: Called when a pass can read no further. What it has observed is kept, the other pass goes on, and
            the object is not visible on frames that neither reached. Without it the error is raised.
        checkpoints: Where both passes are saved every minute and when they are interrupted. The next call with the same
            inputs resumes them, with the same masks. Needs a tracker that is `Resumable`; others start anew.

    Returns:
        One track per start, with a row for every frame of the window.

    Raises:
        ValueError: If the window is not within the clip, or an anchor not within the window.
        ReadingError: If frames cannot be read and there is no `on_read_error`.
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
    directions = [Direction("forward", earliest, last), Direction("backward", latest, first)]
    total = sum(map(len, directions))
    done = 0

    def report(frames: int) -> None:
        nonlocal done
        done += frames
        if progress is not None:
            progress(done / total)

    make = make_tracker or (lambda: tracker_for(segmenter, options=options, schedule=schedule))
    anchors = [start.anchors for start in starts]
    checkpoint = PassCheckpoint(checkpoints)
    forward, backward = (
        _run_pass(clip, direction, anchors, make(), report, on_read_error, checkpoint) for direction in directions
    )
    frames = range(first, last + 1)
    return [
        drop_departed_parts(_to_track(start.label, clip.size, frames, _join(start, a, b)), given=start.anchors)
        for start, a, b in zip(starts, forward, backward, strict=True)
    ]


def _run_pass(
    clip: Clip,
    direction: Direction,
    anchors: Sequence[Mapping[int, Mask]],
    tracker: Tracker,
    report: Callable[[int], None],
    on_read_error: Callable[[ReadingError], None] | None,
    checkpoint: PassCheckpoint,
) -> list[PassObservations]:
    """Run a tracker through the frames of one direction and return its observations of each object.

    report: called with the number of frames done since the last call. An error that it raises interrupts the pass,
    whose state is saved first.
    """
    observations, done = checkpoint.resume(direction.name, tracker) or ([{} for _ in anchors], 0)
    indices = list(itertools.islice(direction.indices(), done))
    if done:
        report(done)

    def record(index: int, observed: Mapping[int, Observation]) -> None:
        for k, now in observed.items():
            observations[k][index] = EncodedObservation(masks.encode(now.mask), now.score, now.visible)

    def record_revisions() -> None:
        if isinstance(tracker, RevisingTracker):
            for frames_ago, revised in tracker.revisions().items():
                index = indices[-1 - frames_ago]
                record(index, {k: now for k, now in revised.items() if index not in anchors[k]})

    def finish() -> None:
        if isinstance(tracker, RevisingTracker) and indices:
            tracker.finish()
            record_revisions()

    def update(*, save_now: bool = False) -> None:
        is_finished = done == len(direction)
        checkpoint.update(direction.name, tracker, observations, done, is_finished=is_finished, save_now=save_now)

    for index, image in _until_read_error(direction.frames(clip, skip=done), on_read_error):
        observed = tracker.step(image)
        for k, masks_of_object in enumerate(anchors):
            if index in masks_of_object:
                observed[k] = tracker.start(k, masks_of_object[index])
        indices.append(index)
        record(index, observed)
        record_revisions()
        done += 1
        if done == len(direction):
            finish()
        try:
            report(1)
        except BaseException:
            update(save_now=True)
            raise
        update()
    finish()
    return observations


def _until_read_error(frames: IndexedFrames, on_read_error: Callable[[ReadingError], None] | None) -> IndexedFrames:
    try:
        yield from frames
    except ReadingError as error:
        if on_read_error is None:
            raise
        on_read_error(error)


def _read_forward(clip: Clip, first: int, last: int) -> IndexedFrames:
    for indices, images in clip.batches(range(first, last + 1)):
        yield from zip(indices.tolist(), images, strict=True)


def _read_backward(clip: Clip, last: int, first: int) -> IndexedFrames:
    """Yield the frames from `last` down to `first`. Decoders only go forward, so chunks are read and reversed."""
    w, h = clip.size
    chunk = int(np.clip(_CHUNK_BYTES // (3 * w * h), 4, 64))
    for high in range(last, first - 1, -chunk):
        low = max(first, high - chunk + 1)
        frames, error = _read_chunk(clip, low, high)
        yield from reversed(frames)
        if error is not None:
            raise error


def _read_chunk(clip: Clip, first: int, last: int) -> tuple[list[tuple[int, NDArray[np.uint8]]], ReadingError | None]:
    """Return the frames first..last; where some cannot be read, the frames after them and the last such error."""
    last_error = None
    while first <= last:
        try:
            return list(_read_forward(clip, first, last)), last_error
        except ReadingError as error:
            first, last_error = error.frame + 1, error
    return [], last_error


def _join(start: TrackStart, forward: PassObservations, backward: PassObservations) -> PassObservations:
    anchors = sorted(start.anchors)
    # Where one pass could not read, the observations of the other one count.
    joined = {f: v for f, v in backward.items() if f <= anchors[-1]}
    joined |= {f: v for f, v in forward.items() if f >= anchors[0]}
    for a, b in itertools.pairwise(anchors):
        between = range(a, b + 1)
        if all(f in forward and f in backward for f in between):
            both = join_passes([forward[f] for f in between], [backward[f] for f in between])
            joined |= zip(between, both, strict=True)
    return joined


def _to_track(label: str, size: tuple[int, int], frames: range, observations: PassObservations) -> MaskTrack:
    empty = masks.empty(size)
    rows = [observations.get(f, EncodedObservation(empty, 0.0, False)) for f in frames]
    rles = [row.mask if row.visible and masks.area(row.mask) else empty for row in rows]
    scores = np.array([row.score for row in rows], np.float64)
    return masks.track_from_rles(label, np.arange(frames.start, frames.stop, dtype=np.int64), rles, scores)
