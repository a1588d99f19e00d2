"""Tracks by stretches: each lies between two frames on which its object is known, and depends on nothing beyond them.

What a person draws on a frame cuts the stretch it lies in; all others stay as they are to the bit. Objects whose
stretches are the same are followed together, so that they do not take each other's place. Words start stretches too:
their mask counts as known as long as what is followed from the nearest drawing comes to it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from refam import __version__
from refam.pipeline.anchors import ObjectState, anchor_on_corrections, words_agree
from refam.pipeline.recovery import DriftedSegment, Redetector, find_drift, reidentify
from refam.pipeline.stage_cache import start_key
from refam.pipeline.tracks import empty_track, resolve_overlaps, splice
from refam.pipeline.types import PipelineOptions
from video.io.probe import ReadingError
from video.io.reader import ClipView, FrameSequence
from video.masks import Mask
from video.tracking.appearance import ColorModel
from video.tracking.flow_tracker import FlowTracker, FlowTrackerOptions
from video.tracking.propagate import TrackStart, propagate_all, tracker_name
from video.types import MaskTrack, Segmenter

if TYPE_CHECKING:
    from video.io.reader import Clip

Span = tuple[int, int]


def stretches(anchors: Iterable[int], n: int) -> list[Span]:
    """The frames 0..n-1, cut at the anchors; neighbours share the frame between them."""
    return list(itertools.pairwise(sorted({0, *anchors, n - 1}))) or [(0, 0)]


@dataclass(frozen=True, eq=False)
class Segment:
    """One run of a tracker. window: first and last frame. members: objects, each with its masks by frame in it.

    kept: for each member the spans of the window that count. drawn: whether it hangs on something a person drew.
    """

    window: Span
    members: tuple[tuple[ObjectState, Mapping[int, Mask]], ...]
    kept: tuple[tuple[Span, ...], ...]
    drawn: bool

    def __len__(self) -> int:
        return self.window[1] - self.window[0] + 1


def plan_segments(works: Sequence[ObjectState], n: int) -> list[Segment]:
    """What has to be followed, and which objects together. n: frames of the clip."""
    worded = [(w, spans) for w in works if w.anchors and (spans := _of_words(w, n))]
    found: list[Segment] = []
    if len(worded) == 1:  # alone, either side of a mask depends on it only
        ((work, spans),) = worded
        found += [Segment(s, ((work, _inside(work.anchors, s)),), ((s,),), drawn=False) for s in spans]
    elif worded:
        members = tuple((w, w.anchors) for w, _ in worded)
        found.append(Segment((0, n - 1), members, tuple(tuple(spans) for _, spans in worded), drawn=False))
    shared: dict[Span, list[ObjectState]] = {}
    for work in works:
        if work.drawn:
            for span in stretches({**work.anchors, **work.drawn}, n):
                if span not in _of_words(work, n):
                    shared.setdefault(span, []).append(work)
    for span, some in sorted(shared.items()):
        members = tuple((w, _inside({**w.anchors, **w.drawn}, span)) for w in some)
        found.append(Segment(span, members, ((span,),) * len(members), drawn=True))
    return found


def _of_words(work: ObjectState, n: int) -> list[Span]:
    """The stretches between the words' own masks on which nothing was drawn."""
    spans = stretches(work.anchors, n) if work.anchors else []
    return [(a, b) for a, b in spans if not any(a <= f <= b for f in work.drawn)]


def _inside(anchors: Mapping[int, Mask], span: Span) -> dict[int, Mask]:
    return {f: m for f, m in anchors.items() if span[0] <= f <= span[1]}


