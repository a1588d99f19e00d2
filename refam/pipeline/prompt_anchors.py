"""Anchors on prompts: the masks that fit the points, boxes and masks that a person drew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refam.pipeline.click_masks import choose_click_mask
from refam.pipeline.roi import frame_of_video
from refam.pipeline.state import ObjectState
from refam.pipeline.types import FramePrompt, PipelineError
from video import masks
from video.masks import Mask
from video.types import Candidate, Prompt, Rle, Segmenter

if TYPE_CHECKING:
    from video.io.reader import Clip

_LEAST_OF_BOX = 0.02  # a mask with less of the box's area is a speck of it, not the object that the box is around
_SPECK_SCORE = 0.3  # what the scores of such a mask's track are limited to: under it all its frames are to be reviewed
_SAME_OUTLINE_IOU = 0.99  # of the masks with and without points off the object: from it on these changed nothing


def anchor_on_prompts(clip: Clip, state: ObjectState, segmenter: Segmenter, *, frames: Sequence[int]) -> None:
    """Anchor the object on what a person drew: a mask as it is, else the outline that fits the points and the box.

    Args:
        clip: The video.
        state: The object's; gets an anchor on each of the frames where an outline is found.
        segmenter: What outlines the object.
        frames: Frames with prompts that say where the object is.
    """
    scores = []
    by_frame = prompts_by_frame(state.target.prompts)
    for frame in frames:
        prompts = by_frame[frame]
        drawn_masks = [p.mask for p in prompts if p.mask is not None]
        best = None
        if drawn_masks:
            best = Candidate(frame, _decode_drawn_mask(drawn_masks[-1], clip, state, frame), 1.0)
        elif (image := state.read_frame(clip, frame)) is None:
            continue
        else:
            best = _outline(clip, frame, image, prompts, segmenter)
        if best is None:
            state.notes.append(f"no outline was found at the prompt on frame {frame_of_video(clip, frame)}")
            continue
        state.prompt_anchors[frame] = best.mask
        named = frame_of_video(clip, frame)
        state.notes += describe_violations(best.mask, prompts, named)
        state.notes += _describe_idle_points(clip, frame, prompts, best.mask, segmenter, is_drawn=bool(drawn_masks))
        boxes = [p.box for p in prompts if p.box is not None]
        if boxes:
            state.prompt_boxes[frame] = boxes[-1]
        if boxes and not drawn_masks and (share := _share_of_box(best.mask, boxes[-1])) < _LEAST_OF_BOX:
            state.notes.append(
                f"frame {named}: the mask fills only {share:.1%} of the box, so it is hardly the object: draw the box "
                "close around it, or add a point on it"
            )
            state.max_score = _SPECK_SCORE
        scores.append(best.score)
    if scores:
        state.failure = None
        state.anchor_frame = min(state.prompt_anchors)
        state.evidence = 0.5 + 0.5 * float(np.mean(scores))  # a person's word counts half by itself
        confidences = [h.confidence for h in state.consensus.heatmaps] if state.consensus else []
        state.confidence = max(confidences, default=0.0)
    elif not state.word_anchors and not state.prompt_anchors:
        state.failure = "no outline was found where the point or box is; draw a box around the whole object"


def prompts_by_frame(prompts: Sequence[FramePrompt]) -> dict[int, list[FramePrompt]]:
    """Return the prompts of each frame that has any, in order of the frames."""
    by_frame: dict[int, list[FramePrompt]] = {}
    for prompt in sorted(prompts, key=lambda p: p.frame):
        by_frame.setdefault(prompt.frame, []).append(prompt)
    return by_frame


def merge_prompts(prompts: Sequence[FramePrompt]) -> Prompt:
    """Return all points and the last box that were drawn on one frame as one prompt."""
    points = [point for prompt in prompts for point in prompt.points]
    labels = [label for prompt in prompts for label in prompt.labels]
    boxes = [prompt.box for prompt in prompts if prompt.box is not None]
    return Prompt(
        points=np.array(points, np.float64).reshape(-1, 2),
        labels=np.array(labels, np.int64),
        box=boxes[-1] if boxes else None,
    )


def describe_violations(mask: Mask, prompts: Sequence[FramePrompt], frame: int) -> list[str]:
    """Return a sentence for people on each point that lies on the wrong side of the mask's outline.

    frame: The frame of the video that they name.
    """
    sentences = []
    for prompt in prompts:
        for (x, y), label in zip(prompt.points, prompt.labels, strict=True):
            if masks.contains(mask, (x, y)) != bool(label):
                wanted, got = ("on", "outside") if label else ("off", "within")
                sentences.append(
                    f"frame {frame}: the point {x:.3g},{y:.3g} was to be {wanted} the object and is {got} its mask"
                )
    return sentences


def _decode_drawn_mask(mask: Rle, clip: Clip, state: ObjectState, frame: int) -> Mask:
    """Decode a mask that must have the frame's size; raises PipelineError for another size."""
    if mask.size != clip.size:
        raise PipelineError(
            f"{state.target.label}: the mask on frame {frame_of_video(clip, frame)} is {mask.size[0]}x{mask.size[1]}; "
            f"the video's frames are {clip.size[0]}x{clip.size[1]}"
        )
    return masks.decode(mask)


