"""Corrections: points on frames that the track reaches refine its mask there, and it is tracked again from there.

Only points are corrections: boxes and masks say all of the object on their frame. Points on the object are none where
the object is not seen, or where what was tracked is another thing than the one under the points: there the object is
outlined anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refam.pipeline.prompt_anchors import anchor_on_prompts, describe_violations, merge_prompts, prompts_by_frame
from refam.pipeline.roi import frame_of_video
from refam.pipeline.state import ObjectState
from refam.pipeline.tracks import mask_at, replace_spans
from refam.pipeline.types import FramePrompt
from refam.segmenters.prompts import point_prompt
from refam.segmenters.refinement import distance_in_sizes, refine_mask
from video.masks import Mask, contains
from video.tracking.appearance import ColorModel
from video.types import MaskTrack, Prompt, Segmenter

if TYPE_CHECKING:
    from video.io.reader import Clip

_FAR_SIZES = 1.0  # in square roots of the mask's area: how far a thing may lie from the object to be added to it
# Of the mask: an answer at the point alone that covers more of it shows the same thing. On DAVIS-dev (every 15th frame)
# it is 0.75 at least where a part of the object is missing, and 0.01 at most where the mask is a neighbour.
_SAME_THING_SHARE = 0.5

PropagateSpan = Callable[[ObjectState, tuple[int, int], Mapping[int, Mask]], MaskTrack]


def anchor_on_corrections(clip: Clip, state: ObjectState, segmenter: Segmenter, propagate: PropagateSpan) -> bool:
    """Correct the track's masks by the points that did not start it.

    Frames near an anchor come first. A corrected mask is followed to the next points at once, because whoever drew
    these saw the track with the corrections before them.

    Args:
        clip: The video.
        state: The object's; it has a track over the whole clip.
        segmenter: What refines masks.
        propagate: Tracks the object over a span (first and last frame) from masks by frame.

    Returns:
        Whether there are new anchors, from which the whole clip must be tracked again.
    """
    by_frame = prompts_by_frame(state.target.prompts)
    pending = sorted(by_frame.keys() - state.prompt_anchors.keys())
    changed = False
    while pending:
        anchors = _anchors(state)
        frame = min(pending, key=lambda f: (min(abs(f - anchor) for anchor in anchors), f))
        pending.remove(frame)
        if _correct_frame(clip, state, segmenter, frame, by_frame[frame]):
            changed = True
            _follow(state, frame, pending, propagate)
    return changed


def _correct_frame(
    clip: Clip, state: ObjectState, segmenter: Segmenter, frame: int, prompts: Sequence[FramePrompt]
) -> bool:
    """Apply the points on one frame; return whether that made an anchor there."""
    assert state.track is not None
    mask, prompt = mask_at(state.track, frame), merge_prompts(prompts)
    is_positive, named = any(p.is_positive for p in prompts), frame_of_video(clip, frame)
    if mask is None and not is_positive:
        state.notes.append(f"the object was not found on frame {named}, so nothing was taken from it there")
        return False
    if mask is None:
        anchor_on_prompts(clip, state, segmenter, frames=[frame])
        return frame in state.prompt_anchors
    if not describe_violations(mask, prompts, named):
        if 0 in prompt.labels:
            state.notes.append(f"frame {named}: the point off the object misses its mask and changed nothing there")
        if is_positive:
            state.prompt_anchors[frame] = mask
            state.evidence = max(state.evidence, 0.5 + 0.5 * state.evidence)
        return is_positive
    if (image := state.read_frame(clip, frame)) is None:
        return False
    if is_positive and _is_other_thing(clip, state, segmenter, image, mask, frame, prompt):
        state.notes.append(
            f"frame {named}: the point is on another thing than the one tracked to there, so the object begins anew"
        )
        anchor_on_prompts(clip, state, segmenter, frames=[frame])
        return frame in state.prompt_anchors
    refinement = refine_mask(segmenter, image, mask, np.asarray(prompt.points, np.float64), prompt.labels, frame=frame)
    refined = refinement.mask
    if not (refined & mask).any():
        state.notes.append(
            f"frame {named}: what the point is on is all of the object's mask, so nothing was taken from it; "
            "draw a box around the object there"
        )
        return False
    violations = describe_violations(refined, prompts, named)
    state.notes += violations
    if not is_positive and np.array_equal(refined, mask):
        return False
    state.prompt_anchors[frame] = refined
    state.refined_frames.add(frame)
    if is_positive and not violations:
        state.evidence = max(state.evidence, 0.5 + 0.5 * refinement.score)  # a person's word counts half by itself
    return True


def _is_other_thing(
    clip: Clip,
    state: ObjectState,
    segmenter: Segmenter,
    image: NDArray[np.uint8],
    mask: Mask,
    frame: int,
    prompt: Prompt,
) -> bool:
    """Return whether a mask shows another thing than the points on the object.

    It does if none of them is in it, and no answer at one of them covers it, unless the thing is near and the mask has
    more of the colours that a person outlined: then it is something that the object carries or wears.
    """
    on = [(float(x), float(y)) for (x, y), label in zip(prompt.points, prompt.labels, strict=True) if label]
    if any(contains(mask, point) for point in on):
        return False
    things = [
        candidate.mask for point in on for candidate in segmenter.segment(image, point_prompt([point]), frame=frame)
    ]
    if not things or any((thing & mask).sum() > _SAME_THING_SHARE * mask.sum() for thing in things):
        return False
    if not state.prompt_anchors or all(distance_in_sizes(mask, point) > _FAR_SIZES for point in on):
        return True
    nearest = min(state.prompt_anchors, key=lambda f: (abs(f - frame), f))
    outlined_image = state.read_frame(clip, nearest)
    outlined = None if outlined_image is None else ColorModel.of(outlined_image, state.prompt_anchors[nearest])
    tracked, pointed = ColorModel.of(image, mask), ColorModel.of(image, things[0])
    if outlined is None or tracked is None or pointed is None:
        return False
    return outlined.similarity(pointed) > outlined.similarity(tracked)


def _follow(state: ObjectState, frame: int, pending: Sequence[int], propagate: PropagateSpan) -> None:
    """Track the object from a new anchor as far as points still wait for it."""
    assert state.track is not None
    anchors = _anchors(state)
    before = max((f for f in anchors if f < frame), default=-1)
    after = min((f for f in anchors if f > frame), default=len(state.track.frames))
    if earlier := [f for f in pending if before < f < frame]:
        _propagate_span(state, (before if before in anchors else earlier[0], frame), propagate)
    if later := [f for f in pending if frame < f < after]:
        _propagate_span(state, (frame, after if after in anchors else later[-1]), propagate)


def _propagate_span(state: ObjectState, span: tuple[int, int], propagate: PropagateSpan) -> None:
    assert state.track is not None
    within = {f: mask for f, mask in _anchors(state).items() if span[0] <= f <= span[1]}
    state.track = replace_spans(state.track, propagate(state, span, within), [span])


def _anchors(state: ObjectState) -> dict[int, Mask]:
    return {**state.word_anchors, **state.prompt_anchors}
