"""Does the score tell which tracks a person must correct? Drawn clips with a known truth, fitted and judged apart.

A track needs correction when any frame of it, as the editor draws it, has IoU < 0.8 with the truth or is shown where
the object is not. AUROC: the chance that of one track that needs it and one that does not, the score of the first is
lower (Mann and Whitney 1947; Hanley and McNeil 1982 for its error).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from backend.feedback.annotator import EditorTruth, verdict
from backend.feedback.project import FeedbackError
from backend.labelstudio.controls.video_rectangle import box_sequence
from refam.evaluation.grounding_scores import expected_calibration_error, reliability_table
from refam.evaluation.synthetic import as_clip
from refam.pipeline.confidence import FEATURES, ScoreModel, feature_vector, fit_score_model, raw_score
from refam.pipeline.pipeline import Pipeline, PipelineError
from refam.pipeline.types import Target, TrackResult
from refam.tiny.scenes import draw_clip

if TYPE_CHECKING:
    from video.io.reader import Clip

FIT_SEED, JUDGE_SEED = 5_000, 900_000  # the scenes of the two never meet
_FPS, _FRAMES, _SIZE = 24.0, 48, (320, 180)


@dataclass(frozen=True, eq=False)
class Answered:
    """One track that was answered. signs: (k,) by SIGNS; raw: the score without a fit; right: nothing to correct."""

    signs: NDArray[np.float64]
    raw: float
    right: bool


@dataclass(frozen=True)
class Auroc:
    """Area under the ROC curve with its standard error."""

    value: float
    error: float

    def __str__(self) -> str:
        half = 1.96 * self.error
        return f"{self.value:.3f} ({max(0, self.value - half):.3f} - {min(1, self.value + half):.3f})"


def auroc(scores: ArrayLike, right: ArrayLike) -> Auroc:
    """scores: (n,) larger is surer; right: (n,) bool. Raises FeedbackError unless both kinds are there."""
    scores, right = np.asarray(scores, np.float64), np.asarray(right, np.bool_)
    n, m = int(right.sum()), int((~right).sum())
    if n == 0 or m == 0:
        raise FeedbackError(
            f"{n} right and {m} wrong tracks: both kinds are needed to tell them apart; take more clips"
        )
    ranks = rankdata(scores)
    a = float(ranks[right].sum() - n * (n + 1) / 2) / (n * m)
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    variance = (a * (1 - a) + (n - 1) * (q1 - a * a) + (m - 1) * (q2 - a * a)) / (n * m)
    return Auroc(a, math.sqrt(max(0.0, variance)))


def answered(
    pipeline: Pipeline, clips: int, seed: int, *, progress: Callable[[float], None] = lambda share: None
) -> list[Answered]:
    """Every object of so many drawn clips, asked for by its words."""
    found: list[Answered] = []
    for number in range(clips):
        found += _one_clip(pipeline, seed + number)
        progress((number + 1) / clips)
    return found


def _one_clip(pipeline: Pipeline, seed: int) -> Iterator[Answered]:
    drawn = draw_clip(seed, size=_SIZE, n_frames=_FRAMES, fps=_FPS, speed=0.9)
    with as_clip(drawn.frames, fps=_FPS) as clip:
        try:
            results = pipeline.run(clip, [Target(words, words) for words in drawn.expressions])
        except PipelineError:  # none was found: there is no answer to be sure of
            return
        for result, masks in zip(results, drawn.masks, strict=True):
            if result.track.visible.any():
                yield _judged(result, clip, masks)


def _judged(result: TrackResult, clip: Clip, masks: NDArray[np.bool_]) -> Answered:
    wrong, _ = verdict(box_sequence(result.track, clip, fps=_FPS), EditorTruth.of_masks(masks))
    return Answered(feature_vector(result.features), raw_score(result.features), not wrong.any())


def fitted(some: Sequence[Answered], *, made_with: str, source: str) -> ScoreModel:
    """Raises FeedbackError where all are right or all are wrong."""
    right = np.array([a.right for a in some])
    if right.all() or not right.any():
        raise FeedbackError(
            f"of {len(some)} tracks all are {'right' if right.all() else 'wrong'}; take more clips to fit on"
        )
    return fit_score_model(np.stack([a.signs for a in some]), right, made_with=made_with, source=source)


def table(need: ScoreModel | None, some: Sequence[Answered]) -> str:
    """Markdown: AUROC of every sign, of the raw score and of the fitted one; then whether it means what it says."""
    right = np.array([a.right for a in some])
    signs = np.stack([a.signs for a in some])
    lines = [
        f"{len(some)} tracks, {int((~right).sum())} of them need correction",
        "",
        "| | AUROC of “needs correction” | weight |",
        "|---|---|---|",
    ]
    for k, name in enumerate(FEATURES):
        weight = "" if need is None else f"{need.weights[k]:.2f}"
        lines.append(f"| {name} | {auroc(signs[:, k], right)} | {weight} |")
    lines.append(f"| raw score | {auroc([a.raw for a in some], right)} | |")
    if need is not None:
        said = np.array([need(dict(zip(FEATURES, row, strict=True))) for row in signs])
        lines.append(f"| **fitted score** | **{auroc(said, right)}** | |")
        lines += [
            "",
            f"expected calibration error of the fitted score: {expected_calibration_error(said, right):.3f}",
            "",
        ]
        lines.append(
            reliability_table(said, right)
            .replace("heatmaps", "tracks")
            .replace("on the object", "right")
            .replace("confidence", "score")
        )
    return "\n".join(lines)
