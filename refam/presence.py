"""Whether what an expression names is in a picture at all: how far the picture bears out each word, all at one place.

A heatmap is scaled to its own maximum, so it says where the words fit best, not whether they fit. The attention itself
says that: where a blue circle is, "blue" and "circle" both have as much of it as they usually have where their object
is; on a red circle "circle" has its usual share and "blue" much less. How much is usual differs from word to word and
from model to model, so it is fitted, with the probability, on scenes in which it is known what is there (`refam eval
calibrate`). What was fitted is valid only for the weights and the settings it was fitted with.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from refam.calibration import (
    Bias,
    CalibrationError,
    Weight,
    calibration_path,
    fit_telling,
    load_fitted,
    predict_logistic,
    require_both_kinds,
    save_fitted,
)
from refam.text.lexicon import ENDINGS
from video.checked_json import STRICT
from video.types import Presence

WordAttention = tuple[tuple[str, float], ...]
"""The words of an expression, each with the decimal logarithm of the attention that it has."""

Level = Annotated[float, Field(ge=-100, le=100)]
"""A decimal logarithm of attention."""
KINDS = ("expressions whose object is there", "expressions whose object is not there")
FILE_NAME = "refam_presence.json"
_SMOOTH_TOKENS = 0.7  # sigma; of 0.7, 1.0 and 1.3 the best on 300 scenes with and without the object
_REGION_SHARE = 0.5  # of the heatmap's maximum: what is as high and connected with the peak belongs to its object
_LEAST_CELL_SHARE = 0.2  # of a token that the region covers
_LEAST_SEEN = 8  # scenes with a word from which its usual attention is known
_DECADES = (-2.0, 0.5)  # attention relative to the usual one, which becomes 0 and 1
_TINY = 1e-9


def measure_word_attention(
    maps: NDArray[np.float32], heat: NDArray[np.float32], peak: tuple[float, float]
) -> NDArray[np.float64]:
    """Measure the attention to each word at the place in the heatmap's peak region where all words together have most.

    All are measured at one place, since a blue square and a red circle are no blue circle.

    Args:
        maps: (W, h, w) joint attention to each of W words, which is neither scaled nor shifted.
        heat: (H, W) heatmap in [0, 1].
        peak: Normalised (x, y) of the heatmap's peak.

    Returns:
        (W,) decimal logarithms.
    """
    h, w = maps.shape[1:]
    logs = np.log10(np.stack([cv2.GaussianBlur(m, (0, 0), _SMOOTH_TOKENS) for m in maps]).astype(np.float64) + _TINY)
    together = np.where(_peak_region(heat, peak, (h, w)), logs.mean(0), -np.inf)
    row, column = np.unravel_index(int(together.argmax()), together.shape)
    return np.asarray(logs[:, row, column])


def _peak_region(heat: NDArray[np.float32], peak: tuple[float, float], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """(h, w) tokens of the region around the peak, and those beside them: a ring's attention is strongest in its hole.

    shape: (h, w), of the tokens.
    """
    high = (heat >= _REGION_SHARE).astype(np.uint8)
    _, labels = cv2.connectedComponents(high)
    y, x = (min(n - 1, int(p * n)) for p, n in zip(reversed(peak), heat.shape, strict=True))
    region = (labels == labels[y, x]) & (high > 0)
    tokens = cv2.resize(region.astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA) > _LEAST_CELL_SHARE
    tokens[min(shape[0] - 1, int(peak[1] * shape[0])), min(shape[1] - 1, int(peak[0] * shape[1]))] = True
    return cv2.dilate(tokens.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0


@dataclass(frozen=True)
class PresenceModel:
    """A logistic model from the attention to the words of an expression to the probability that its object is there.

    Attributes:
        weights: Of the mean over the words and of the weakest word, none negative.
        bias: The constant of the logistic model.
        levels: For each word the decimal logarithm of the attention that it usually has where its object is.
        level: The same for any other word.
        made_with: The settings it was fitted with, see `Grounder.heatmap_settings`.
        scenes: Number of expressions it was fitted on.
        seed: The seed of their scenes.

    Raises:
        CalibrationError: If the weights are too few, too many or negative.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    weights: tuple[Weight, Weight]
    bias: Bias
    levels: dict[str, Level]
    level: Level
    made_with: dict[str, Any]
    scenes: int
    seed: int

    def __post_init__(self) -> None:
        if len(self.weights) != 2 or min(self.weights) < 0:
            raise CalibrationError(f"a presence model has 2 weights, none negative, got {self.weights}")

    def __call__(self, attention: WordAttention) -> Presence:
        """Return how likely the object is there, and the word that is borne out least.

        Raises:
            ValueError: Without words.
        """
        relative = _relative(attention, self.levels, self.level)
        probability = predict_logistic(_features(relative), self.weights, self.bias)
        return Presence(float(probability), attention[int(relative.argmin())][0])

    def save(self, path: Path) -> None:
        """Write the model as JSON; see `refam.calibration.save_fitted`."""
        save_fitted(self, path)


