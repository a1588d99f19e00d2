"""Where tracking starts: from what a person drew, or from the frame on which the words are surest."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from refam.pipeline.tracks import mask_at
from refam.pipeline.types import FramePrompt, PipelineError, Target
from video import masks
from video.heatmap_fusion import FusedHeatmaps, certainty
from video.io.probe import ReadingError
from video.masks import Mask
from video.tracking.appearance import ColorModel
from video.types import Candidate, Heatmap, MaskTrack, Prompt, Rle, Segmenter

if TYPE_CHECKING:
    from refam.pipeline.stage_cache import StageCache
    from video.io.reader import Clip

_SAME = 0.5  # IoU of what is followed from a drawing with the words' mask: from it on they mean the same object


@dataclass
class ObjectState:
    """What is known so far of one target. why_not: set when it was given up.

    anchors: masks by frame that its words led to; drawn: those that a person's prompts led to, which win; boxes: as
    they were drawn. memo: where finished stages of this clip are kept. stops: where the clip could not be read. seen:
    what the words led to on all grounded frames, that of the anchor first.
    """

    target: Target
    anchors: dict[int, Mask] = field(default_factory=dict)
    drawn: dict[int, Mask] = field(default_factory=dict)
    boxes: dict[int, masks.Box] = field(default_factory=dict)
    anchor: int = 0
    evidence: float = 0.0
    confidence: float = 0.0
    looks: ColorModel | None = None
    heard: FusedHeatmaps | None = None
    track: MaskTrack | None = None
    notes: list[str] = field(default_factory=list)
    why_not: str | None = None
    memo: StageCache | None = None
    stops: list[ReadingError] = field(default_factory=list)
    seen: tuple[GroundedMask, ...] = ()

    def picture(self, clip: Clip, frame: int) -> NDArray[np.uint8] | None:
        """(H, W, 3) uint8 RGB of a frame; None, which is noted, where it cannot be read."""
        try:
            return clip.frame(frame)
        except ReadingError as error:
            self.stops.append(error)
            return None


def find_anchors(clip: Clip, work: ObjectState, segmenter: Segmenter, *, least_score: float) -> None:
    """Where tracking can start: on the words' surest frame, and on every frame that a person drew on."""
    if work.heard is not None:
        anchor_on_words(clip, work, segmenter, least_score=least_score)
    if any(prompt.places for prompt in work.target.prompts):
        anchor_on_prompts(clip, work, segmenter)
    if work.why_not is not None and work.stops:
        work.why_not = str(work.stops[0])  # nothing is said of what nobody could look at


def anchor_on_prompts(clip: Clip, work: ObjectState, segmenter: Segmenter) -> None:
    """Holds the target to what a person drew: a mask as it is, else on each frame the best outline of the rest."""
    scores = []
    for frame, prompts in _by_frame(work.target.prompts).items():
        if not any(prompt.places for prompt in prompts):
            continue  # what the object is not; see `anchor_on_corrections`
        given = [p.mask for p in prompts if p.mask is not None]
        found = None
        if given:
            found = Candidate(frame, _of_frame_size(given[-1], clip, work, frame), 1.0)
        elif (image := work.picture(clip, frame)) is None:
            continue
        else:
            found = _most_obedient(segmenter.segment(image, _merge(prompts), frame=frame), prompts)
        if found is None:
            work.notes.append(f"no outline was found at the prompt on frame {frame}")
            continue
        work.drawn[frame] = found.mask
        work.notes += _disobeyed(found.mask, prompts, frame)
        boxes = [p.box for p in prompts if p.box is not None]
        if boxes:
            work.boxes[frame] = boxes[-1]
        scores.append(found.score)
    if scores:
        work.why_not = None
        work.anchor = min(work.drawn)
        work.evidence = 0.5 + 0.5 * float(np.mean(scores))  # a person's word counts half by itself
        work.confidence = max((h.confidence for h in work.heard.heatmaps), default=0.0) if work.heard else 0.0
    elif not work.anchors:
        work.why_not = "no outline was found where the point or box is; draw a box around the whole object"


def anchor_on_corrections(clip: Clip, work: ObjectState, segmenter: Segmenter) -> bool:
    """Points that say only what the object is not correct the mask that the track has there. True if any did."""
    corrected = False
    for frame, prompts in _by_frame(work.target.prompts).items():
        if any(prompt.places for prompt in prompts) or work.track is None:
            continue
        mask = mask_at(work.track, frame)
        if mask is None:
            work.notes.append(f"the object is not seen on frame {frame}, so nothing was taken from it there")
            continue
        if _right(mask, prompts) == 1.0 or (image := work.picture(clip, frame)) is None:
            continue
        prompt = replace(_merge(prompts), prior=masks.rim_prior(mask), box=masks.pad_box(_box(mask), 0.1))
        found = _most_obedient(segmenter.segment(image, prompt, frame=frame), prompts)
        if found is None:
            work.notes.append(f"no outline without the points on frame {frame} was found")
            continue
        work.drawn[frame] = found.mask
        work.notes += _disobeyed(found.mask, prompts, frame)
        corrected = True
    return corrected


