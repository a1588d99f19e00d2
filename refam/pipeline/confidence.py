"""How likely a track is right as it is: the probability that a person has nothing to correct.

A logistic model of a few signs that the pipeline has anyway, fitted on drawn clips with a known truth (`refam eval
need --fit`) or on what people corrected (`refam calibrate`). It counts for one backbone, segmenter and tracker; for any
others the raw score is used. A prediction's score is this probability, so that sampling by uncertainty serves those
first that need a person.
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
from video.keyframes import spans
from video.types import MaskTrack

if TYPE_CHECKING:
    from refam.pipeline.anchors import ObjectState

SIGNS = ("evidence", "confidence", "order", "agreement", "backing", "followed", "weakest", "seen", "whole", "steady")
SHIPPED = Path(__file__).with_name("score_models.json")  # fitted on drawn clips: `refam eval need --fit 100`


class ScoreModelError(UserError):
    """A file of fitted needs cannot be used; the message says which and why."""


@dataclass(frozen=True)
class ScoreModel:
    """Signs -> the probability that nothing needs correction.

    weights: one for each of SIGNS, never negative. made_with: backbone, segmenter and tracker it was fitted with, as
    in the model version. objects: on how many tracks; source: whose.
    """

    weights: tuple[float, ...]
    bias: float
    made_with: str
    objects: int
    source: str

    def __post_init__(self) -> None:
        if len(self.weights) != len(SIGNS) or min(self.weights) < 0:
            raise ScoreModelError(f"a need has {len(SIGNS)} weights, none negative, got {self.weights}")

    def __call__(self, signs: Mapping[str, float]) -> float:
        """In [0, 1]. signs: as `signs_of` gives them."""
        return float(predict_logistic(row_of(signs), self.weights, self.bias))


def row_of(signs: Mapping[str, float]) -> NDArray[np.float64]:
    """(k,) in the order of SIGNS."""
    return np.array([signs[name] for name in SIGNS], np.float64)


def raw_score(signs: Mapping[str, float]) -> float:
    """In [0, 1]: the score where none was fitted. It orders tracks, and is no probability."""
    return float(np.clip(signs["evidence"] * (0.4 + 0.6 * signs["followed"]) * (0.5 + 0.5 * signs["backing"]), 0, 1))


def fit(signs: NDArray[np.float64], good: NDArray[np.bool_], *, made_with: str, source: str) -> ScoreModel:
    """signs: (n, k) rows of SIGNS; good: (n,) bool, nothing had to be corrected. Raises ValueError if all are alike."""
    weights, bias = fit_logistic(signs, good)
    return ScoreModel(weights, bias, made_with, len(good), source)


def signs_of(work: ObjectState, track: MaskTrack, *, backing: float) -> dict[str, float]:
    """What a track shows of its own reliability, each in [0, 1], larger is surer.

    evidence, confidence: of the anchor. order: 1 - entropy of the heatmaps / its largest; agreement: of their votes;
    backing: share of the grounded frames on which the words point at the track. followed: mean score of the track;
    weakest: the score that one frame in twenty is below. seen: share of the frames that show the object; whole: 1 in
    one piece, less with each gap. steady: how little its area jumps from frame to frame where it jumps most; that of
    a single frame does not.
    """
    maps = list(work.heard.heatmaps) if work.heard is not None else []
    scores = track.scores[track.visible]
    return {
        "evidence": work.evidence,
        "confidence": work.confidence,
        "order": float(np.mean([measure_concentration(h.grid) for h in maps])) if maps else 0.0,
        "agreement": float(np.mean(work.heard.agreement)) if work.heard is not None else 0.0,
        "backing": backing,
        "followed": float(scores.mean()) if len(scores) else 0.0,
        "weakest": float(np.quantile(scores, 0.05)) if len(scores) else 0.0,
        "seen": float(track.visible.mean()),
        "whole": 1 / (1 + len(spans(~track.visible))),
        "steady": _steady(track),
    }


def _steady(track: MaskTrack) -> float:
    area = np.array([masks.area(r) for r in track.rles], np.float64)
    both = track.visible[1:] & track.visible[:-1]
    if len(area) == 1:
        return float(track.visible[0])
    if not both.any():
        return 0.0
    small, large = np.minimum(area[1:], area[:-1])[both], np.maximum(area[1:], area[:-1])[both]
    return float(np.quantile(small / large, 0.02))


def need_for(made_with: str, folder: Path | None = None) -> ScoreModel | None:
    """What was fitted for a backbone, segmenter and tracker: in this folder, else what ships; None for neither.

    Raises ScoreModelError for a file that cannot be read.
    """
    for path in (folder / "need.json" if folder else None, SHIPPED):
        found = read(path).get(made_with) if path is not None else None
        if found is not None:
            return found
    return None


def read(path: Path) -> dict[str, ScoreModel]:
    """All that a file holds, by what each was made with; nothing where there is no file. Raises ScoreModelError."""
    if not path.is_file():
        return {}
    try:
        items = json.loads(path.read_text(encoding="utf-8"))
        needs = [ScoreModel(**{**item, "weights": tuple(float(w) for w in item["weights"])}) for item in items]
    except (ValueError, TypeError, KeyError) as error:
        raise ScoreModelError(
            f"{path} cannot be read ({error}); delete it, or make it anew with `refam eval need`"
        ) from error
    return {need.made_with: need for need in needs}


def keep(need: ScoreModel, path: Path) -> None:
    """Adds one to a file, or replaces the one for the same models."""
    needs = read(path) | {need.made_with: need}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(n) for n in needs.values()], indent=1) + "\n", encoding="utf-8")