def presence_path(source: str) -> Path:
    """Return where the presence model of a pipeline is stored: beside its calibration."""
    return calibration_path(source).with_name(FILE_NAME)


def load_presence(path: Path) -> PresenceModel | None:
    """Load a presence model from its JSON file.

    Returns:
        The model, or None if there is no such file.

    Raises:
        CalibrationError: If the file is no presence model.
    """
    return load_fitted(path, "presence model", PresenceModel)


def fit_presence(
    attentions: Sequence[WordAttention], present: NDArray[np.bool_], *, made_with: dict[str, Any], seed: int
) -> PresenceModel:
    """Fit a presence model.

    Args:
        attentions: Of n expressions, each in a picture.
        present: (n,) whether the picture has what the expression names. Every word that is to be judged by its own
            usual attention must occur in expressions that are present.
        made_with: The settings of the heatmaps, see `Grounder.heatmap_settings`.
        seed: The seed of the scenes.

    Raises:
        ValueError: If the lengths differ, or if an expression has no words.
        CalibrationError: If too few are present or too few are absent, or if their attention does not tell them apart.
    """
    if len(attentions) != len(present):
        raise ValueError(f"{len(attentions)} expressions but {len(present)} outcomes")
    require_both_kinds(present, KINDS)
    seen: dict[str, list[float]] = defaultdict(list)
    for attention, is_there in zip(attentions, present, strict=True):
        for word, value in attention if is_there else ():
            seen[word].append(value)
    levels = {word: round(float(np.median(v)), 4) for word, v in sorted(seen.items()) if len(v) >= _LEAST_SEEN}
    level = round(float(np.median(list(levels.values()) or [v for values in seen.values() for v in values] or [0])), 4)
    features = np.stack([_features(_relative(attention, levels, level)) for attention in attentions])
    weights, bias = fit_telling(features, present, "what is there from what is not")
    return PresenceModel((weights[0], weights[1]), bias, levels, level, made_with, len(present), seed)


def _relative(attention: WordAttention, levels: dict[str, float], level: float) -> NDArray[np.float64]:
    """(W,) each word's attention in decades over what is usual for it."""
    if not attention:
        raise ValueError("an expression without words is neither there nor not there")
    return np.array([value - _usual(word, levels, level) for word, value in attention])


def _usual(word: str, levels: dict[str, float], level: float) -> float:
    """What is usual for a word, or for the word that it is a form of: "circles"."""
    forms = [word, *(word.removesuffix(ending).rstrip("-") for ending in sorted(ENDINGS) if word.endswith(ending))]
    return next((levels[form] for form in forms if form in levels), level)


def _features(relative: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2,) in [0, 1]: of all words together, and of the weakest one."""
    low, high = _DECADES
    return np.clip((np.array([relative.mean(), relative.min()]) - low) / (high - low), 0, 1)
