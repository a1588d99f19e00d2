"""Recovery of lost tracks: finding gaps and drift, redetecting the object by its words, and by its template.

Three things find an object where its track does not show it: the words, grounded again in a gap (`Redetector`); the
masks of the frames that were grounded anyway (`find_drift`); and the object's own template (`reidentify`), for objects
that the words do not tell apart. Each says, as data, from which masks the object is to be tracked again.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refam.pipeline.anchors import MIN_COLOR_SIMILARITY
from refam.pipeline.concepts import ConceptSearch
from refam.pipeline.instances import propose_instances
from refam.pipeline.state import GroundedMask, ObjectState, appearance_similarity
from refam.pipeline.tracks import mask_at
from video import masks
from video.io.probe import ReadingError
from video.keyframes import find_runs
from video.masks import Mask, iou
from video.tracking.appearance import ColorModel
from video.tracking.template_match import ObjectTemplate, TemplateMatch
from video.types import Candidate, Heatmap, MaskTrack, Prompt, Segmenter

if TYPE_CHECKING:
    from refam.pipeline.word_grounder import WordGrounder
    from video.io.reader import Clip

MIN_GAP_FRAMES = 3  # a shorter gap is not worth a search
FRAMES_PER_GAP = 3  # grounded in one gap
GAPS_PER_ROUND = 2  # searched for each object in one round, the longest first
_MAX_OVERLAP = 0.3  # IoU with another object's mask, beyond which a mask is that object's

# Drift, by the grounded masks.
_SAME_MASK_IOU = 0.8  # of the track's mask with the words' own: from it on they show the same
_MIN_SIMILARITY = 0.8  # to the anchor: of a grounded mask that corrects the track
_SIMILARITY_MARGIN = 0.1  # by how much it must exceed that of the track's own mask
_COLOR_MARGIN = 0.02  # by how much its colours alone may fall behind the track's own

# Re-identification, by the template. Chosen on 98 drawn objects (462 of 8820 frames below IoU .7): of the 30 places
# found at .9 or more where the track had another mask, and of the 23 where it had none, all were better than the
# track; of the 7 others 6.
_MIN_MATCH = 0.9
_TRACKED_IOU = 0.7  # of the track's mask with the template at its place: from it on the track is right
_LOOK_ALIKE_MATCH = 0.8  # a second place as like the template on its own frame: the two cannot be told apart
# Chosen on three drawn objects that touch others of their colour. On 23 frames each of 12 further objects, matching
# pixel by pixel found 257 places; none had an IoU below .6 with the object.
_MIN_REFINED_MATCH = 0.7
_REFINE_FROM = 0.5  # from this score on a match is refined pixel by pixel
_OUTLINE_IOU = 0.75  # of a segmenter's outline with the template at its place
_FRAME_STEP, _MAX_FRAMES = 4, 60  # every 4th frame is searched, 60 frames of a track at most


@dataclass(frozen=True)
class Gap:
    """Frames first..last, both included, on which an object is not visible."""

    first: int
    last: int

    def sample(self) -> list[int]:
        """Return the frames to ground: a few, spread evenly over the gap."""
        n = min(FRAMES_PER_GAP, self.last - self.first + 1)
        at = self.first + (self.last - self.first + 1) * (np.arange(n) + 0.5) / n
        return sorted({int(f) for f in at})


@dataclass(frozen=True, eq=False)
class Redetection:
    """An object found in a gap of its track. member: its index; masks: (H, W) bool by frame, to track from."""

    member: int
    gap: Gap
    masks: dict[int, Mask]


@dataclass(frozen=True, eq=False)
class DriftedSegment:
    """Frames first..last, both included, that are to be tracked again. anchors: masks (H, W) bool by frame."""

    first: int
    last: int
    anchors: Mapping[int, Mask]


# --- gaps ---------------------------------------------------------------------------------------------------------


def find_gaps(track: MaskTrack) -> list[Gap]:
    """Return the gaps worth searching, the longest first, at most `GAPS_PER_ROUND`."""
    gaps = [Gap(int(track.frames[a]), int(track.frames[b])) for a, b in find_runs(~track.visible)]
    long_enough = [gap for gap in gaps if gap.last - gap.first + 1 >= MIN_GAP_FRAMES]
    return sorted(long_enough, key=lambda gap: gap.first - gap.last)[:GAPS_PER_ROUND]


def describe_gaps(
    track: MaskTrack, times: NDArray[np.float64], *, whole_times: NDArray[np.float64] | None = None
) -> list[str]:
    """Return sentences for people that say where the object was not found: it may be there all the same.

    Args:
        track: The track.
        times: (n,) seconds of the clip's frames.
        whole_times: Seconds of the whole video's frames, if the clip is a part of it. Nothing is said of the rest.
    """
    begins = whole_times is None or times[0] <= whole_times[0]
    ends = whole_times is None or times[-1] >= whole_times[-1]
    if not track.visible.any():
        where = "in the video" if begins and ends else f"from {times[0]:.2f} s to {times[-1]:.2f} s"
        return [f"it is not found anywhere {where}"]
    sentences, last = [], len(track.frames) - 1
    for a, b in find_runs(~track.visible):
        start_s, end_s = float(times[track.frames[a]]), float(times[track.frames[b]])
        if a == 0:
            when = "before" if begins else f"from {start_s:.2f} s, where the range begins, to"
            sentences.append(f"not found {when} {float(times[track.frames[b + 1]]):.2f} s")
        elif b == last:
            to = "the end" if ends else f"{end_s:.2f} s, where the range ends"
            sentences.append(f"lost from {start_s:.2f} s to {to}")
        else:
            found_s = float(times[track.frames[b + 1]])
            sentences.append(f"lost from {start_s:.2f} s to {end_s:.2f} s, found again at {found_s:.2f} s")
    return sentences


# --- redetection by the words -------------------------------------------------------------------------------------


class Redetector:
    """Searches the gaps of tracks in one clip by grounding the words in them."""

    def __init__(self, clip: Clip, segmenter: Segmenter, grounder: WordGrounder) -> None:
        self._clip, self._segmenter, self._grounder = clip, segmenter, grounder
        self._searches: list[tuple[ObjectState, ConceptSearch | None]] = []

    def search(
        self,
        members: Sequence[tuple[ObjectState, Mapping[int, Mask]]],
        tracks: Sequence[MaskTrack],
        *,
        from_prompts: bool,
    ) -> list[Redetection]:
        """Search the longest gaps of some tracks.

        Args:
            members: The objects, each with its anchors by frame.
            tracks: The objects' tracks, in the same order.
            from_prompts: The object looks as on its first anchor, not as where the words were most certain.

        Returns:
            One redetection for each gap in which an object is recognised.
        """
        redetections = []
        for k, ((state, anchors), track) in enumerate(zip(members, tracks, strict=True)):
            if state.consensus is None:
                continue
            others = [t for i, t in enumerate(tracks) if i != k]
            for gap in find_gaps(track):
                try:
                    appearance = self._appearance_on_first(anchors) if from_prompts else state.appearance
                    start = None if appearance is None else self._search_gap(state, gap, appearance, others)
                except ReadingError as error:  # this gap stays as it is, others are searched
                    state.read_errors.append(error)
                    continue
                if start is not None:
                    redetections.append(Redetection(k, gap, start))
        return redetections

    def note_missed(self) -> None:
        """Add to the notes of each object on how many frames of its gaps the detector of concepts found nothing."""
        for state, search in self._searches:
            if search is not None:
                state.notes += search.describe_missed(why_there="where the object was lost")

    def _concept_search(self, state: ObjectState) -> ConceptSearch | None:
        """Return the search for what an object's words name, one for all of its gaps; None if there is none."""
        for known, search in self._searches:
            if known is state:
                return search
        search = ConceptSearch.of(self._segmenter, state.target.words, cache=state.cache)
        self._searches.append((state, search))
        return search

    def _appearance_on_first(self, anchors: Mapping[int, Mask]) -> ColorModel | None:
        first = min(anchors)
        return ColorModel.of(self._clip.frame(first), anchors[first])

    def _search_gap(
        self, state: ObjectState, gap: Gap, appearance: ColorModel, others: Sequence[MaskTrack]
    ) -> dict[int, Mask] | None:
        """Return the mask, by its frame, on the frame of the gap where the object is recognised best."""
        indices = gap.sample()
        frames = [image for _, images in self._clip.batches(indices) for image in images]
        best: tuple[float, int, Mask] | None = None
        for image, heatmap in zip(frames, self._grounder.ground(frames, indices, [state])[0], strict=True):
            if heatmap.grid.max() <= 0:
                continue
            occupied = [mask_at(other, heatmap.frame) for other in others]
            match = recognise(
                image,
                heatmap,
                self._candidates(state, image, heatmap),
                appearance,
                occupied=[mask for mask in occupied if mask is not None],
                min_confidence=0.5 * state.confidence,
            )
            if match is not None and (best is None or match[1] > best[0]):
                best = (match[1], heatmap.frame, match[0])
        return None if best is None else {best[1]: best[2]}

    def _candidates(self, state: ObjectState, image: NDArray[np.uint8], heatmap: Heatmap) -> list[Candidate]:
        """Return the masks that may show an object: of one of several at each mode of the heatmap."""
        search = self._concept_search(state)
        if not state.quantity.is_plural:
            ranked = search.rank(image, heatmap) if search is not None else []
            if ranked:
                return [ranked[0].candidate]
            return self._segmenter.segment(image, heatmap.to_prompt(), frame=heatmap.frame)
        instances = propose_instances(image, heatmap, self._segmenter, search=search, cache=state.cache)
        return [Candidate(heatmap.frame, one.mask, one.score) for one in instances]


