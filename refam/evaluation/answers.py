"""One expression of a benchmark, answered and judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from refam.evaluation.questions import Mask, Question, seen_on
from refam.pipeline.pipeline import FramePrompt, Pipeline, PipelineError, Target
from video import masks, metrics
from video.errors import UserError
from video.formats.base import FormatError
from video.io.reader import open_sequence
from video.types import MaskTrack

if TYPE_CHECKING:
    from refam.grounder import Grounder
    from video.io.reader import Clip

Start = Literal["words", "paper", "click"]
"""Where a track starts. words: the whole pipeline, frames that vote. paper: as RefAM does it, at the strongest place
of the first frame's heatmap, as a click. click: without words, a click at the deepest point of the truth, on the first
picture on which it is seen."""


class AskingError(UserError):
    """A question that this start cannot ask; a sentence for people."""


@dataclass(frozen=True)
class AnswerScore:
    """What is kept of an answer; None: not known, as where no truth is published.

    j, f: means over the judged pictures, as DAVIS defines them. hit: whether the strongest place of the first picture's
    heatmap lies on what is meant (a flat one has none); None also where that is not seen there. inter, union: pixels,
    over all judged pictures. switches: how often the track goes from one annotated object to another. score: the
    pipeline's. why: what it said when nothing was found; the answer is empty masks then.
    """

    key: str
    words: str
    seconds: float
    score: float
    frames: int
    j: float | None = None
    f: float | None = None
    hit: bool | None = None
    inter: int | None = None
    union: int | None = None
    switches: int | None = None
    why: str | None = None


@dataclass(frozen=True, eq=False)
class JudgedAnswer:
    """A verdict, and the track it is of (None: nothing was found)."""

    verdict: AnswerScore
    track: MaskTrack | None
    size: tuple[int, int]

    def mask(self, k: int) -> Mask:
        """What was found on picture k."""
        return _mask(self.track, k, self.size)


def answer(question: Question, pipeline: Pipeline, grounder: Callable[[], Grounder], start: Start) -> JudgedAnswer:
    """Finds and judges. Raises AskingError where the start needs words or a truth and there is none, and ClipError."""
    begin = time.perf_counter()
    clip = cast("Clip", open_sequence(question.pictures))  # the same interface
    peak = None if start == "click" else _peak(question, clip, grounder())
    target = _target(question, start, peak)
    track, score, why = None, 0.0, None
    try:
        (result,) = pipeline.run(clip, [target])
        track, score = result.track, result.score
    except PipelineError as error:
        why = str(error)
    seconds = round(time.perf_counter() - begin, 3)
    verdict = AnswerScore(question.key, question.words, seconds, round(score, 4), len(clip), why=why)
    if question.truth is not None:
        verdict = judged(verdict, question, track, clip.size, peak, asked_by_click=start == "click")
    return JudgedAnswer(verdict, track, clip.size)


def _peak(question: Question, clip: Clip, grounder: Grounder) -> tuple[float, float] | None:
    """The strongest place of the first picture's heatmap; None where the words are not understood or it is flat."""
    if not question.words:
        raise AskingError(f"{question.key} has no words: only --start click can ask it")
    from refam.grounder import GroundingError

    try:
        ((heatmap,),) = grounder.ground([clip.frame(0)], [question.words])
    except GroundingError:  # the pipeline says so as well, and there its words are kept
        return None
    return heatmap.peak if heatmap.grid.max() > 0 else None


def _target(question: Question, start: Start, peak: tuple[float, float] | None) -> Target:
    label = question.words or question.key
    if start == "click":
        if question.truth is None:
            raise AskingError(f"{question.key} has no published truth: --start click has nothing to click on")
        frame = next(seen_on(question.truth, range(len(question.pictures))), None)
        if frame is None:
            raise AskingError(f"{question.key} is seen on no picture: there is nothing to click on")
        point = masks.deepest_point(question.truth.mask(frame))
        assert point is not None
        return Target(label, prompts=(FramePrompt(frame, (point,), (1,)),))
    if start == "paper" and peak is not None:
        return Target(label, prompts=(FramePrompt(0, (peak,), (1,)),))
    return Target(label, words=question.words)


def judged(
    verdict: AnswerScore,
    question: Question,
    track: MaskTrack | None,
    size: tuple[int, int],
    peak: tuple[float, float] | None,
    *,
    asked_by_click: bool,
) -> AnswerScore:
    """The verdict with what the truth says of a track. Raises FormatError for annotations of another size."""
    truth = question.truth
    assert truth is not None
    js, fs, rows = [], [], []
    inter = union = 0
    for k in question.judged:
        mask, want, void = _mask(track, k, size), truth.mask(k), truth.void(k)
        if want.shape != mask.shape:
            (h, w), (height, width) = want.shape, mask.shape
            raise FormatError(f"{question.key}: the annotation is {w}x{h}, its picture {width}x{height}")
        js.append(metrics.region_similarity(mask, want, void=void))
        fs.append(metrics.boundary_accuracy(mask, want, void=void))
        seen = np.ones_like(want) if void is None else ~void
        inter += int((mask & want & seen).sum())
        union += int(((mask | want) & seen).sum())
        rows.append(np.array([[masks.iou(mask, other) if other.any() else 0.0 for other in (want, *truth.others(k))]]))
    first = truth.mask(0)
    return replace(
        verdict,
        j=round(float(np.mean(js)), 6),
        f=round(float(np.mean(fs)), 6),
        hit=None if asked_by_click or not first.any() else peak is not None and metrics.point_hit(peak, first),
        inter=inter,
        union=union,
        switches=metrics.identity_switches(rows),
    )


def _mask(track: MaskTrack | None, k: int, size: tuple[int, int]) -> Mask:
    nothing: Mask = np.zeros((size[1], size[0]), np.bool_)
    if track is None:
        return nothing
    row = int(np.searchsorted(track.frames, k))
    known = row < len(track.frames) and track.frames[row] == k and track.visible[row]
    return masks.decode(track.rles[row]) if known else nothing


def estimate(values: Sequence[float | None]) -> metrics.Estimate | None:
    """A mean of what is known, with its 95 % interval."""
    known = [v for v in values if v is not None]
    return metrics.mean(known, within=(0, 1)) if known else None
