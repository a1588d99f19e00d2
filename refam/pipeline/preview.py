"""A preview of tracks: boxes on the grounded frames and between them, known before anything is tracked.

Words are grounded on a few frames of a clip, and each gets a mask, which takes a small part of the time that tracking
takes. The boxes of these masks, interpolated over time, show what was found and roughly where it goes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from refam.pipeline.anchors import MIN_COLOR_SIMILARITY
from refam.pipeline.state import ObjectState
from refam.pipeline.tracks import empty_track
from refam.pipeline.types import TrackResult
from video import masks
from video.types import MaskTrack

if TYPE_CHECKING:
    from video.io.reader import Clip

Preview = Callable[[list[TrackResult]], None]
"""Takes one result per target, as `preview_results` returns them."""


def preview_results(clip: Clip, states: Sequence[ObjectState]) -> list[TrackResult]:
    """Return a preview of each object's track.

    Args:
        clip: The video.
        states: The objects, with their anchors or failures.

    Returns:
        One result per object, with score 0. Its boxes are on every frame, its masks are all empty. An object that was
        not found, or that a person drew on, is visible nowhere: what is drawn already is better than a preview.
    """
    results = []
    for state in states:
        track = None if state.failure is not None or state.target.prompts else _boxes_between_looks(clip, state)
        notes = (state.failure,) if state.failure is not None else ()
        result = TrackResult(state.target, empty_track(clip, state.target.label), (), 0.0, state.anchor_frame, notes)
        results.append(result if track is None else replace(result, track=track))
    return results


def on_size(results: Sequence[TrackResult], size: tuple[int, int]) -> list[TrackResult]:
    """Return previews of a clip whose frames were reduced as previews of the clip itself, of (width, height) pixels."""
    blank = masks.empty(size)
    return [replace(r, track=replace(r.track, size=size, rles=(blank,) * len(r.track.rles))) for r in results]


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