def recognise(
    image: NDArray[np.uint8],
    heatmap: Heatmap,
    candidates: Sequence[Candidate],
    known: ColorModel,
    *,
    occupied: Sequence[Mask],
    min_confidence: float,
) -> tuple[Mask, float] | None:
    """Pick the candidate that shows a known object.

    Args:
        image: (H, W, 3) uint8 RGB.
        heatmap: Where the words point in it.
        candidates: The segmenter's masks for this heatmap.
        known: The object's appearance.
        occupied: Masks of the other objects on this frame, which it cannot be.
        min_confidence: A heatmap with less recognises nothing.

    Returns:
        The mask and its similarity in [0, 1]; None if no candidate shows the object.
    """
    if heatmap.confidence < min_confidence:
        return None
    best: tuple[Mask, float] | None = None
    for candidate in candidates:
        appearance = ColorModel.of(image, candidate.mask)
        if appearance is None or not 0.2 < appearance.area / known.area < 5:
            continue
        color_similarity = known.similarity(appearance)
        similarity = color_similarity * (0.5 + 0.5 * candidate.score)
        if color_similarity < MIN_COLOR_SIMILARITY or any(iou(candidate.mask, m) > _MAX_OVERLAP for m in occupied):
            continue
        if best is None or similarity > best[1]:
            best = (candidate.mask, similarity)
    return best