def words_agree(
    clip: Clip, work: ObjectState, follow: Callable[[ObjectState, tuple[int, int], dict[int, Mask]], MaskTrack]
) -> None:
    """Gives the words' masks up, with a note, unless they are of the object that a person drew.

    They are if what is followed from the nearest drawing comes to them, or looks like them where it is lost on the way.
    """
    for frame, mask in sorted(work.anchors.items()):
        if not work.drawn:
            return
        near = min(work.drawn, key=lambda f: (abs(f - frame), f))
        seen: Mask | None = work.drawn[near]
        if near != frame:
            window = (min(near, frame), max(near, frame))
            seen = mask_at(follow(work, window, {near: work.drawn[near]}), frame)
        if seen is not None:
            same = masks.iou(seen, mask) >= _SAME
        else:
            drawn, meant = ColorModel.of(clip.frame(near), work.drawn[near]), ColorModel.of(clip.frame(frame), mask)
            same = drawn is not None and meant is not None and drawn.similarity(meant) >= LEAST_LIKENESS
        if not same:
            work.anchors, work.seen = {}, ()
            work.notes.append("the words point at something else than what was drawn; the drawing counts")
            return
    work.anchors = {f: m for f, m in work.anchors.items() if f not in work.drawn}


def anchor_on_words(clip: Clip, work: ObjectState, segmenter: Segmenter, *, least_score: float) -> None:
    """Starts from the mask of the grounded frames that ranks first (see `ground_masks`), if it is sure enough."""
    if work.heard is None:
        raise RuntimeError("an anchor on words needs heatmaps")
    seen = ground_masks(clip, work.heard, segmenter, stopped=work.stops, memo=work.memo)
    for i, one in enumerate(seen):
        evidence = _blend(one.heatmap.confidence, one.agreement, one.score)
        if evidence < least_score:
            continue
        work.anchors = {one.frame: one.mask}
        work.anchor, work.evidence, work.confidence = one.frame, evidence, one.heatmap.confidence
        work.looks, work.seen = one.looks, tuple(seen[i:])
        return
    work.why_not = f"nothing in this video stands out for the words {work.target.words!r}"


def support(work: ObjectState, track: MaskTrack) -> tuple[float, list[int], list[str]]:
    """The share of the grounded frames with the object visible on which the words point at it; the others; a note."""
    if work.heard is None or work.target.prompts:
        return 1.0, [], []
    hits: dict[int, bool] = {}
    for heatmap in work.heard.heatmaps:
        mask = mask_at(track, heatmap.frame)
        if mask is None:
            continue
        box = masks.box_of(mask)
        if box is not None:
            x0, y0, x1, y1 = masks.pad_box(box, 0.1)
            hits[heatmap.frame] = x0 <= heatmap.peak[0] <= x1 and y0 <= heatmap.peak[1] <= y1
    if not hits:
        return 0.0, [], []
    misses = [frame for frame, hit in hits.items() if not hit]
    said = [f"in {len(misses)} of {len(hits)} frames looked at, the words point elsewhere"] if misses else []
    return 1 - len(misses) / len(hits), misses, said


def _blend(confidence: float, agreement: float, candidate: float) -> float:
    """In [0, 1]: no single one of the three can carry an answer alone, none can sink it alone either."""
    return float((max(confidence, 0.05) * max(agreement, 0.05) * max(candidate, 0.05)) ** (1 / 3))


def _by_frame(prompts: Sequence[FramePrompt]) -> dict[int, list[FramePrompt]]:
    found: dict[int, list[FramePrompt]] = {}
    for prompt in sorted(prompts, key=lambda p: p.frame):
        found.setdefault(prompt.frame, []).append(prompt)
    return found


def _merge(prompts: Sequence[FramePrompt]) -> Prompt:
    """All points and the last box that were drawn on one frame, as one prompt."""
    points = [point for prompt in prompts for point in prompt.points]
    labels = [label for prompt in prompts for label in prompt.labels]
    boxes = [prompt.box for prompt in prompts if prompt.box is not None]
    return Prompt(
        points=np.array(points, np.float64).reshape(-1, 2),
        labels=np.array(labels, np.int64),
        box=boxes[-1] if boxes else None,
    )