def _outline(
    clip: Clip, frame: int, image: NDArray[np.uint8], prompts: Sequence[FramePrompt], segmenter: Segmenter
) -> Candidate | None:
    """Return the outline that fits the points and the box that were drawn on a frame best."""
    merged = merge_prompts(prompts)
    if len(merged.points) == 1 and merged.box is None:
        return choose_click_mask(clip, frame, image, (merged.points[0, 0], merged.points[0, 1]), segmenter)
    return _best_candidate(segmenter.segment(image, merged, frame=frame), prompts)


def _best_candidate(candidates: Sequence[Candidate], prompts: Sequence[FramePrompt]) -> Candidate | None:
    """Return the candidate with most points on the right side; of several the one with the highest score."""
    outlined = (c for c in candidates if c.mask.any())
    return max(outlined, key=lambda c: (_point_accuracy(c.mask, prompts), c.score), default=None)


def _point_accuracy(mask: Mask, prompts: Sequence[FramePrompt]) -> float:
    """Return the share of the points that lie on the right side of a mask's outline; 1 without points."""
    points = [point for p in prompts for point in p.points]
    return masks.point_accuracy(mask, points, [label for p in prompts for label in p.labels])


def _describe_idle_points(
    clip: Clip, frame: int, prompts: Sequence[FramePrompt], mask: Mask, segmenter: Segmenter, *, is_drawn: bool
) -> list[str]:
    """Return a sentence if points off the object changed nothing of the outline on a frame, or of a drawn mask.

    Whoever draws such a point wants to take something away. The points within the mask are named elsewhere
    (`describe_violations`).
    """
    off = [point for p in prompts for point, label in zip(p.points, p.labels, strict=True) if not label]
    if not off or any(masks.contains(mask, point) for point in off):
        return []
    if not is_drawn:
        without = [positive for prompt in prompts if (positive := _without_negative_points(prompt)) is not None]
        other = _outline(clip, frame, clip.frame(frame), without, segmenter)
        if other is None or masks.iou(other.mask, mask) < _SAME_OUTLINE_IOU:
            return []
    points = "the point off the object changes" if len(off) == 1 else "the points off the object change"
    return [f"frame {frame_of_video(clip, frame)}: {points} nothing: the mask does not reach there without it"]


def _without_negative_points(prompt: FramePrompt) -> FramePrompt | None:
    on = tuple(point for point, label in zip(prompt.points, prompt.labels, strict=True) if label)
    if not on and prompt.box is None and prompt.mask is None:
        return None
    return replace(prompt, points=on, labels=(1,) * len(on))


def _share_of_box(mask: Mask, box: tuple[float, float, float, float]) -> float:
    """Return the area of a mask as a share of a box's."""
    return float(mask.mean()) / max((box[2] - box[0]) * (box[3] - box[1]), 1e-9)