# --- drift, by the grounded masks ---------------------------------------------------------------------------------


def find_drift(
    clip: Clip, anchors: Mapping[int, Mask], appearance: ColorModel, grounded: Sequence[GroundedMask], track: MaskTrack
) -> list[DriftedSegment]:
    """Find the segments of a track on which the words show the object elsewhere, and the track is wrong.

    On a frame on which the track and the words differ, the mask counts that is clearly more similar to the object. A
    look-alike is as similar, and then the track counts, because it followed the object's motion.

    Args:
        clip: The video.
        anchors: The masks by frame from which the track started.
        appearance: The object's colours there.
        grounded: The masks of the grounded frames.
        track: The track to check.

    Returns:
        The segments to track again, between frames on which the track is right.

    Raises:
        ReadingError: For a frame that cannot be read.
    """
    right, wrong = dict(anchors), {}
    for one in grounded:
        row = track.row_of(one.frame)
        if row is None or one.frame in anchors:
            continue
        if appearance_similarity(one.appearance, appearance) < _MIN_SIMILARITY:
            continue
        tracked = masks.decode(track.rles[row]) if track.visible[row] else None
        if tracked is not None and tracked.any() and masks.iou(tracked, one.mask) >= _SAME_MASK_IOU:
            right[one.frame] = tracked
            continue
        tracked_appearance = ColorModel.of(clip.frame(one.frame), tracked) if tracked is not None else None
        if tracked_appearance is None or _is_more_similar(one.appearance, tracked_appearance, appearance):
            wrong[one.frame] = one.mask
    return drifted_segments(right, wrong, track)


