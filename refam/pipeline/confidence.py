"""The score of a track: the probability that it is right as it is, so that a person has nothing to correct.

It is a logistic model of a few features that the pipeline has anyway, fitted on drawn clips with a known truth
(`refam eval need --fit`) or on what people corrected (`refam calibrate`), times the probability that the video has what
the words name at all (`refam.presence`). The model holds for one backbone, segmenter and tracker; for others the raw
score is used. As a prediction's score is this probability, sampling by uncertainty serves those tasks first that need a
person.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refam.calibration import fit_logistic, measure_concentration, predict_logistic
from video import masks
from video.errors import UserError
from video.keyframes import find_runs
from video.types import MaskTrack

if TYPE_CHECKING:
    from refam.pipeline.state import ObjectState

FEATURES = (
    "evidence",
    "confidence",
    "order",
    "agreement",
    "backing",
    "followed",
    "weakest",
    "seen",
    "whole",
    "steady",
)  # see `track_features`; the names are stored with results
SHIPPED_MODELS = Path(__file__).with_name("score_models.json")  # fitted on drawn clips: `refam eval need --fit 100`
SCORE_MODELS_FILE = "need.json"  # in the data folder: the models that were fitted on this machine


class ScoreModelError(UserError):
    """A file of score models cannot be used; the text says which and why."""


@dataclass(frozen=True)
class ScoreModel:
    """A logistic model from the features of a track to the probability that nothing needs correction.

    Args:
        weights: One for each of `FEATURES`, none negative.
        bias: Added to the weighted sum.
        made_with: The backbone, segmenter and tracker it was fitted with, as in the model version.
        objects: On how many tracks it was fitted.
        source: Where these came from.

    Raises:
        ScoreModelError: For a wrong number of weights, or a negative one.
    """

    weights: tuple[float, ...]
    bias: float
    made_with: str
    objects: int
    source: str

    def __post_init__(self) -> None:
        if len(self.weights) != len(FEATURES) or min(self.weights) < 0:
            raise ScoreModelError(f"a need has {len(FEATURES)} weights, none negative, got {self.weights}")

    def __call__(self, features: Mapping[str, float]) -> float:
        """Return the probability, in [0, 1]. features: as from `track_features`."""
        return float(predict_logistic(feature_vector(features), self.weights, self.bias))


def feature_vector(features: Mapping[str, float]) -> NDArray[np.float64]:
    """Return the features as an array, (k,), in the order of `FEATURES`."""
    return np.array([features[name] for name in FEATURES], np.float64)


def raw_score(features: Mapping[str, float]) -> float:
    """Return the score without a fitted model, in [0, 1]. It ranks tracks, but is no probability."""
    score = features["evidence"] * (0.4 + 0.6 * features["followed"]) * (0.5 + 0.5 * features["backing"])
    return float(np.clip(score, 0, 1))


def fit_score_model(
    features: NDArray[np.float64], correct: NDArray[np.bool_], *, made_with: str, source: str
) -> ScoreModel:
    """Fit a score model.

    Args:
        features: (n, k), one row of `FEATURES` for each track.
        correct: (n,), whether nothing had to be corrected.
        made_with: Backbone, segmenter and tracker of the tracks.
        source: Where the tracks came from.

    Raises:
        ValueError: If all tracks are correct, or none.
    """
    weights, bias = fit_logistic(features, correct)
    return ScoreModel(weights, bias, made_with, len(correct), source)


def track_features(state: ObjectState, track: MaskTrack, *, backing: float) -> dict[str, float]:
    """Return the features of a track, each in [0, 1], larger where the track is more reliable.

    Args:
        state: The object's.
        track: Its track.
        backing: The share of the grounded frames on which the words point at the track.

    Returns:
        evidence, confidence: of the anchor.
        order: 1 - the heatmaps' entropy over the largest possible; agreement: of the heatmaps with each other.
        backing: as given.
        followed: mean score of the visible frames; weakest: their 5 % quantile.
        seen: share of the frames on which the object is visible; whole: 1 without gaps, less with each one.
        steady: ratio of the areas on neighbouring frames, its 2 % quantile, so that a single jump does not count.
    """
    heatmaps = list(state.consensus.heatmaps) if state.consensus is not None else []
    scores = track.scores[track.visible]
    return {
        "evidence": state.evidence,
        "confidence": state.confidence,
        "order": float(np.mean([measure_concentration(h.grid) for h in heatmaps])) if heatmaps else 0.0,
        "agreement": float(np.mean(state.consensus.agreement)) if state.consensus is not None else 0.0,
        "backing": backing,
        "followed": float(scores.mean()) if len(scores) else 0.0,
        "weakest": float(np.quantile(scores, 0.05)) if len(scores) else 0.0,
        "seen": float(track.visible.mean()),
        "whole": 1 / (1 + len(find_runs(~track.visible))),
        "steady": _area_stability(track),
    }


def _area_stability(track: MaskTrack) -> float:
    """Return the 2 % quantile of the ratios of the areas on neighbouring frames, in [0, 1]."""
    area = np.array([masks.area(rle) for rle in track.rles], np.float64)
    both = track.visible[1:] & track.visible[:-1]
    if len(area) == 1:
        return float(track.visible[0])
    if not both.any():
        return 0.0
    smaller, larger = np.minimum(area[1:], area[:-1])[both], np.maximum(area[1:], area[:-1])[both]
    return float(np.quantile(smaller / larger, 0.02))


def load_score_model(made_with: str, folder: Path | None = None) -> ScoreModel | None:
    """Return the score model for a backbone, segmenter and tracker.

    Args:
        made_with: As in the model version.
        folder: Where a model that was fitted on this machine is looked for first, before those that ship.

    Returns:
        The model, or None if none was fitted for these.

    Raises:
        ScoreModelError: For a file that cannot be read.
    """
    for path in (folder / SCORE_MODELS_FILE if folder else None, SHIPPED_MODELS):
        model = read_score_models(path).get(made_with) if path is not None else None
        if model is not None:
            return model
    return None


def read_score_models(path: Path) -> dict[str, ScoreModel]:
    """Return all models of a file by what they were made with; none if there is no file. Raises ScoreModelError."""
    if not path.is_file():
        return {}
    try:
        items = json.loads(path.read_text(encoding="utf-8"))
        models = [ScoreModel(**{**item, "weights": tuple(float(w) for w in item["weights"])}) for item in items]
    except (ValueError, TypeError, KeyError) as error:
        raise ScoreModelError(
            f"{path} cannot be read ({error}); delete it, or make it anew with `refam eval need`"
        ) from error
    return {model.made_with: model for model in models}


def save_score_model(model: ScoreModel, path: Path) -> None:
    """Add a model to a file, in place of an older one for the same backbone, segmenter and tracker."""
    models = read_score_models(path) | {model.made_with: model}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(m) for m in models.values()], indent=1) + "\n", encoding="utf-8")