def _of_frame_size(mask: Rle, clip: Clip, work: ObjectState, frame: int) -> Mask:
    if mask.size != clip.size:
        raise PipelineError(
            f"{work.target.label}: the mask on frame {frame} is {mask.size[0]}x{mask.size[1]}; "
            f"the video's frames are {clip.size[0]}x{clip.size[1]}"
        )
    return masks.decode(mask)


def _box(mask: Mask) -> masks.Box:
    return masks.box_of(mask) or (0.0, 0.0, 1.0, 1.0)


def _on(mask: Mask, point: tuple[float, float]) -> bool:
    """Whether the pixel under a normalised (x, y) belongs to a mask."""
    h, w = mask.shape
    return bool(mask[min(int(point[1] * h), h - 1), min(int(point[0] * w), w - 1)])


def _right(mask: Mask, prompts: Sequence[FramePrompt]) -> float:
    """The share of the points that a mask has on the right side; 1 without points."""
    said = [_on(mask, point) == bool(label) for p in prompts for point, label in zip(p.points, p.labels, strict=True)]
    return float(np.mean(said)) if said else 1.0


def _most_obedient(found: Sequence[Candidate], prompts: Sequence[FramePrompt]) -> Candidate | None:
    """The best of the candidates that have the most points on the right side."""
    return max(found, key=lambda c: (_right(c.mask, prompts), c.score), default=None)


def _disobeyed(mask: Mask, prompts: Sequence[FramePrompt], frame: int) -> list[str]:
    """Sentences for people: what was asked of a frame's mask and could not be done."""
    said = []
    for prompt in prompts:
        for (x, y), label in zip(prompt.points, prompt.labels, strict=True):
            if _on(mask, (x, y)) != bool(label):
                wanted, got = ("on", "outside") if label else ("off", "within")
                said.append(
                    f"frame {frame}: the point {x:.3g},{y:.3g} was to be {wanted} the object and is {got} its mask"
                )
    return said


@dataclass(frozen=True, eq=False)
class GroundedMask:
    """The mask that the words lead to on one frame. sure: of the words there; score: the segmenter's."""

    heatmap: Heatmap
    mask: Mask
    looks: ColorModel
    sure: float
    agreement: float
    score: float

    @property
    def frame(self) -> int:
        """Of the clip."""
        return self.heatmap.frame

    @property
    def fill(self) -> float:
        """In [0, 1]: the mean heat under the mask; a mask that runs over a neighbour has little on that part."""
        h, w = self.mask.shape
        heat = cv2.resize(self.heatmap.grid, (w, h), interpolation=cv2.INTER_LINEAR)
        return float(np.clip(heat[self.mask].mean(), 0, 1))

    @functools.cached_property
    def rank(self) -> float:
        """How good a start it is, in [0, 1].

        On 180 objects of drawn clips the first by this had a mean IoU of .941, the surest one .924; .939 and .906 of
        them had .8 or more. How alike a mask is to those of the other frames added nothing.
        """
        return self.sure**3 * self.fill


def likeness(a: ColorModel, b: ColorModel) -> float:
    """In [0, 1]: of two masks' colours, and of their areas."""
    return a.similarity(b) * min(a.area, b.area) / max(a.area, b.area)


def ground_masks(
    clip: Clip,
    heard: FusedHeatmaps,
    segmenter: Segmenter,
    *,
    stopped: list[ReadingError] | None = None,
    memo: StageCache | None = None,
) -> list[GroundedMask]:
    """One for each grounded frame on which a mask is found, the one to start from first.

    memo: where the masks are kept and looked up. Raises ReadingError where a frame cannot be read, unless `stopped`
    takes it; that frame is left out then.
    """
    found = []
    sure = certainty(heard.heatmaps, heard.agreement)
    for i, heatmap in enumerate(heard.heatmaps):
        if heatmap.grid.max() <= 0:
            continue
        key = (segmenter.name, heatmap.frame, hashlib.sha256(heatmap.grid.tobytes()).hexdigest())
        try:
            image = clip.frame(heatmap.frame)
        except ReadingError as error:
            if stopped is None:
                raise
            stopped.append(error)
            continue
        outlined = memo.outline(key) if memo is not None else None
        if outlined is None:
            candidates = segmenter.segment(image, Prompt(prior=heatmap.grid), frame=heatmap.frame)
            best = candidates[0] if candidates else None
            outlined = (masks.encode(best.mask), best.score) if best is not None else (masks.empty(clip.size), 0.0)
            if memo is not None:
                memo.keep_outline(key, *outlined)
        mask, score = masks.decode(outlined[0]), outlined[1]
        looks = ColorModel.of(image, mask)
        if looks is not None:
            found.append(GroundedMask(heatmap, mask, looks, float(sure[i]), float(heard.agreement[i]), score))
    return sorted(found, key=lambda one: -one.rank)


LEAST_LIKENESS = 0.6  # of colours, for an object found again
