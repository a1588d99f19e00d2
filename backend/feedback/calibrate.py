"""Choosing the method's own settings by what people corrected. No weights are trained.

Three things are chosen one after the other, each by cross-validation over videos
(`backend.feedback.cross_validation`), so that none
gets worse on videos that it was not chosen by: how the words are read (blocks, noise level, magnets), how closely
keyframes keep the track, and what the score means.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from backend.feedback.annotator import mend, verdict
from backend.feedback.calibrated import CalibratedSettings
from backend.feedback.cross_validation import CrossValidated, choose, folds_of
from backend.feedback.examples import Example
from backend.feedback.project import FeedbackError
from backend.labelstudio.controls.base import KEYFRAME_IOU
from backend.labelstudio.controls.video_rectangle import box_sequence
from backend.labelstudio.timeline import clip_frame_of_editor
from refam.attention import attention_modules
from refam.grounder import Grounder
from refam.pipeline.confidence import ScoreModel, feature_vector, fit_score_model
from refam.pipeline.pipeline import Pipeline, PipelineError
from refam.pipeline.stages import Stage
from refam.pipeline.types import Target, TrackResult
from refam.text.expression import ExpressionError
from video.metrics import Estimate, mean
from video.sampling import plan_frames

if TYPE_CHECKING:
    from video.io.reader import Clip

LEAST = 8  # objects; fewer say nothing about settings
FRAMES = 4  # looked at for each object
TOLERANCES = (0.8, 0.85, KEYFRAME_IOU, 0.95)
_MOST_STROKES = 60
Opened = Callable[[Example], "Clip"]
Progress = Callable[[str, float], None]
_T = TypeVar("_T")


@dataclass(frozen=True)
class ReadingSettings:
    """How words are read: blocks (None: all), noise level, and whether magnets are appended."""

    blocks: tuple[int, ...] | None
    noise: float
    magnets: bool

    def __str__(self) -> str:
        blocks = "all blocks" if self.blocks is None else f"blocks {self.blocks[0]}-{self.blocks[-1]}"
        return f"{blocks}, noise {self.noise}, {'magnets' if self.magnets else 'no magnets'}"


@dataclass(frozen=True)
class CalibrationReport:
    """What was chosen. need: None where the score cannot be fitted or did not gain; why: in words.

    readings, tolerances: what was tried, what was in use first.
    """

    readings: tuple[ReadingSettings, ...]
    reading: CrossValidated
    tolerances: tuple[float, ...]
    tolerance: CrossValidated
    need: ScoreModel | None
    why: str
    objects: int

    @property
    def changed(self) -> bool:
        """Whether anything is other than it was."""
        return bool(self.reading.index or self.tolerance.index or self.need)

    def tuned(self, backbone: str, *, project: int, magnets: str) -> CalibratedSettings:
        """What to keep. backbone: its name and weights. magnets: the words that are appended where magnets are."""
        read = self.readings[self.reading.index]
        return CalibratedSettings(
            backbone=backbone,
            blocks=read.blocks,
            noise=read.noise,
            magnets=magnets if read.magnets else "",
            keyframe_iou=self.tolerances[self.tolerance.index],
            project=project,
            objects=self.objects,
            score="" if self.need is None else hashlib.sha256(repr(self.need).encode()).hexdigest()[:8],
        )


def readings_of(grounder: Grounder) -> tuple[ReadingSettings, ...]:
    """What is tried, what is in use first: a third, two thirds and all of the depth; the noise level and around it."""
    preset = grounder.backbone.preset
    n = len(attention_modules(grounder.backbone.pipeline.transformer))
    third = max(1, round(n / 3))
    parts = [range(n), range(third), range(third, n - third), range(n - third, n), range(third, n), range(n - third)]
    blocks = [preset.blocks, *(tuple(p) for p in parts if len(p))]
    levels = [preset.noise, *(round(preset.noise + d, 2) for d in (-0.2, 0.2) if 0.05 <= preset.noise + d <= 0.95)]
    used = grounder.options.magnets
    found = [ReadingSettings(b, s, m) for m, s, b in itertools.product((used, not used), levels, blocks)]
    return tuple(dict.fromkeys(found))


def calibrate_settings(
    grounder: Grounder,
    pipeline: Pipeline,
    known: Sequence[Example],
    opened: Opened,
    *,
    readings: Sequence[ReadingSettings] = (),
    keyframe_iou: float = KEYFRAME_IOU,
    progress: Progress = lambda stage, share: None,
) -> CalibrationReport:
    """Chooses by these examples. The grounder is left reading as was chosen. Raises FeedbackError for too few examples.

    pipeline: one that uses this very grounder. opened: an example's video; raises what opening raises. readings: to
    try, what is in use first; `readings_of` without any. keyframe_iou: the tolerance in use.
    """
    tolerances = tuple(dict.fromkeys((keyframe_iou, *TOLERANCES)))
    if len(known) < LEAST:
        raise FeedbackError(f"{len(known)} corrected object(s) with words are known; at least {LEAST} are needed")
    videos = [e.video for e in known]
    if len(set(videos)) < 2:
        raise FeedbackError("all corrections are of one video; what is chosen by one must be judged by another")
    readings = tuple(readings) or readings_of(grounder)
    worth = np.stack([_read_all(grounder, e, opened(e), readings) for e in _told(known, "read", progress)], axis=1)
    reading = choose(worth, videos)
    _use(grounder, readings[reading.index])
    results = [(e, _followed(pipeline, e, opened(e))) for e in _told(known, Stage.TRACK, progress)]
    answered = [(e, r) for e, r in results if r is not None]
    if len({e.video for e, _ in answered}) < 2:
        unchanged = CrossValidated(0, 0, Estimate(0.0, 0.0, 0.0, 0))
        why = "the score and the keyframes stay: with these words next to nothing is found"
        return CalibrationReport(readings, reading, tolerances, unchanged, None, why, len(known))
    strokes = np.array([_strokes(e, r, opened(e), tolerances) for e, r in _told(answered, Stage.KEYFRAMES, progress)]).T
    tolerance = choose(-strokes, [e.video for e, _ in answered])
    need, why = _need(answered, opened, pipeline, keyframe_iou=tolerances[tolerance.index])
    return CalibrationReport(readings, reading, tolerances, tolerance, need, why, len(known))


def _use(grounder: Grounder, reading: ReadingSettings) -> None:
    grounder.backbone.preset = replace(grounder.backbone.preset, blocks=reading.blocks, noise=reading.noise)
    grounder.options = replace(grounder.options, magnets=reading.magnets)


def _read_all(
    grounder: Grounder, example: Example, clip: Clip, readings: Sequence[ReadingSettings]
) -> NDArray[np.float64]:
    """(readings,): how well each points at the object, the mean over frames that show it.

    Nine tenths for the peak lying in the corrected box, one for the share of the map's mass that does: so that readings
    which point at the same places are told apart by how surely.
    """
    truth = example.truth(clip.duration_s)
    shown = clip_frame_of_editor(clip.times, len(truth.visible), example.fps)
    box_of = {int(frame): truth.boxes[row] for row, frame in enumerate(shown) if truth.visible[row]}
    frames = [int(f) for f in plan_frames(clip, count=2 * FRAMES) if int(f) in box_of][::2][:FRAMES]
    if not frames:
        return np.zeros(len(readings))
    images = [image for _, some in clip.batches(frames) for image in some]
    preset, options = grounder.backbone.preset, grounder.options
    found = []
    try:
        for reading in readings:
            _use(grounder, reading)
            found.append(_points(grounder, images, frames, example.words, [box_of[f] for f in frames]))
    finally:
        grounder.backbone.preset, grounder.options = preset, options
    return np.array(found)


def _points(
    grounder: Grounder, images: list[NDArray[np.uint8]], frames: list[int], words: str, boxes: list[NDArray[np.float64]]
) -> float:
    try:
        (heatmaps,) = grounder.ground(images, [words], indices=frames)
    except ExpressionError:
        return 0.0
    worth = []
    for heatmap, (x0, y0, x1, y1) in zip(heatmaps, boxes, strict=True):
        h, w = heatmap.grid.shape
        top, left = int(y0 * h), int(x0 * w)
        inside = heatmap.grid[top : max(top + 1, round(y1 * h)), left : max(left + 1, round(x1 * w))]
        mass = float(inside.sum()) / max(1e-9, float(heatmap.grid.sum()))
        hit = heatmap.grid.max() > 0 and x0 <= heatmap.peak[0] <= x1 and y0 <= heatmap.peak[1] <= y1
        worth.append(0.9 * hit + 0.1 * mass)
    return float(np.mean(worth))


def _followed(pipeline: Pipeline, example: Example, clip: Clip) -> TrackResult | None:
    try:
        (result,) = pipeline.run(clip, [Target(example.label or example.words, example.words)])
    except PipelineError:
        return None
    return result if result.track.visible.any() else None


def _strokes(example: Example, result: TrackResult, clip: Clip, tolerances: Sequence[float]) -> list[float]:
    """What mending the answer would cost, for each tolerance of the keyframes."""
    truth, found = example.truth(clip.duration_s), []
    for tolerance in tolerances:
        keyframes = box_sequence(result.track, clip, fps=example.fps, keyframe_iou=tolerance)
        sequence = [dict(keyframe) for keyframe in keyframes]
        found.append(float(mend(sequence, truth, rerun=None, most=_MOST_STROKES).strokes))
    return found


def _need(
    answered: Sequence[tuple[Example, TrackResult]], opened: Opened, pipeline: Pipeline, *, keyframe_iou: float
) -> tuple[ScoreModel | None, str]:
    """The score fitted to these, if it foretells held-out ones better than the score in use does (log likelihood)."""
    signs, right, said = [], [], []
    for example, result in answered:
        clip = opened(example)
        wrong, _ = verdict(
            box_sequence(result.track, clip, fps=example.fps, keyframe_iou=keyframe_iou), example.truth(clip.duration_s)
        )
        signs.append(feature_vector(result.features))
        right.append(not wrong.any())
        said.append(result.score)
    rows, good, in_use = np.stack(signs), np.array(right), np.array(said)
    fold = folds_of([e.video for e, _ in answered])
    foretold = np.zeros(len(good))
    try:
        for k in range(int(fold.max()) + 1):
            part = fit_score_model(rows[fold != k], good[fold != k], made_with=pipeline.made_with, source="folds")
            foretold[fold == k] = [
                part(result.features) for (_, result), f in zip(answered, fold, strict=True) if f == k
            ]
        need = fit_score_model(rows, good, made_with=pipeline.made_with, source="corrections")
    except ValueError:
        return None, "the score stays: all answers are right, or all are wrong, in some part of the corrections"
    gain = mean(_likelihood(foretold, good) - _likelihood(in_use, good))
    if gain.value > 0 and gain.low >= 0:
        return need, "the score is fitted to the corrections"
    return None, "the score stays: a fit to the corrections does not foretell held-out ones better"


def _likelihood(said: NDArray[np.float64], good: NDArray[np.bool_]) -> NDArray[np.float64]:
    p = np.clip(said, 0.01, 0.99)
    return np.where(good, np.log(p), np.log(1 - p))


def _told(items: Sequence[_T], stage: str, progress: Progress) -> Iterator[_T]:
    for i, item in enumerate(items):
        yield item
        progress(stage, (i + 1) / len(items))
