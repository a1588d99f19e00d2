"""Anchors: the frames and masks from which tracking starts.

An anchor comes from a person's prompts (`refam.pipeline.prompt_anchors`) or from words
(`refam.pipeline.word_anchors`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from refam.pipeline.prompt_anchors import anchor_on_prompts, prompts_by_frame
from refam.pipeline.state import ObjectState
from refam.pipeline.tracks import mask_at
from refam.pipeline.types import FramePrompt, PipelineOptions
from refam.pipeline.word_anchors import anchor_on_words
from video import masks
from video.masks import Mask
from video.tracking.appearance import ColorModel
from video.types import MaskTrack, Segmenter

if TYPE_CHECKING:
    from video.io.reader import Clip

MIN_COLOR_SIMILARITY = 0.6  # from it on two masks may show the same object
_SAME_OBJECT_IOU = 0.5  # of the words' mask with the track from a prompt: from it on they mean the same object


def find_anchors(
    clip: Clip,
    state: ObjectState,
    segmenter: Segmenter,
    *,
    options: PipelineOptions,
    progress: Callable[[float], object] | None = None,
) -> None:
    """Find the masks from which one object can be tracked, and store them in its state.

    Args:
        clip: The video.
        state: The object's; gets anchors, or a failure.
        segmenter: What outlines the object.
        options: Say how much evidence words need to lead to an anchor.
        progress: Is called with the share of the grounded frames that are done, in [0, 1].
    """
    if state.consensus is not None:
        anchor_on_words(clip, state, segmenter, options=options, progress=progress)
    by_frame = prompts_by_frame(state.target.prompts)
    if drawn := [frame for frame, prompts in by_frame.items() if any(map(_is_outlined, prompts))]:
        anchor_on_prompts(clip, state, segmenter, frames=drawn)
    for frame, prompts in by_frame.items():
        if state.word_anchors or state.prompt_anchors:
            break  # other points correct what is tracked from here; see `refam.pipeline.corrections`
        if frame not in drawn and any(prompt.is_positive for prompt in prompts):
            anchor_on_prompts(clip, state, segmenter, frames=[frame])
    if state.failure is not None and state.read_errors:
        state.failure = str(state.read_errors[0])  # what could not be read explains it better


def drop_conflicting_words(
    clip: Clip, state: ObjectState, track: Callable[[ObjectState, tuple[int, int], Mapping[int, Mask]], MaskTrack]
) -> None:
    """Drop the words' anchors unless they show the object that a person drew, with a note if they show another one.

    They show it if the track from the nearest prompt reaches them or, where it is lost on the way, if the colours are
    similar.

    Args:
        clip: The video.
        state: The object's.
        track: Tracks the object over a window (first and last frame) from masks by frame.

    Raises:
        ReadingError: For a frame that cannot be read.
    """
    for frame, mask in sorted(state.word_anchors.items()):
        if not state.prompt_anchors:
            return
        nearest = min(state.prompt_anchors, key=lambda f: (abs(f - frame), f))
        tracked: Mask | None = state.prompt_anchors[nearest]
        if nearest != frame:
            window = (min(nearest, frame), max(nearest, frame))
            tracked = mask_at(track(state, window, {nearest: state.prompt_anchors[nearest]}), frame)
        if tracked is not None:
            same = masks.iou(tracked, mask) >= _SAME_OBJECT_IOU
        else:
            drawn = ColorModel.of(clip.frame(nearest), state.prompt_anchors[nearest])
            meant = ColorModel.of(clip.frame(frame), mask)
            same = drawn is not None and meant is not None and drawn.similarity(meant) >= MIN_COLOR_SIMILARITY
        if not same:
            state.word_anchors, state.grounded_masks = {}, ()
            # Words for several may point at another one, and points that refine what the words gave agree with them.
            if not state.quantity.is_plural and nearest not in state.refined_frames:
                state.notes.append("the words point at something else than what was drawn; the drawing counts")
            return
    state.word_anchors = {f: m for f, m in state.word_anchors.items() if f not in state.prompt_anchors}


def _is_outlined(prompt: FramePrompt) -> bool:
    """Return whether a prompt says where the object ends: by a box or a mask."""
    return prompt.box is not None or prompt.mask is not None