def drifted_segments(
    right: Mapping[int, Mask], corrections: Mapping[int, Mask], track: MaskTrack
) -> list[DriftedSegment]:
    """Return the segments between frames on which the track is right that hold a correction.

    Args:
        right: The track's masks by frame where it is right.
        corrections: The object's masks by frame where it is not.
        track: The track.
    """
    edges = sorted({int(track.frames[0]), *right, int(track.frames[-1])})
    segments = []
    for first, last in itertools.pairwise(edges):
        inside = {frame: mask for frame, mask in corrections.items() if first <= frame <= last}
        if inside:
            ends = {frame: mask for frame, mask in right.items() if frame in (first, last)}
            segments.append(DriftedSegment(first, last, {**ends, **inside}))
    return segments


def _is_more_similar(a: ColorModel, b: ColorModel, known: ColorModel) -> bool:
    """Return whether a is clearly more similar to the known object than b.

    Its colours alone must not fall behind: half of a may be hidden in b.
    """
    same_colors = a.similarity(known) >= b.similarity(known) - _COLOR_MARGIN
    return same_colors and appearance_similarity(a, known) >= appearance_similarity(b, known) + _SIMILARITY_MARGIN


# --- re-identification, by the template ---------------------------------------------------------------------------


def reidentify(
    clip: Clip, anchors: Mapping[int, Mask], segmenter: Segmenter, track: MaskTrack, others: Sequence[MaskTrack]
) -> list[DriftedSegment]:
    """Find the segments on which the object's template matches where its track does not show it.

    Args:
        clip: The video.
        anchors: The object's masks by frame; the largest is the template.
        segmenter: What outlines the object at a match.
        track: The track to check.
        others: Tracks of other objects, whose places the object cannot take.

    Returns:
        The segments to track again.

    Raises:
        ReadingError: For a frame that cannot be read.
    """
    frame = max(anchors, key=lambda f: (int(anchors[f].sum()), -f))
    image = clip.frame(frame)
    template = ObjectTemplate.of(image, anchors[frame])
    if template is None or len(_find_matches(template, image, _LOOK_ALIKE_MATCH)) != 1:
        return []
    rows = np.arange(0, len(track.frames), max(_FRAME_STEP, -(-len(track.frames) // _MAX_FRAMES)))
    searched = [int(f) for f in track.frames[rows] if int(f) not in anchors]
    right, corrections = dict(anchors), {}
    for indices, images in clip.batches(searched):
        for at, picture in zip(map(int, indices), images, strict=True):
            matches = _find_matches(template, picture, _MIN_MATCH)
            if len(matches) != 1:
                continue  # hidden, or there are look-alikes
            place, tracked = template.place(matches[0]), mask_at(track, at)
            if tracked is not None and masks.iou(tracked, place) >= _TRACKED_IOU:
                right[at] = tracked
                continue
            occupied = [mask for other in others if (mask := mask_at(other, at)) is not None]
            box = masks.box_of(place)
            if box is None or any(masks.iou(mask, place) > _MAX_OVERLAP for mask in occupied):
                continue
            prompt = Prompt(prior=masks.rim_prior(place), box=masks.pad_box(box, 0.15, least=0.01))
            outlines = [(masks.iou(c.mask, place), c.mask) for c in segmenter.segment(picture, prompt, frame=at)]
            best = max(outlines, key=lambda outline: outline[0], default=None)
            if best is not None and best[0] >= _OUTLINE_IOU:
                corrections[at] = best[1]
    return drifted_segments(right, corrections, track)


def _find_matches(template: ObjectTemplate, image: NDArray[np.uint8], min_score: float) -> list[TemplateMatch]:
    """Return the places that match the template's shape or, among things of its colours, its very pixels."""
    matches = []
    for match in template.find(image):
        refined = template.refine(image, match) if match.score >= _REFINE_FROM else None
        if refined is not None and refined.score >= _MIN_REFINED_MATCH:
            matches.append(refined)
        elif match.score >= min_score:
            matches.append(match)
    return matches
