"""Where tracking starts: from what a person drew, or from the frame on which the words are surest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from backend.lost import mask_at
from backend.targets import FramePrompt, Target
from video import masks
from video.consensus import Consensus, certainty
from video.looks import Looks
from video.masks import Mask
from video.types import MaskTrack, Prompt, Segmenter

if TYPE_CHECKING:
    from backend.jobs.memo import Memo
    from video.clip import Clip


@dataclass
class Work:
    """What is known so far of one target. anchors: masks to hold to. why_not: set when it was given up.

    memo: where finished stages of this clip are kept.
    """

    target: Target
    anchors: dict[int, Mask] = field(default_factory=dict)
    anchor: int = 0
    evidence: float = 0.0
    confidence: float = 0.0
    looks: Looks | None = None
    heard: Consensus | None = None
    track: MaskTrack | None = None
    notes: list[str] = field(default_factory=list)
    why_not: str | None = None
    memo: Memo | None = None


def anchor_on_prompts(clip: Clip, work: Work, segmenter: Segmenter) -> None:
    """Holds the target to what a person drew: on each of those frames the best outline of it."""
    scores = []
    for frame, prompts in _by_frame(work.target.prompts).items():
        image = clip.frame(frame)
        found = segmenter.segment(image, _merge(prompts), frame=frame)
        if not found:
            work.notes.append(f"no outline was found at the prompt on frame {frame}")
            continue
        work.anchors[frame] = found[0].mask
        scores.append(found[0].score)
        if work.looks is None:
            work.anchor, work.looks = frame, Looks.of(image, found[0].mask)
    if not scores:
        work.why_not = "no outline was found where the point or box is; draw a box around the whole object"
        return
    work.evidence = 0.5 + 0.5 * float(np.mean(scores))  # a person's word counts half by itself
    work.confidence = max((h.confidence for h in work.heard.heatmaps), default=0.0) if work.heard else 0.0


def anchor_on_words(clip: Clip, work: Work, segmenter: Segmenter, *, least_score: float) -> None:
    """Tries the grounded frames from the surest on, three at most, until one gives a mask that is sure enough."""
    if work.heard is None:
        raise RuntimeError("an anchor on words needs heatmaps")
    sure = certainty(work.heard.heatmaps, work.heard.agreement)
    for i in np.argsort(-sure, kind="stable")[:3].tolist():
        heatmap = work.heard.heatmaps[i]
        if heatmap.grid.max() <= 0:
            continue
        image = clip.frame(heatmap.frame)
        found = segmenter.segment(image, Prompt(prior=heatmap.grid), frame=heatmap.frame)
        if not found:
            continue
        evidence = _blend(heatmap.confidence, float(work.heard.agreement[i]), found[0].score)
        if evidence < least_score:
            continue
        work.anchors = {heatmap.frame: found[0].mask}
        work.anchor, work.evidence, work.confidence = heatmap.frame, evidence, heatmap.confidence
        work.looks = Looks.of(image, found[0].mask)
        return
    work.why_not = f"nothing in this video stands out for the words {work.target.words!r}"


def support(work: Work, track: MaskTrack) -> tuple[float, list[str]]:
    """The share of the grounded frames with the object visible on which the words point at it; a note if not all."""
    if work.heard is None or work.target.prompts:
        return 1.0, []
    hits = []
    for heatmap in work.heard.heatmaps:
        mask = mask_at(track, heatmap.frame)
        if mask is None:
            continue
        box = masks.box_of(mask)
        if box is not None:
            x0, y0, x1, y1 = masks.pad_box(box, 0.1)
            hits.append(x0 <= heatmap.peak[0] <= x1 and y0 <= heatmap.peak[1] <= y1)
    if not hits:
        return 0.0, []
    misses = len(hits) - sum(hits)
    said = [f"in {misses} of {len(hits)} frames looked at, the words point elsewhere"] if misses else []
    return float(np.mean(hits)), said


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
