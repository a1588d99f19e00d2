"""Confidence that means something: of the heatmaps that say 0.8, about 80 % point at what is meant.

A logistic model of a few signs, each of which can only speak for the peak, never against it, fitted on scenes whose
truth is known (`refam eval calibrate`) and kept as a small file beside the model. It holds for the weights and the
settings it was fitted with and for pictures like those; with any others the raw contrast is used, and said to be raw.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refam import logistic
from refam.heatmaps import normalise
from video.errors import UserError

SIGNS = ("contrast", "compactness", "order", "draws", "words")
FILE_NAME = "refam_calibration.json"


class CalibrationError(UserError):
    """A calibration file cannot be used; the message says which and why."""


def signs_of(
    grid: NDArray[np.float32],
    peak: tuple[float, float],
    contrast: float,
    by_draw: Sequence[NDArray[np.float32]],
    by_word: Sequence[NDArray[np.float32]],
) -> NDArray[np.float64]:
    """(5,) in [0, 1], in the order of SIGNS: what a heatmap shows of its own reliability, larger is surer.

    grid: (h', w') the heatmap in [0, 1]; peak: its normalised (x, y); contrast: 1 - second mode / first. by_draw,
    by_word: (h, w) evidence of each draw of noise and of each word alone. compactness: share of the frame under half
    of the maximum. order: 1 - entropy of the grid / its largest. draws: how high the draws have the peak, in the mean;
    words: the same of the word that has it lowest.
    """
    return np.array(
        [
            contrast,
            1 - float((grid >= 0.5).mean()),
            order_of(grid),
            float(np.mean([_height(g, peak) for g in by_draw])),
            min(_height(g, peak) for g in by_word),
        ]
    )


def order_of(grid: NDArray[np.float32]) -> float:
    """1 - the entropy of a grid (h, w) >= 0 / its largest, in [0, 1]: 1 for a single place, 0 for all alike or none."""
    mass = grid.astype(np.float64).ravel()
    total = mass.sum()
    if total <= 0 or mass.size < 2:
        return 0.0
    p = mass[mass > 0] / total
    return 1 + float((p * np.log(p)).sum()) / float(np.log(mass.size))


def _height(grid: NDArray[np.float32], peak: tuple[float, float]) -> float:
    h, w = grid.shape
    return float(normalise(grid)[min(h - 1, int(peak[1] * h)), min(w - 1, int(peak[0] * w))])


@dataclass(frozen=True)
class Calibration:
    """Signs -> the probability that the peak lies on what is meant.

    weights: one for each of SIGNS, never negative. made_with: what it was fitted with (weights, settings, switches).
    scenes, seed: on what.
    """

    weights: tuple[float, ...]
    bias: float
    made_with: dict[str, Any]
    scenes: int
    seed: int

    def __post_init__(self) -> None:
        if len(self.weights) != len(SIGNS) or min(self.weights) < 0:
            raise CalibrationError(f"a calibration has {len(SIGNS)} weights, none negative, got {self.weights}")

    def __call__(self, signs: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., 5) signs -> (...) probabilities."""
        return logistic.probability(signs, self.weights, self.bias)

    def save(self, path: Path) -> None:
        """Writes it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def calibration_path(source: str) -> Path:
    """Where the calibration of a pipeline directory or hub id is: in the directory; else in the user's cache."""
    if Path(source).expanduser().is_dir():
        return Path(source).expanduser() / FILE_NAME
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "refam" / source.replace("/", "--") / FILE_NAME


def load_calibration(path: Path) -> Calibration | None:
    """None where there is no such file. Raises CalibrationError for one that cannot be read."""
    if not path.is_file():
        return None
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        return Calibration(**{**read, "weights": tuple(float(w) for w in read["weights"])})
    except (ValueError, TypeError, KeyError) as error:
        raise CalibrationError(
            f"{path} is no calibration ({error}); delete it, or make it anew with `refam eval calibrate`"
        ) from error


def fit(signs: NDArray[np.float64], hits: NDArray[np.bool_], *, made_with: dict[str, Any], seed: int) -> Calibration:
    """Maximum likelihood with weights that are not negative. signs: (n, 5); hits: (n,) bool, both kinds among them."""
    if signs.shape != (len(hits), len(SIGNS)):
        raise ValueError(f"signs must be ({len(hits)}, {len(SIGNS)}), got {signs.shape}")
    weights, bias = logistic.fit(signs, hits)
    return Calibration(weights, bias, made_with, len(hits), seed)