class SegmentTracker:
    """Follows objects through one clip."""

    def __init__(
        self,
        clip: Clip,
        segmenter: Segmenter,
        searcher: Redetector,
        *,
        options: PipelineOptions,
        tell: Callable[[float], None],
    ) -> None:
        self._clip, self._segmenter, self._searcher = clip, segmenter, searcher
        self._options, self._told, self._reached = options, tell, 0.0
        self._known: dict[str, list[MaskTrack]] = {}

    def follow(self, works: Sequence[ObjectState]) -> None:
        """Leaves a track in every work. All have masks to start from: of words, or drawn."""
        self._tell(0.0)
        for work in works:
            try:
                words_agree(self._clip, work, lambda work, span, start: self._track(span, [(work, start)])[0])
            except ReadingError as error:  # whether they mean what was drawn cannot be seen; the drawing counts
                work.stops.append(error)
                work.anchors, work.seen = {}, ()
        self._follow(works)
        corrected = [work for work in works if anchor_on_corrections(self._clip, work, self._segmenter)]
        if corrected:
            self._follow(works)
        resolve_overlaps(works)
        self._tell(1.0)

    def _tell(self, fraction: float) -> None:
        """What is followed again after corrections is no step back."""
        self._reached = max(self._reached, fraction)
        self._told(self._reached)

    def _follow(self, works: Sequence[ObjectState]) -> None:
        todo = plan_segments(works, len(self._clip))
        total, done = sum(map(len, todo)), 0
        for work in works:
            work.track = empty_track(self._clip, work.target.label)
        for piece in todo:
            before, share = done / total, len(piece) / total
            found = self._piece(piece, lambda f, before=before, share=share: self._tell(before + share * f))  # type: ignore[misc]
            for (work, _), spans, track in zip(piece.members, piece.kept, found, strict=True):
                assert work.track is not None
                work.track = splice(work.track, track, spans)
            done += len(piece)

    def _piece(self, piece: Segment, tell: Callable[[float], None]) -> list[MaskTrack]:
        """Followed, and what was lost searched for in the words again."""
        worded = any(work.heard for work, _ in piece.members)
        rounds = self._options.rescues if worded else 0
        share = 0.8 if rounds else 1.0
        tracks = self._track(piece.window, piece.members, lambda f: tell(share * f))
        for n in range(rounds):
            found = self._searcher.search(piece.members, tracks, drawn=piece.drawn)
            for i, (k, window, start) in enumerate(found):
                again = self._track((window.first, window.last), [(piece.members[k][0], start)])[0]
                tracks[k] = self._searcher.patched(tracks[k], again)
                tell(share + (1 - share) * (n + (i + 1) / len(found)) / rounds)
            if not found:
                break
        for k, (work, anchors) in enumerate(piece.members):
            tracks[k] = self._brought_back(work, anchors, tracks[k])
            others = [track for i, track in enumerate(tracks) if i != k]
            tracks[k] = self._recalled(work, anchors, tracks[k], others)
        return tracks

    def _brought_back(self, work: ObjectState, anchors: Mapping[int, Mask], track: MaskTrack) -> MaskTrack:
        """The track, followed again where it has gone astray from what the words show."""
        drawn = [frame for frame in anchors if frame in work.drawn]
        try:
            looks = ColorModel.of(self._clip.frame(drawn[0]), anchors[drawn[0]]) if drawn else work.looks
            found = find_drift(self._clip, anchors, looks, work.seen, track) if work.seen and looks else []
        except ReadingError as error:
            work.stops.append(error)
            return track
        return self._again(work, track, found)

    def _recalled(
        self, work: ObjectState, anchors: Mapping[int, Mask], track: MaskTrack, others: Sequence[MaskTrack]
    ) -> MaskTrack:
        """The track, followed again where flow lost what its portrait finds. Other trackers remember by themselves."""
        if tracker_name(self._segmenter) != FlowTracker.name:
            return track
        try:
            found = reidentify(self._clip, anchors, self._segmenter, track, others)
        except ReadingError as error:
            work.stops.append(error)
            return track
        return self._again(work, track, found)

    def _again(self, work: ObjectState, track: MaskTrack, found: Sequence[DriftedSegment]) -> MaskTrack:
        for stray in found:
            again = self._track((stray.first, stray.last), [(work, stray.anchors)])[0]
            track = splice(track, again, [(stray.first, stray.last)])
        return track

    def _frames_to_a_look(self) -> int:
        """Of the clip, counted so that as much moves from one look to the next whatever was left out between."""
        if isinstance(self._clip, FrameSequence):
            return 1  # a mask on each picture is what was asked for, and any time may lie between two
        # A segmenter that is slow where it runs says how often it wants to be asked.
        every = self._options.look_every or int(getattr(self._segmenter, "refit_every", 1))
        return max(1, round(every / self._clip.apart)) if isinstance(self._clip, ClipView) else every

    def _track(
        self,
        window: Span,
        members: Sequence[tuple[ObjectState, Mapping[int, Mask]]],
        tell: Callable[[float], None] | None = None,
    ) -> list[MaskTrack]:
        """The tracks from these masks, out of the memo where they are known already."""
        options = FlowTrackerOptions(refit_every=self._frames_to_a_look())
        starts = [TrackStart(work.target.label, dict(anchors)) for work, anchors in members]
        memo = members[0][0].memo
        made_by = (self._segmenter.name, tracker_name(self._segmenter))
        key = (__version__, *made_by, options, window, *map(start_key, starts))
        tracks = self._known.get(repr(key)) or (memo.tracks(key) if memo else None)
        if tracks is None:
            stops: list[ReadingError] = []
            tracks = propagate_all(
                self._clip,
                starts,
                self._segmenter,
                window=window,
                options=options,
                progress=tell,
                stopped=stops.append,
                checkpoints=memo.checkpoints(key) if memo else None,
            )
            for work, _ in members:
                work.stops += stops
            if memo and not stops:  # what failed may heal: it is no answer for the next run
                memo.keep_tracks(key, tracks)
        self._known[repr(key)] = tracks
        return list(tracks)
