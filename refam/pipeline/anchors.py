"""Anchors: the frames and masks from which tracking starts.

An anchor comes from a person's prompts, or from the grounded frame whose mask fits the words best. A mask on one frame
may hold a neighbour too, where the two touch; so masks are ranked by how certain the words are on their frame and by
how much heat lies under them.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refam.heatmap_regions import find_instance_regions
from refam.pipeline.click_masks import choose_click_mask
from refam.pipeline.roi import frame_of_video
from refam.pipeline.state import GroundedMask, ObjectState
from refam.pipeline.tracks import mask_at
from refam.pipeline.types import FramePrompt, PipelineError, PipelineOptions
from video import masks
from video.heatmap_fusion import FusedHeatmaps, anchor_scores
from video.io.probe import ReadingError
from video.masks import Mask
from video.tracking.appearance import ColorModel
from video.types import Candidate, Heatmap, MaskTrack, Prompt, Rle, Segmenter

if TYPE_CHECKING:
    from refam.pipeline.stage_cache import StageCache
    from video.io.reader import Clip

MIN_COLOR_SIMILARITY = 0.6  # from it on two masks may show the same object
_LEAST_OF_BOX = 0.02  # a mask with less of the box's area is a speck of it, not the object that the box is around
_SPECK_SCORE = 0.3  # what the scores of such a mask's track are limited to: under it all its frames are to be reviewed
_SAME_OUTLINE_IOU = 0.99  # of the masks with and without points off the object: from it on these changed nothing
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


def drop_conflicting_words(
    clip: Clip, state: ObjectState, track: Callable[[ObjectState, tuple[int, int], Mapping[int, Mask]], MaskTrack]
) -> None:
    """Drop the words' anchors, with a note, unless they show the object that a person drew.

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
            if not state.quantity.is_plural:  # words that mean several may point at another one
                state.notes.append("the words point at something else than what was drawn; the drawing counts")
            return
    state.word_anchors = {f: m for f, m in state.word_anchors.items() if f not in state.prompt_anchors}


def anchor_on_words(
    clip: Clip,
    state: ObjectState,
    segmenter: Segmenter,
    *,
    options: PipelineOptions,
    progress: Callable[[float], object] | None = None,
) -> None:
    """Anchor the object on the grounded mask that ranks first among those with enough evidence.

    There is none where the video does not bear out the words. The arguments are those of `find_anchors`.
    """
    if state.consensus is None:
        raise RuntimeError("an anchor on words needs heatmaps")
    if not is_in_clip(clip, state, options=options):
        return
    ranked = ground_masks(
        clip, state.consensus, segmenter, read_errors=state.read_errors, cache=state.cache, progress=progress
    )
    for i, grounded in enumerate(ranked):
        evidence = combine_evidence(grounded.heatmap.confidence, grounded.agreement, grounded.score)
        if evidence < options.min_evidence:
            continue
        state.word_anchors = {grounded.frame: grounded.mask}
        state.anchor_frame, state.evidence = grounded.frame, evidence
        state.confidence, state.appearance = grounded.heatmap.confidence, grounded.appearance
        state.grounded_masks = tuple(ranked[i:])
        count = masks.similar_parts(grounded.mask)
        if count > 1 and not state.target.prompts:  # which say already what is meant
            state.notes.append(
                f"the mask of frame {frame_of_video(clip, grounded.frame)} is in {count} pieces: if they are parts of "
                "one thing, a point on it outlines all of it"
            )
        return
    state.failure = f"nothing in this video stands out for the words {state.target.words!r}"


def is_in_clip(clip: Clip, state: ObjectState, *, options: PipelineOptions) -> bool:
    """Return whether the video bears out the words at all; otherwise the state gets a failure that says so.

    Args:
        clip: The video.
        state: The object's, with its heatmaps; gets the probability, where that is known.
        options: Say how likely the object must be.
    """
    judged = presence_in_clip(state.consensus.heatmaps) if state.consensus is not None else None
    if judged is None:
        return True
    state.presence, guess = judged
    if state.presence < options.min_presence:
        state.failure = describe_absence(clip, state.target.words or "", state.presence, guess)
    return state.failure is None


