"""Where an object was lost, and whether what the words point at there is the same object."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refam.pipeline.anchors import LEAST_LIKENESS, GroundedMask, ObjectState, likeness
from refam.pipeline.tracks import mask_at, patch
from video import masks
from video.io.probe import ReadingError
from video.keyframes import spans
from video.masks import Mask, iou
from video.tracking.appearance import ColorModel
from video.tracking.template_match import ObjectTemplate, TemplateMatch
from video.types import Candidate, Heatmap, MaskTrack, Prompt, Segmenter

if TYPE_CHECKING:
    from video.io.reader import Clip

LEAST_WINDOW = 3  # frames; a shorter gap is not worth a search
PROBES = 3  # frames grounded in one lost window
WINDOWS = 2  # lost windows searched per object and round, the longest first


@dataclass(frozen=True)
class Gap:
    """Frames first..last, both included, on which an object is not visible."""

    first: int
    last: int

    def probes(self) -> list[int]:
        """The frames to look at: spread evenly over the window."""
        n = min(PROBES, self.last - self.first + 1)
        at = self.first + (self.last - self.first + 1) * (np.arange(n) + 0.5) / n
        return sorted({int(f) for f in at})


def find_gaps(track: MaskTrack) -> list[Gap]:
    """The windows worth searching, longest first, at most `WINDOWS`."""
    windows = [Gap(int(track.frames[a]), int(track.frames[b])) for a, b in spans(~track.visible)]
    worth = [w for w in windows if w.last - w.first + 1 >= LEAST_WINDOW]
    return sorted(worth, key=lambda w: w.first - w.last)[:WINDOWS]


def recognise(
    image: NDArray[np.uint8],
    heatmap: Heatmap,
    candidates: Sequence[Candidate],
    known: ColorModel,
    *,
    taken: Sequence[Mask],
    least_confidence: float,
) -> tuple[Mask, float] | None:
    """The candidate that is the known object, and its likeness in [0, 1]; None when none is.

    taken: masks of the other objects on this frame, which it cannot be.
    """
    if heatmap.confidence < least_confidence:
        return None
    best: tuple[Mask, float] | None = None
    for candidate in candidates:
        looks = ColorModel.of(image, candidate.mask)
        if looks is None or not 0.2 < looks.area / known.area < 5:
            continue
        likeness = known.similarity(looks) * (0.5 + 0.5 * candidate.score)
        if known.similarity(looks) < LEAST_LIKENESS or any(iou(candidate.mask, t) > 0.3 for t in taken):
            continue
        if best is None or likeness > best[1]:
            best = (candidate.mask, likeness)
    return best


def gaps_in_words(track: MaskTrack, times: NDArray[np.float64]) -> list[str]:
    """Sentences for people: where the object is not seen."""
    if not track.visible.any():
        return ["it is not seen anywhere in the video"]
    said, last = [], len(track.frames) - 1
    for a, b in spans(~track.visible):
        start_s, end_s = float(times[track.frames[a]]), float(times[track.frames[b]])
        if a == 0:
            said.append(f"not seen before {float(times[track.frames[b + 1]]):.1f} s")
        elif b == last:
            said.append(f"lost from {start_s:.1f} s to the end")
        else:
            found_s = float(times[track.frames[b + 1]])
            said.append(f"lost from {start_s:.1f} s to {end_s:.1f} s, found again at {found_s:.1f} s")
    return said


Ground = Callable[[list[NDArray[np.uint8]], list[int], ObjectState], list[Heatmap]]
Found = tuple[int, Gap, dict[int, Mask]]


class Redetector:
    """Searches the windows of one clip in which objects are not seen."""

    def __init__(self, clip: Clip, segmenter: Segmenter, ground: Ground) -> None:
        self._clip, self._segmenter, self._ground = clip, segmenter, ground

    def search(
        self, members: Sequence[tuple[ObjectState, Mapping[int, Mask]]], tracks: Sequence[MaskTrack], *, drawn: bool
    ) -> list[Found]:
        """(which member, the window, the mask by its frame) for each window of these tracks that paid off.

        drawn: the object looks as on the first frame that is known in these tracks, not as where the words were surest.
        """
        found = []
        for k, ((work, anchors), track) in enumerate(zip(members, tracks, strict=True)):
            if work.heard is None:
                continue
            others = [t for i, t in enumerate(tracks) if i != k]
            for window in find_gaps(track):
                try:
                    looks = self._looks(anchors) if drawn else work.looks
                    start = None if looks is None else self._look(work, window, looks, others)
                except ReadingError as error:  # this window stays as it is, others are searched
                    work.stops.append(error)
                    continue
                if start is not None:
                    found.append((k, window, start))
        return found

    def patched(self, track: MaskTrack, found: MaskTrack) -> MaskTrack:
        """The track with what was found in one of its windows."""
        return patch(track, found)

    def _looks(self, anchors: Mapping[int, Mask]) -> ColorModel | None:
        first = min(anchors)
        return ColorModel.of(self._clip.frame(first), anchors[first])

    def _look(
        self, work: ObjectState, window: Gap, looks: ColorModel, others: Sequence[MaskTrack]
    ) -> dict[int, Mask] | None:
        """The mask on the frame of the window in which the object is recognised best."""
        probes = window.probes()
        frames = [image for _, images in self._clip.batches(probes) for image in images]
        best: tuple[float, int, Mask] | None = None
        for image, heatmap in zip(frames, self._ground(frames, probes, work), strict=True):
            if heatmap.grid.max() <= 0:
                continue
            taken = [mask_at(other, heatmap.frame) for other in others]
            match = recognise(
                image,
                heatmap,
                self._segmenter.segment(image, Prompt(prior=heatmap.grid), frame=heatmap.frame),
                looks,
                taken=[t for t in taken if t is not None],
                least_confidence=0.5 * work.confidence,
            )
            if match is not None and (best is None or match[1] > best[0]):
                best = (match[1], heatmap.frame, match[0])
        return None if best is None else {best[1]: best[2]}


# Chosen on 98 drawn objects (462 of 8820 frames below IoU .7) and seen on no others: of 30 frames found at .9 or more
# where the track's mask was there but another, and of 23 where it had none, all were better than it; of 7 elsewhere 6.
_SURE = 0.9
_SAME = 0.7  # IoU of the track's mask with the portrait in its place, from which on they mean the same
_TWIN = 0.8  # a second place as like the portrait on its own frame: which is which cannot be told
# Chosen on three drawn objects that touch others of their colour. On 23 frames each of 12 others the two found 257
# places; none had an IoU below .6 with the object.
_CLOSE, _WORTH_IT = 0.7, 0.5  # how much of it is there, looked at closely, and from which score on that is worth while
_OUTLINED = 0.75  # IoU of an outline with the portrait in its place
_EVERY, _MOST = 4, 60  # frames between two that are looked at, and how many are


def reidentify(
    clip: Clip, known: Mapping[int, Mask], segmenter: Segmenter, track: MaskTrack, others: Sequence[MaskTrack]
) -> list[DriftedSegment]:
    """The stretches to follow again: those in which the known object is found where the track does not show it.

    known: masks by frame. others: tracks of other objects, whose places are taken. Raises ReadingError.
    """
    frame = max(known, key=lambda f: (int(known[f].sum()), -f))
    image = clip.frame(frame)
    portrait = ObjectTemplate.of(image, known[frame])
    if portrait is None or len(_sightings(portrait, image, _TWIN)) != 1:
        return []
    rows = np.arange(0, len(track.frames), max(_EVERY, -(-len(track.frames) // _MOST)))
    asked = [int(f) for f in track.frames[rows] if int(f) not in known]
    right, wrong = dict(known), {}
    for indices, images in clip.batches(asked):
        for at, picture in zip(map(int, indices), images, strict=True):
            found = _sightings(portrait, picture, _SURE)
            if len(found) != 1:
                continue  # not to be seen, or more than one
            place, own = portrait.place(found[0]), mask_at(track, at)
            if own is not None and masks.iou(own, place) >= _SAME:
                right[at] = own
                continue
            taken = [mask for other in others if (mask := mask_at(other, at)) is not None]
            box = masks.box_of(place)
            if box is None or any(masks.iou(mask, place) > 0.3 for mask in taken):
                continue
            prompt = Prompt(prior=masks.rim_prior(place), box=masks.pad_box(box, 0.15, least=0.01))
            outlines = [(masks.iou(c.mask, place), c.mask) for c in segmenter.segment(picture, prompt, frame=at)]
            best = max(outlines, key=lambda o: o[0], default=None)
            if best is not None and best[0] >= _OUTLINED:
                wrong[at] = best[1]
    return between(right, wrong, track)


def _sightings(portrait: ObjectTemplate, picture: NDArray[np.uint8], least: float) -> list[TemplateMatch]:
    """Where the thing is to be seen: where its shape is, or, among things of its colours, its very pixels."""
    found = []
    for match in portrait.find(picture):
        close = portrait.closely(picture, match) if match.score >= _WORTH_IT else None
        if close is not None and close.score >= _CLOSE:
            found.append(close)
        elif match.score >= least:
            found.append(match)
    return found


_SAME_PLACE = 0.8  # IoU of the track's mask with the words' own from which on they mean the same thing


_LIKE, _LIKER = 0.8, 0.1  # likeness to the first mask: of a mask that the track is held to, and above the track's own


_LESS_COLOUR = 0.02  # of colours alone: how much less it may be than the track's own


def _liker(one: ColorModel, other: ColorModel, known: ColorModel) -> bool:
    """Whether the one looks more like what is known: in no colour less, for half of it may be hidden in the other."""
    same_colours = one.similarity(known) >= other.similarity(known) - _LESS_COLOUR
    return same_colours and likeness(one, known) >= likeness(other, known) + _LIKER


@dataclass(frozen=True, eq=False)
class DriftedSegment:
    """A stretch on which the track is to be followed again. anchors: masks by frame, of the track and of the words."""

    first: int
    last: int
    anchors: Mapping[int, Mask]


def find_drift(
    clip: Clip, known: Mapping[int, Mask], looks: ColorModel, seen: Sequence[GroundedMask], track: MaskTrack
) -> list[DriftedSegment]:
    """The stretches between frames that are right, on which the words show the object elsewhere and the track is wrong.

    known: the masks by frame that the track started from; looks: of the object there. On a frame on which the track and
    the words differ the one counts that looks more like it: a twin looks like it too, and then the track is believed,
    for it has seen how the object moved. Raises ReadingError.
    """
    right, wrong = dict(known), {}
    for one in seen:
        row = int(np.searchsorted(track.frames, one.frame))
        if row == len(track.frames) or track.frames[row] != one.frame or one.frame in known:
            continue
        if likeness(one.looks, looks) < _LIKE:
            continue
        own = masks.decode(track.rles[row]) if track.visible[row] else None
        if own is not None and own.any() and masks.iou(own, one.mask) >= _SAME_PLACE:
            right[one.frame] = own
            continue
        there = ColorModel.of(clip.frame(one.frame), own) if own is not None else None
        if there is None or _liker(one.looks, there, looks):
            wrong[one.frame] = one.mask
    return between(right, wrong, track)


def between(right: Mapping[int, Mask], wrong: Mapping[int, Mask], track: MaskTrack) -> list[DriftedSegment]:
    """The stretches between frames on which the track is right, with what is to be seen on those where it is not."""
    edges = sorted({int(track.frames[0]), *right, int(track.frames[-1])})
    found = []
    for first, last in itertools.pairwise(edges):
        within = {frame: mask for frame, mask in wrong.items() if first <= frame <= last}
        if within:
            held = {frame: mask for frame, mask in right.items() if frame in (first, last)}
            found.append(DriftedSegment(first, last, {**held, **within}))
    return found
