"""Choose the method's own settings by a project's corrections. No weights are trained.

Three settings are chosen one after the other, each by cross-validation over videos, so that videos that a setting was
not chosen by do not get worse: how words are read (blocks, noise level, magnets), how closely keyframes follow the
track, and the score model.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from backend.feedback.annotator import correct_sequence, find_wrong_frames
from backend.feedback.calibrated_settings import CalibratedSettings
from backend.feedback.cross_validation import CrossValidated, assign_folds, choose_setting
from backend.feedback.project import CorrectedObject, FeedbackError
from backend.labelstudio.controls.video_rectangle import box_sequence
from backend.labelstudio.timeline import clip_frame_of_editor, track_on_timeline
from refam.attention_layouts import attention_modules
from refam.grounder import Grounder
from refam.pipeline.confidence import ScoreModel, feature_vector, fit_score_model
from refam.pipeline.pipeline import Pipeline, PipelineError
from refam.pipeline.stages import Stage
from refam.pipeline.types import Target, TrackResult
from refam.text.expression import ExpressionError
from video.keyframes import KEYFRAME_IOU
from video.masks import box_iou
from video.metrics import Estimate, estimate_mean
from video.sampling import plan_frames

if TYPE_CHECKING:
    from video.io.reader import Clip

MIN_OBJECTS = 8  # fewer are no evidence for a setting
FRAMES_PER_OBJECT = 4  # grounded for each reading
TOLERANCES = (0.8, 0.85, KEYFRAME_IOU, 0.95)
_MAX_STROKES = 60
OpenClip = Callable[[CorrectedObject], "Clip"]
Progress = Callable[[str, float], None]
_T = TypeVar("_T")


@dataclass(frozen=True)
class ReadingSettings:
    """How words are read.

    Attributes:
        blocks: The transformer blocks whose attention is read; None for all.
        noise: The noise level.
        magnets: Whether magnet words are appended.
    """

    blocks: tuple[int, ...] | None
    noise: float
    magnets: bool

    def __str__(self) -> str:
        blocks = "all blocks" if self.blocks is None else f"blocks {self.blocks[0]}-{self.blocks[-1]}"
        return f"{blocks}, noise {self.noise}, {'magnets' if self.magnets else 'no magnets'}"


@dataclass(frozen=True)
class CalibrationReport:
    """What was chosen.

    Attributes:
        readings: The readings that were compared; the first is the current one.
        reading: Which of them was chosen.
        tolerances: The keyframe tolerances (IoU) that were compared; the first is the current one.
        tolerance: Which of them was chosen.
        score_model: The fitted score model; None if it cannot be fitted or did not gain.
        score_outcome: A sentence that says what became of the score, and why.
        objects: Number of corrected objects.
    """

    readings: tuple[ReadingSettings, ...]
    reading: CrossValidated
    tolerances: tuple[float, ...]
    tolerance: CrossValidated
    score_model: ScoreModel | None
    score_outcome: str
    objects: int

    @property
    def changed(self) -> bool:
        """Whether any setting differs from the current one."""
        return bool(self.reading.index or self.tolerance.index or self.score_model)

    def to_settings(self, backbone: str, *, project: int, magnets: str) -> CalibratedSettings:
        """Return the settings to save.

        Args:
            backbone: Name and weights of the backbone.
            project: The project whose corrections were used.
            magnets: The magnet words, for a reading that appends them.
        """
        reading = self.readings[self.reading.index]
        model = self.score_model
        return CalibratedSettings(
            backbone=backbone,
            blocks=reading.blocks,
            noise=reading.noise,
            magnets=magnets if reading.magnets else "",
            keyframe_iou=self.tolerances[self.tolerance.index],
            project=project,
            objects=self.objects,
            score="" if model is None else score_model_id(model),
        )


def score_model_id(model: ScoreModel) -> str:
    """Return eight hex digits that name a fitted score model: part of the model version, so the text stays as it is."""
    fields = ", ".join(f"{field.name}={getattr(model, field.name)!r}" for field in dataclasses.fields(model))
    return hashlib.sha256(f"Need({fields})".encode()).hexdigest()[:8]


def candidate_readings(grounder: Grounder) -> tuple[ReadingSettings, ...]:
    """Return the readings to compare, the current one first: published blocks, thirds of the depth, three noise levels.

    Each with and without magnets.
    """
    preset = grounder.backbone.preset
    n = len(attention_modules(grounder.backbone.pipeline.transformer))
    third = max(1, round(n / 3))
    parts = [range(n), range(third), range(third, n - third), range(n - third, n), range(third, n), range(n - third)]
    priors = (prior.blocks for prior in preset.block_priors if max(prior.blocks) < n)
    blocks = [preset.blocks, *priors, *(tuple(p) for p in parts if len(p))]
    levels = [preset.noise, *(round(preset.noise + d, 2) for d in (-0.2, 0.2) if 0.05 <= preset.noise + d <= 0.95)]
    current = grounder.options.magnets
    readings = [ReadingSettings(b, s, m) for m, s, b in itertools.product((current, not current), levels, blocks)]
    return tuple(dict.fromkeys(readings))


def calibrate_settings(
    grounder: Grounder,
    pipeline: Pipeline,
    corrected: Sequence[CorrectedObject],
    open_clip: OpenClip,
    *,
    readings: Sequence[ReadingSettings] = (),
    keyframe_iou: float = KEYFRAME_IOU,
    progress: Progress = lambda stage, share: None,
) -> CalibrationReport:
    """Choose settings by corrected objects.

    Args:
        grounder: The grounder; it is left with the chosen reading.
        pipeline: A pipeline that uses this grounder.
        corrected: The objects as people corrected them.
        open_clip: Opens the video of an object; its errors are passed on.
        readings: The readings to compare, the current one first; `candidate_readings` if empty.
        keyframe_iou: The current keyframe tolerance.
        progress: Called with the name of a stage and the share of it that is done.

    Raises:
        FeedbackError: If there are too few objects, or if all are of one video.
    """
    tolerances = tuple(dict.fromkeys((keyframe_iou, *TOLERANCES)))
    if len(corrected) < MIN_OBJECTS:
        raise FeedbackError(
            f"{len(corrected)} corrected object(s) with words are known; at least {MIN_OBJECTS} are needed"
        )
    videos = [c.video for c in corrected]
    if len(set(videos)) < 2:
        raise FeedbackError("all corrections are of one video; what is chosen by one must be judged by another")
    readings = tuple(readings) or candidate_readings(grounder)
    scores = [_score_readings(grounder, c, open_clip(c), readings) for c in _report(corrected, "read", progress)]
    reading = choose_setting(np.stack(scores, axis=1), videos)
    _apply_reading(grounder, readings[reading.index])
    results = [(c, _track(pipeline, c, open_clip(c))) for c in _report(corrected, Stage.TRACK, progress)]
    tracked = [(c, result) for c, result in results if result is not None]
    if len({c.video for c, _ in tracked}) < 2:
        unchanged = CrossValidated(0, 0, Estimate(0.0, 0.0, 0.0, 0))
        outcome = "the score and the keyframes stay: with these words next to nothing is found"
        return CalibrationReport(readings, reading, tolerances, unchanged, None, outcome, len(corrected))
    strokes = np.array(
        [_count_strokes(c, r, open_clip(c), tolerances) for c, r in _report(tracked, Stage.KEYFRAMES, progress)]
    ).T
    tolerance = choose_setting(-strokes, [c.video for c, _ in tracked])
    model, outcome = _fit_score(tracked, open_clip, pipeline, keyframe_iou=tolerances[tolerance.index])
    return CalibrationReport(readings, reading, tolerances, tolerance, model, outcome, len(corrected))


def _apply_reading(grounder: Grounder, reading: ReadingSettings) -> None:
    grounder.backbone.preset = replace(grounder.backbone.preset, blocks=reading.blocks, noise=reading.noise)
    grounder.options = replace(grounder.options, magnets=reading.magnets)


def _score_readings(
    grounder: Grounder, corrected: CorrectedObject, clip: Clip, readings: Sequence[ReadingSettings]
) -> NDArray[np.float64]:
    """Score how well each reading points at the object, (readings,), the mean over frames that show it.

    Nine tenths of a score are for a peak inside the corrected box, one tenth for the share of the heatmap's mass inside
    it, which ranks readings with the same peaks.
    """
    truth = corrected.truth(clip)
    clip_frames = clip_frame_of_editor(clip.times, len(truth.visible), corrected.fps)
    boxes = {int(frame): truth.boxes[row] for row, frame in enumerate(clip_frames) if truth.visible[row]}
    planned = plan_frames(clip, count=2 * FRAMES_PER_OBJECT)
    frames = [int(f) for f in planned if int(f) in boxes][::2][:FRAMES_PER_OBJECT]
    if not frames:
        return np.zeros(len(readings))
    images = [image for _, batch in clip.batches(frames) for image in batch]
    preset, options = grounder.backbone.preset, grounder.options
    scores = []
    try:
        for reading in readings:
            _apply_reading(grounder, reading)
            scores.append(_score_heatmaps(grounder, images, frames, corrected.words, [boxes[f] for f in frames]))
    finally:
        grounder.backbone.preset, grounder.options = preset, options
    return np.array(scores)


def _score_heatmaps(
    grounder: Grounder, images: list[NDArray[np.uint8]], frames: list[int], words: str, boxes: list[NDArray[np.float64]]
) -> float:
    try:
        (heatmaps,) = grounder.ground(images, [words], indices=frames)
    except ExpressionError:
        return 0.0
    scores = []
    for heatmap, (x0, y0, x1, y1) in zip(heatmaps, boxes, strict=True):
        h, w = heatmap.grid.shape
        top, left = int(y0 * h), int(x0 * w)
        inside = heatmap.grid[top : max(top + 1, round(y1 * h)), left : max(left + 1, round(x1 * w))]
        mass = float(inside.sum()) / max(1e-9, float(heatmap.grid.sum()))
        hit = heatmap.grid.max() > 0 and x0 <= heatmap.peak[0] <= x1 and y0 <= heatmap.peak[1] <= y1
        scores.append(0.9 * hit + 0.1 * mass)
    return float(np.mean(scores))


def _track(pipeline: Pipeline, corrected: CorrectedObject, clip: Clip) -> TrackResult | None:
    """Track the object from its words; None if it is not found. Of several that they mean it is the nearest one."""
    try:
        results = pipeline.run(clip, [Target(corrected.label or corrected.words, corrected.words)])
    except PipelineError:
        return None
    truth = corrected.truth(clip)

    def overlap(result: TrackResult) -> float:
        rows, visible = track_on_timeline(result.track, clip, corrected.fps)
        both = visible & truth.visible
        return float(box_iou(result.boxes[rows][both], truth.boxes[both]).sum())

    return max((result for result in results if result.visible.any()), key=overlap, default=None)


def _count_strokes(
    corrected: CorrectedObject, result: TrackResult, clip: Clip, tolerances: Sequence[float]
) -> list[float]:
    """Count the strokes that correcting the track would take, for each keyframe tolerance."""
    truth, strokes = corrected.truth(clip), []
    for tolerance in tolerances:
        keyframes = box_sequence(result.track, clip, fps=corrected.fps, keyframe_iou=tolerance)
        sequence = [dict(keyframe) for keyframe in keyframes]
        strokes.append(float(correct_sequence(sequence, truth, rerun=None, max_strokes=_MAX_STROKES).strokes))
    return strokes


def _fit_score(
    tracked: Sequence[tuple[CorrectedObject, TrackResult]],
    open_clip: OpenClip,
    pipeline: Pipeline,
    *,
    keyframe_iou: float,
) -> tuple[ScoreModel | None, str]:
    """Fit a score model; keep it if it predicts held-out corrections better than the current scores (log likelihood).

    Returns:
        The model or None, and a sentence that says what became of the score.
    """
    feature_rows, correct, scores = [], [], []
    for corrected, result in tracked:
        clip = open_clip(corrected)
        sequence = box_sequence(result.track, clip, fps=corrected.fps, keyframe_iou=keyframe_iou)
        wrong, _ = find_wrong_frames(sequence, corrected.truth(clip))
        feature_rows.append(feature_vector(result.features))
        correct.append(not wrong.any())
        scores.append(result.score)
    features, is_correct, current = np.stack(feature_rows), np.array(correct), np.array(scores)
    fold = assign_folds([c.video for c, _ in tracked])
    held_out = np.zeros(len(is_correct))
    try:
        for k in range(int(fold.max()) + 1):
            rest = fold != k
            part = fit_score_model(features[rest], is_correct[rest], made_with=pipeline.made_with, source="folds")
            results = [result for (_, result), f in zip(tracked, fold, strict=True) if f == k]
            held_out[fold == k] = [part(result.features) for result in results]
        model = fit_score_model(features, is_correct, made_with=pipeline.made_with, source="corrections")
    except ValueError:
        return None, "the score stays: all answers are right, or all are wrong, in some part of the corrections"
    gain = estimate_mean(_log_likelihood(held_out, is_correct) - _log_likelihood(current, is_correct))
    if gain.value > 0 and gain.low >= 0:
        return model, "the score is fitted to the corrections"
    return None, "the score stays: a fit to the corrections does not foretell held-out ones better"


def _log_likelihood(scores: NDArray[np.float64], is_correct: NDArray[np.bool_]) -> NDArray[np.float64]:
    p = np.clip(scores, 0.01, 0.99)
    return np.where(is_correct, np.log(p), np.log(1 - p))


def _report(items: Sequence[_T], stage: str, progress: Progress) -> Iterator[_T]:
    """Yield the items and report the progress of a stage after each."""
    for i, item in enumerate(items):
        yield item
        progress(stage, (i + 1) / len(items))
