"""Tracking by segments: each lies between two anchors of its object and depends on nothing beyond them.

A new prompt on a frame splits the segment it lies in; all other segments stay as they are, to the bit. Objects whose
segments have the same ends are tracked together, so that they do not take each other's place. The words' masks are
anchors too, as long as the track from the nearest prompt reaches them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from refam.pipeline.anchors import drop_conflicting_words
from refam.pipeline.corrections import anchor_on_corrections
from refam.pipeline.recovery import DriftedSegment, Redetector, find_drift, reidentify
from refam.pipeline.stage_cache import track_start_key
from refam.pipeline.state import ObjectState
from refam.pipeline.tracks import empty_track, fill_gaps, replace_spans, resolve_overlaps
from refam.pipeline.types import PipelineOptions
from refam.version import __version__
from video.io.probe import ReadingError
from video.io.reader import ClipView, FrameSequence
from video.masks import Mask
from video.tracking.appearance import ColorModel
from video.tracking.flow_tracker import FlowTracker, FlowTrackerOptions
from video.tracking.propagate import TrackStart, propagate_all, tracker_name
from video.tracking.schedule import EVERY_FRAME, LookSchedule
from video.types import MaskTrack, Segmenter

if TYPE_CHECKING:
    from video.io.reader import Clip

_SLOW_REFIT_EVERY = 5  # frames between two refits by a segmenter that takes seconds

Span = tuple[int, int]  # first and last frame, both included


def split_at_anchors(anchors: Iterable[int], n_frames: int) -> list[Span]:
    """Return the spans between anchors that cover the frames 0..n_frames-1; neighbours share the anchor's frame."""
    return list(itertools.pairwise(sorted({0, *anchors, n_frames - 1}))) or [(0, 0)]


@dataclass(frozen=True, eq=False)
class Segment:
    """One run of a tracker.

    Attributes:
        window: First and last frame of the run.
        members: The objects that are tracked together, each with its anchors (masks by frame) in the window.
        kept_spans: For each member the spans of the window that go into its track.
        from_prompts: Whether the anchors include what a person drew.
    """

    window: Span
    members: tuple[tuple[ObjectState, Mapping[int, Mask]], ...]
    kept_spans: tuple[tuple[Span, ...], ...]
    from_prompts: bool

    def __len__(self) -> int:
        return self.window[1] - self.window[0] + 1


def plan_segments(states: Sequence[ObjectState], n_frames: int) -> list[Segment]:
    """Return the segments that have to be tracked, and which objects together.

    Args:
        states: The objects; each has an anchor at least.
        n_frames: How many frames the clip has.
    """
    from_words = [(s, spans) for s in states if s.word_anchors and (spans := _word_spans(s, n_frames))]
    segments: list[Segment] = []
    if len(from_words) == 1:  # for a single object either side of its anchor depends on the anchor only
        ((state, spans),) = from_words
        segments += [
            Segment(span, ((state, _within(state.word_anchors, span)),), ((span,),), from_prompts=False)
            for span in spans
        ]
    elif from_words:
        members = tuple((state, state.word_anchors) for state, _ in from_words)
        kept_spans = tuple(tuple(spans) for _, spans in from_words)
        segments.append(Segment((0, n_frames - 1), members, kept_spans, from_prompts=False))
    by_span: dict[Span, list[ObjectState]] = {}
    for state in states:
        if state.prompt_anchors:
            for span in split_at_anchors({**state.word_anchors, **state.prompt_anchors}, n_frames):
                if span not in _word_spans(state, n_frames):
                    by_span.setdefault(span, []).append(state)
    for span, group in sorted(by_span.items()):
        members = tuple((s, _within({**s.word_anchors, **s.prompt_anchors}, span)) for s in group)
        segments.append(Segment(span, members, ((span,),) * len(members), from_prompts=True))
    return segments


def _word_spans(state: ObjectState, n_frames: int) -> list[Span]:
    """Return the spans between the words' anchors on which nothing was drawn."""
    spans = split_at_anchors(state.word_anchors, n_frames) if state.word_anchors else []
    return [(a, b) for a, b in spans if not any(a <= frame <= b for frame in state.prompt_anchors)]


