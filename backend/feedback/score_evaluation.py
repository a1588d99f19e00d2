"""How well the score tells which tracks a person must correct: fitted and evaluated on different drawn clips.

A track needs correction if on any frame, as the editor draws it, its IoU with the truth is below 0.8 or it is shown
where the object is not. AUROC is the probability that of a track that needs correction and one that does not, the
former has the lower score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from backend.feedback.annotator import EditorTruth, find_wrong_frames
from backend.feedback.project import FeedbackError
from backend.labelstudio.controls.video_rectangle import box_sequence
from refam.calibration import require_both_kinds
from refam.evaluation.grounding_scores import expected_calibration_error, reliability_table
from refam.evaluation.synthetic import as_clip
from refam.pipeline.confidence import FEATURES, ScoreModel, feature_vector, fit_score_model, raw_score
from refam.pipeline.pipeline import Pipeline, PipelineError
from refam.pipeline.types import Target, TrackResult
from refam.tiny.scenes import draw_clip
from video.metrics import auroc

if TYPE_CHECKING:
    from video.io.reader import Clip

FIT_SEED, HELD_OUT_SEED = 5_000, 900_000  # far enough apart that no scene belongs to both
_FPS, _FRAMES, _SIZE = 24.0, 48, (320, 180)


@dataclass(frozen=True, eq=False)
class TrackOutcome:
    """One predicted track.

    Attributes:
        features: (k,) float64, the inputs of the score model.
        raw_score: The score without a fitted model.
        correct: Whether no frame needs correction.
    """

    features: NDArray[np.float64]
    raw_score: float
    correct: bool


def track_drawn_clips(
    pipeline: Pipeline, clips: int, seed: int, *, progress: Callable[[float], None] = lambda share: None
) -> list[TrackOutcome]:
    """Track every object of drawn clips by its words.

    Args:
        pipeline: The pipeline to evaluate.
        clips: Number of clips.
        seed: Seed of the first clip; the others follow it.
        progress: Called with the share of clips that are done.
    """
    outcomes: list[TrackOutcome] = []
    for number in range(clips):
        outcomes += _track_clip(pipeline, seed + number)
        progress((number + 1) / clips)
    return outcomes


def _track_clip(pipeline: Pipeline, seed: int) -> Iterator[TrackOutcome]:
    scene = draw_clip(seed, size=_SIZE, n_frames=_FRAMES, fps=_FPS, speed=0.9)
    with as_clip(scene.frames, fps=_FPS) as clip:
        try:
            results = pipeline.run(clip, [Target(words, words) for words in scene.expressions])
        except PipelineError:  # no object was found, so there is no track to score
            return
        for result, masks in zip(results, scene.masks, strict=True):
            if result.track.visible.any():
                yield _outcome(result, clip, masks)


def _outcome(result: TrackResult, clip: Clip, masks: NDArray[np.bool_]) -> TrackOutcome:
    wrong, _ = find_wrong_frames(box_sequence(result.track, clip, fps=_FPS), EditorTruth.from_masks(masks))
    return TrackOutcome(feature_vector(result.features), raw_score(result.features), not wrong.any())


def fit_outcomes(outcomes: Sequence[TrackOutcome], *, made_with: str, source: str) -> ScoreModel:
    """Fit a score model to tracks.

    Args:
        outcomes: The tracks.
        made_with: The models that made them; the score model is for these alone.
        source: What it was fitted on, for the record.

    Raises:
        CalibrationError: If too few tracks are correct, or too few are not.
    """
    correct = np.array([outcome.correct for outcome in outcomes])
    require_both_kinds(correct, ("tracks are right", "are wrong"))
    features = np.stack([outcome.features for outcome in outcomes])
    return fit_score_model(features, correct, made_with=made_with, source=source)


def score_table(model: ScoreModel | None, outcomes: Sequence[TrackOutcome]) -> str:
    """Return Markdown: the AUROC of every feature and of the scores, and the calibration of the fitted score.

    Raises:
        FeedbackError: If all tracks are correct or none is.
    """
    correct = np.array([outcome.correct for outcome in outcomes])
    if correct.all() or not correct.any():
        raise FeedbackError(
            f"{int(correct.sum())} right and {int((~correct).sum())} wrong tracks: both kinds are needed to tell them "
            "apart; take more clips"
        )
    features = np.stack([outcome.features for outcome in outcomes])
    lines = [
        f"{len(outcomes)} tracks, {int((~correct).sum())} of them need correction",
        "",
        "| | AUROC of “needs correction” | weight |",
        "|---|---|---|",
    ]
    for k, name in enumerate(FEATURES):
        weight = "" if model is None else f"{model.weights[k]:.2f}"
        lines.append(f"| {name} | {auroc(features[:, k], correct)} | {weight} |")
    lines.append(f"| raw score | {auroc([outcome.raw_score for outcome in outcomes], correct)} | |")
    if model is not None:
        scores = np.array([model(dict(zip(FEATURES, row, strict=True))) for row in features])
        lines.append(f"| **fitted score** | **{auroc(scores, correct)}** | |")
        error = expected_calibration_error(scores, correct)
        lines += ["", f"expected calibration error of the fitted score: {error:.3f}", ""]
        lines.append(
            reliability_table(scores, correct)
            .replace("heatmaps", "tracks")
            .replace("on the object", "right")
            .replace("confidence", "score")
        )
    return "\n".join(lines)
