"""A preview of tracks: boxes on the grounded frames and between them, known before anything is tracked.

Words are grounded on a few frames of a clip, and each gets a mask, which takes a small part of the time that tracking
takes. The boxes of these masks, interpolated over time, show what was found and roughly where it goes. The mask from
which tracking starts shows what exactly was found, be it by words or by what a person drew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from refam.pipeline.anchors import MIN_COLOR_SIMILARITY, find_anchors
from refam.pipeline.roi import RegionOfInterest, map_targets_to_view
from refam.pipeline.state import ObjectState
from refam.pipeline.tracks import empty_track
from refam.pipeline.types import PipelineOptions, Target, TrackResult
from video import masks
from video.types import MaskTrack, Segmenter

if TYPE_CHECKING:
    from video.io.reader import Clip, ClipView


@dataclass(frozen=True, eq=False, repr=False)
class PreviewResult(TrackResult):
    """What is known of an object before it is tracked.

    Attributes:
        first_mask: A track of one row: the mask on `anchor_frame`, from which tracking starts, with its evidence as the
            score. None where the object was not found.
        is_of_words: Whether words led to it, and not what a person drew.
    """

    first_mask: MaskTrack | None = None
    is_of_words: bool = False


_POINTS_COME_LATER = "the preview shows what the words gave; the points correct that once it is tracked to them"

Preview = Callable[[list[PreviewResult]], None]
"""Takes one result per object, as `preview_results` returns them."""


def preview_results(clip: Clip, states: Sequence[ObjectState]) -> list[PreviewResult]:
    """Return a preview of each object's track.

    Args:
        clip: The video.
        states: The objects, with their anchors or failures.

    Returns:
        One result per object, with score 0. Its boxes are on every frame, its masks are all empty; only `first_mask`
        has one. An object that was not found, or that a person drew on, is visible nowhere: what is drawn already is
        better than a preview.
    """
    results = []
    for state in states:
        track = None if state.failure is not None or state.target.prompts else _boxes_between_looks(clip, state)
        notes = (*([] if state.failure is None else [state.failure]), *state.notes)
        track = track or empty_track(clip, state.target.label)
        first = None if state.failure is not None else _first_mask(clip, state)
        of_words = first is not None and state.anchor_frame not in state.prompt_anchors
        if of_words and state.target.prompts and not state.prompt_anchors:
            notes = (*notes, _POINTS_COME_LATER)
        results.append(
            PreviewResult(
                state.target,
                track,
                (),
                0.0,
                state.anchor_frame,
                notes,
                first_mask=first,
                is_of_words=of_words,
                instance=state.instance,
            )
        )
    return results


def find_first_mask(
    clip: Clip, target: Target, segmenter: Segmenter, *, region: RegionOfInterest | None = None
) -> PreviewResult:
    """Outline what a person drew, as a run of the pipeline does before it tracks.

    Args:
        clip: The video.
        target: The object, with prompts; words are not looked for.
        segmenter: What outlines it.
        region: The frames to look at, and their size; the whole clip as it is unless given.

    Returns:
        The preview; its notes say why if it has no `first_mask`.

    Raises:
        PipelineError: For a mask of another size than the clip's.
        PromptError: For a region that does not fit the clip, or a prompt outside of it.
    """
    view = (region or RegionOfInterest()).view(clip, [target])
    state = ObjectState(map_targets_to_view(view, [target])[0])
    find_anchors(view, state, segmenter, options=PipelineOptions())
    return map_previews_to_clip(preview_results(view, [state]), view)[0]


def map_previews_to_clip(results: Sequence[PreviewResult], view: ClipView) -> list[PreviewResult]:
    """Return previews of a view on the frames of the whole clip, in its size."""
    size = view.whole.size
    blank = masks.empty(size)
    mapped = []
    for result in results:
        track = replace(result.track, frames=view.frames, size=size, rles=(blank,) * len(view.frames))
        first, anchor = result.first_mask, int(view.frames[result.anchor_frame])
        if first is not None:
            mask = masks.decode(first.rles[0])
            rle = first.rles[0] if first.size == size else masks.encode(masks.resize_mask(mask, size))
            first = replace(first, frames=np.array([anchor]), size=size, rles=(rle,))
        mapped.append(replace(result, track=track, anchor_frame=anchor, first_mask=first))
    return mapped


def _first_mask(clip: Clip, state: ObjectState) -> MaskTrack | None:
    mask = {**state.word_anchors, **state.prompt_anchors}.get(state.anchor_frame)
    box = None if mask is None else masks.box_of(mask)
    if mask is None or box is None:
        return None
    return MaskTrack(
        label=state.target.label,
        size=clip.size,
        frames=np.array([state.anchor_frame]),
        rles=(masks.encode(mask),),
        boxes=np.array([box], np.float64),
        scores=np.array([state.limit_score(state.evidence)]),
        visible=np.ones(1, np.bool_),
    )


def _boxes_between_looks(clip: Clip, state: ObjectState) -> MaskTrack | None:
    """A track of boxes through the grounded masks whose colours are the anchor's; None without any."""
    looks = {}
    for grounded in state.grounded_masks:
        alike = state.appearance is None or grounded.appearance.similarity(state.appearance) >= MIN_COLOR_SIMILARITY
        if alike and (box := masks.box_of(grounded.mask)) is not None:
            looks[grounded.frame] = box
    if not looks:
        return None
    frames = sorted(looks)
    times, known = np.asarray(clip.times, np.float64), np.array([looks[frame] for frame in frames], np.float64)
    boxes = np.stack([np.interp(times, times[frames], side) for side in known.T], axis=1)
    n = len(clip)
    return replace(
        empty_track(clip, state.target.label),
        boxes=boxes.clip(0, 1),
        scores=np.full(n, state.evidence),
        visible=np.ones(n, np.bool_),
    )