def _within(anchors: Mapping[int, Mask], span: Span) -> dict[int, Mask]:
    return {frame: mask for frame, mask in anchors.items() if span[0] <= frame <= span[1]}


class SegmentTracker:
    """Tracks objects through one clip, segment by segment.

    Args:
        clip: The video.
        segmenter: What outlines objects; it also decides which tracker is used.
        redetector: What searches the gaps of tracks.
        options: The pipeline's.
        progress: Called with the finished fraction, which never falls.
    """

    def __init__(
        self,
        clip: Clip,
        segmenter: Segmenter,
        redetector: Redetector,
        *,
        options: PipelineOptions,
        progress: Callable[[float], None],
    ) -> None:
        self._clip, self._segmenter, self._redetector = clip, segmenter, redetector
        self._options, self._progress, self._fraction = options, progress, 0.0
        self._computed: dict[str, list[MaskTrack]] = {}

    def track(self, states: Sequence[ObjectState]) -> None:
        """Give every state a track over the whole clip. All must have anchors."""
        self._report(0.0)
        for state in states:
            self._drop_conflicting_words(state)
        self._track_segments(states)
        corrected = [
            state
            for state in states
            if anchor_on_corrections(self._clip, state, self._segmenter, self._propagate_alone)
        ]
        if corrected:
            for state in corrected:
                self._drop_conflicting_words(state)
            self._track_segments(states)
        resolve_overlaps(states)
        self._report(1.0)

    def _drop_conflicting_words(self, state: ObjectState) -> None:
        try:
            drop_conflicting_words(self._clip, state, self._propagate_alone)
        except ReadingError as error:  # whether the words mean what was drawn is unknown, so the drawing counts
            state.read_errors.append(error)
            state.word_anchors, state.grounded_masks = {}, ()

    def _propagate_alone(self, state: ObjectState, span: Span, anchors: Mapping[int, Mask]) -> MaskTrack:
        """Return the track of one object over a span, whatever other objects there are."""
        return self._propagate(span, [(state, anchors)])[0]

    def _report(self, fraction: float) -> None:
        """Report progress; tracking again after corrections does not set it back."""
        self._fraction = max(self._fraction, fraction)
        self._progress(self._fraction)

    def _track_segments(self, states: Sequence[ObjectState]) -> None:
        segments = plan_segments(states, len(self._clip))
        total, done = sum(map(len, segments)), 0
        for state in states:
            state.track = empty_track(self._clip, state.target.label)
        for segment in segments:
            before, share = done / total, len(segment) / total
            tracks = self._track_segment(
                segment,
                lambda f, before=before, share=share: self._report(before + share * f),  # type: ignore[misc]
            )
            for (state, _), spans, track in zip(segment.members, segment.kept_spans, tracks, strict=True):
                assert state.track is not None
                state.track = replace_spans(state.track, track, spans)
            done += len(segment)

    def _track_segment(self, segment: Segment, progress: Callable[[float], None]) -> list[MaskTrack]:
        """Track one segment's objects, and recover what was lost on the way.

        This is where it is decided that a lost object is grounded again.
        """
        has_words = any(state.consensus for state, _ in segment.members)
        rounds = self._options.redetect_rounds if has_words else 0
        share = 0.8 if rounds else 1.0
        tracks = self._propagate(segment.window, segment.members, lambda f: progress(share * f))
        for n in range(rounds):
            redetections = self._redetector.search(segment.members, tracks, from_prompts=segment.from_prompts)
            for i, found in enumerate(redetections):
                state, _ = segment.members[found.member]
                recovered = self._propagate((found.gap.first, found.gap.last), [(state, found.masks)])[0]
                tracks[found.member] = fill_gaps(tracks[found.member], recovered)
                progress(share + (1 - share) * (n + (i + 1) / len(redetections)) / rounds)
            if not redetections:
                break
        for k, (state, anchors) in enumerate(segment.members):
            tracks[k] = self._correct_drift(state, anchors, tracks[k])
            others = [track for i, track in enumerate(tracks) if i != k]
            tracks[k] = self._reidentify(state, anchors, tracks[k], others)
        return tracks

    def _correct_drift(self, state: ObjectState, anchors: Mapping[int, Mask], track: MaskTrack) -> MaskTrack:
        """Return the track, tracked again where it drifted away from the grounded masks."""
        prompted = [frame for frame in anchors if frame in state.prompt_anchors]
        try:
            appearance = state.appearance
            if prompted:
                appearance = ColorModel.of(self._clip.frame(prompted[0]), anchors[prompted[0]])
            drifted: list[DriftedSegment] = []
            if state.grounded_masks and appearance:
                drifted = find_drift(self._clip, anchors, appearance, state.grounded_masks, track)
        except ReadingError as error:
            state.read_errors.append(error)
            return track
        return self._track_again(state, track, drifted)

    def _reidentify(
        self, state: ObjectState, anchors: Mapping[int, Mask], track: MaskTrack, others: Sequence[MaskTrack]
    ) -> MaskTrack:
        """Return the track, tracked again where flow lost what its template finds. Other trackers have a memory."""
        if tracker_name(self._segmenter) != FlowTracker.name:
            return track
        try:
            drifted = reidentify(self._clip, anchors, self._segmenter, track, others)
        except ReadingError as error:
            state.read_errors.append(error)
            return track
        return self._track_again(state, track, drifted)

    def _track_again(self, state: ObjectState, track: MaskTrack, drifted: Sequence[DriftedSegment]) -> MaskTrack:
        for segment in drifted:
            span = (segment.first, segment.last)
            track = replace_spans(track, self._propagate(span, [(state, segment.anchors)])[0], [span])
        return track

    def _interval(self, frames: int) -> int:
        """Return how many frames of the clip, at least 1, are so many of the video.

        In a view that leaves frames out they are fewer, so that as much moves meanwhile.
        """
        if isinstance(self._clip, FrameSequence):
            return 1  # each picture gets a mask of its own: any time may lie between two
        return max(1, round(frames / self._clip.frame_step)) if isinstance(self._clip, ClipView) else frames

    def _schedule(self) -> LookSchedule:
        """Return when a tracker with features is to look at the clip's frames."""
        schedule = self._options.schedule
        if schedule is None:
            schedule = EVERY_FRAME if self._is_fast() else LookSchedule()
        return replace(schedule, max_stride=self._interval(schedule.max_stride))

    def _flow_options(self) -> FlowTrackerOptions:
        """Return how often a tracker without features is to refit masks on the clip's frames."""
        refit_every = self._options.refit_every or (1 if self._is_fast() else _SLOW_REFIT_EVERY)
        return FlowTrackerOptions(refit_every=self._interval(refit_every))

    def _is_fast(self) -> bool:
        """Return whether the segmenter may be called on every frame; SAM2 on a CPU says that it may not."""
        return bool(getattr(self._segmenter, "is_fast", True))

    def _propagate(
        self,
        window: Span,
        members: Sequence[tuple[ObjectState, Mapping[int, Mask]]],
        progress: Callable[[float], None] | None = None,
    ) -> list[MaskTrack]:
        """Return the tracks from these anchors over a window; from the cache if they were computed before."""
        options, schedule = self._flow_options(), self._schedule()
        starts = [TrackStart(state.target.label, dict(anchors)) for state, anchors in members]
        cache = members[0][0].cache
        models = (self._segmenter.name, tracker_name(self._segmenter))
        key = (__version__, *models, options, schedule, window, *map(track_start_key, starts))
        tracks = self._computed.get(repr(key)) or (cache.load_tracks(key) if cache else None)
        if tracks is None:
            read_errors: list[ReadingError] = []
            tracks = propagate_all(
                self._clip,
                starts,
                self._segmenter,
                window=window,
                options=options,
                schedule=schedule,
                progress=progress,
                on_read_error=read_errors.append,
                checkpoints=cache.checkpoints(key) if cache else None,
            )
            for state, _ in members:
                state.read_errors += read_errors
            if cache and not read_errors:  # what failed may succeed the next time
                cache.save_tracks(key, tracks)
        self._computed[repr(key)] = tracks
        return list(tracks)