def presence_in_clip(heatmaps: Sequence[Heatmap]) -> tuple[float, Heatmap] | None:
    """Return how likely a clip shows what was asked for, and the heatmap of the frame that most likely does.

    The probability is the mean of the half of the frames that most likely show it: in the others it may be hidden. (On
    15 drawn clips of seed 7 the AUROC by colours and shapes is then .992, with the maximum .992, with the mean .994; of
    objects that are there none is below .2, of those that are not 91 %, by the maximum 87 %.)

    Returns:
        None where nothing is known of the frames.
    """
    known = [(h.presence.probability, h) for h in heatmaps if h.presence is not None]
    if not known:
        return None
    likeliest = sorted(known, key=lambda pair: -pair[0])[: (len(known) + 1) // 2]
    return float(np.mean([probability for probability, _ in likeliest])), likeliest[0][1]


def describe_absence(clip: Clip, words: str, probability: float, guess: Heatmap) -> str:
    """Say that the words are not borne out, which of them least, and where the nearest guess is.

    Args:
        clip: The video.
        words: What was asked for.
        probability: That the video shows it.
        guess: The heatmap of the frame that most likely shows it.
    """
    x, y = guess.peak
    doubt = f"{guess.presence.weakest!r} fits least; " if guess.presence and len(words.split()) > 1 else ""
    return (
        f"nothing in this video is {words!r}: {doubt}the nearest guess is {x:.0%} from the left and {y:.0%} from the "
        f"top of frame {frame_of_video(clip, guess.frame)} (score {probability:.2f})"
    )


def ground_masks(
    clip: Clip,
    consensus: FusedHeatmaps,
    segmenter: Segmenter,
    *,
    read_errors: list[ReadingError] | None = None,
    cache: StageCache | None = None,
    progress: Callable[[float], object] | None = None,
) -> list[GroundedMask]:
    """Segment each grounded frame with its heatmap as the prompt.

    Args:
        clip: The video.
        consensus: The heatmaps of the grounded frames.
        segmenter: What turns a heatmap into a mask.
        read_errors: Collects the errors of frames that cannot be read; those frames are left out.
        cache: Where the masks are stored and looked up.
        progress: Is called with the share of the frames that are done, in [0, 1].

    Returns:
        One mask for each frame on which one is found, the best anchor first.

    Raises:
        ReadingError: Without `read_errors`, for a frame that cannot be read.
    """
    grounded = []
    certainties = anchor_scores(consensus.heatmaps, consensus.agreement)
    for i, heatmap in enumerate(consensus.heatmaps):
        if progress is not None:
            progress(i / len(consensus.heatmaps))
        if heatmap.grid.max() <= 0:
            continue
        try:
            image = clip.frame(heatmap.frame)
        except ReadingError as error:
            if read_errors is None:
                raise
            read_errors.append(error)
            continue
        outline, score = outline_heatmap(image, heatmap, segmenter, cache=cache)
        mask = masks.decode(outline)
        appearance = ColorModel.of(image, mask)
        if appearance is not None:
            grounded.append(
                GroundedMask(heatmap, mask, appearance, float(certainties[i]), float(consensus.agreement[i]), score)
            )
    return sorted(grounded, key=lambda g: -g.quality)


def outline_heatmap(
    image: NDArray[np.uint8], heatmap: Heatmap, segmenter: Segmenter, *, cache: StageCache | None = None
) -> tuple[Rle, float]:
    """Return the mask that a heatmap leads to, empty if it leads to none, and the segmenter's score of it in [0, 1].

    Args:
        image: (H, W, 3) uint8 RGB.
        heatmap: Where the words point in it.
        segmenter: What turns a heatmap into a mask.
        cache: Where the mask is stored and looked up.
    """
    content = hashlib.sha256(heatmap.grid.tobytes()).hexdigest()
    key = (segmenter.name, heatmap.frame, content, *astuple(heatmap.mask_choice))
    outline = cache.load_mask(key) if cache is not None else None
    if outline is None:
        candidates = segmenter.segment(image, heatmap.to_prompt(), frame=heatmap.frame)
        size = (image.shape[1], image.shape[0])
        outline = (masks.encode(candidates[0].mask), candidates[0].score) if candidates else (masks.empty(size), 0.0)
        if cache is not None:
            cache.save_mask(key, *outline)
    return outline


def measure_word_support(state: ObjectState, track: MaskTrack) -> tuple[float, list[int], list[str]]:
    """Return how far the words support a track.

    Returns:
        The share of the grounded frames with the object visible on which the words point at it, in [0, 1]; the frames
        on which they point elsewhere; sentences for people about these. (1, [], []) if a person drew the object.
    """
    if state.consensus is None or state.target.prompts:
        return 1.0, [], []
    points_at_it: dict[int, bool] = {}
    for heatmap in state.consensus.heatmaps:
        mask = mask_at(track, heatmap.frame)
        if mask is None:
            continue
        box = masks.box_of(mask)
        if box is not None:
            x0, y0, x1, y1 = masks.pad_box(box, 0.1)
            # of several objects the highest mode is on one
            points = _instance_peaks(heatmap) if state.quantity.is_plural else (heatmap.peak,)
            points_at_it[heatmap.frame] = any(x0 <= x <= x1 and y0 <= y <= y1 for x, y in points)
    if not points_at_it:
        return 0.0, [], []
    misses = [frame for frame, hit in points_at_it.items() if not hit]
    notes = [f"in {len(misses)} of {len(points_at_it)} frames looked at, the words point elsewhere"] if misses else []
    return 1 - len(misses) / len(points_at_it), misses, notes


@functools.lru_cache(maxsize=64)  # the objects of one expression share its heatmaps, and a search takes .07 s
def _instance_peaks(heatmap: Heatmap) -> tuple[tuple[float, float], ...]:
    """Return the normalised (x, y) of each mode."""
    return tuple(mode.peak_at(heatmap.grid) for mode in find_instance_regions(heatmap.grid))


def combine_evidence(confidence: float, agreement: float, score: float) -> float:
    """Return the geometric mean, each taken for .05 at least: none alone can carry an answer or sink it."""
    return float((max(confidence, 0.05) * max(agreement, 0.05) * max(score, 0.05)) ** (1 / 3))


def _is_outlined(prompt: FramePrompt) -> bool:
    """Return whether a prompt says where the object ends: by a box or a mask."""
    return prompt.box is not None or prompt.mask is not None


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


def _decode_drawn_mask(mask: Rle, clip: Clip, state: ObjectState, frame: int) -> Mask:
    """Decode a mask that must have the frame's size; raises PipelineError for another size."""
    if mask.size != clip.size:
        raise PipelineError(
            f"{state.target.label}: the mask on frame {frame_of_video(clip, frame)} is {mask.size[0]}x{mask.size[1]}; "
            f"the video's frames are {clip.size[0]}x{clip.size[1]}"
        )
    return masks.decode(mask)


def _point_accuracy(mask: Mask, prompts: Sequence[FramePrompt]) -> float:
    """Return the share of the points that lie on the right side of a mask's outline; 1 without points."""
    points = [point for p in prompts for point in p.points]
    return masks.point_accuracy(mask, points, [label for p in prompts for label in p.labels])


def _outline(
    clip: Clip, frame: int, image: NDArray[np.uint8], prompts: Sequence[FramePrompt], segmenter: Segmenter
) -> Candidate | None:
    """Return the outline that fits the points and the box that were drawn on a frame best."""
    merged = merge_prompts(prompts)
    if len(merged.points) == 1 and merged.box is None:
        return choose_click_mask(clip, frame, image, (merged.points[0, 0], merged.points[0, 1]), segmenter)
    return _best_candidate(segmenter.segment(image, merged, frame=frame), prompts)


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


def _best_candidate(candidates: Sequence[Candidate], prompts: Sequence[FramePrompt]) -> Candidate | None:
    """Return the candidate with most points on the right side; of several the one with the highest score."""
    outlined = (c for c in candidates if c.mask.any())
    return max(outlined, key=lambda c: (_point_accuracy(c.mask, prompts), c.score), default=None)


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
