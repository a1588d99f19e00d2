"""Calibrated confidence: of all heatmaps with a confidence of 0.8, about 80 % have their peak on the object.

A logistic model of a few features of a heatmap, fitted on scenes with known masks (`refam eval calibrate`) and stored
as a small JSON file beside the model. A calibration is valid only for the weights and the settings it was fitted with,
and for pictures like those it was fitted on. Without one, the confidence is the raw contrast of the heatmap.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from scipy.optimize import minimize
from scipy.special import expit

from refam.heatmaps import normalise
from video.atomic_files import write_text
from video.checked_json import STRICT, JsonError, parse_json
from video.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Fitted = TypeVar("Fitted")
Weight = Annotated[float, Field(ge=0, le=1e4)]
Bias = Annotated[float, Field(ge=-1e4, le=1e4)]
FEATURES = ("contrast", "compactness", "order", "draws", "words")
"""The names of the features, in the order of `compute_features`."""
FILE_NAME = "refam_calibration.json"
LEAST_OF_EACH_KIND = 8
"""Examples of a hit, and of a miss, from which a logistic model is fitted."""
_LEAST_GAIN = (
    3.84  # twice the log likelihood over a constant: what one weight without effect exceeds in 5 % of the fits
)
_RIDGE = 0.02  # keeps the weights finite when the examples are separable


class CalibrationError(UserError):
    """A calibration cannot be used or fitted; the message says which one and why."""


def compute_features(
    grid: NDArray[np.float32],
    peak: tuple[float, float],
    contrast: float,
    by_draw: Sequence[NDArray[np.float32]],
    by_word: Sequence[NDArray[np.float32]],
) -> NDArray[np.float64]:
    """Compute what a heatmap shows of its own reliability.

    Args:
        grid: (h, w) heatmap in [0, 1].
        peak: Normalised (x, y) of its maximum.
        contrast: 1 - second mode / first mode.
        by_draw: The summed maps (h', w') of each noise sample by itself.
        by_word: The map (h', w') of each content word by itself.

    Returns:
        (5,) values in [0, 1], larger is more reliable, in the order of `FEATURES`:
        the contrast; compactness, the share of the frame below half of the maximum; order, the concentration of the
        heatmap; draws, the mean height at the peak over the noise samples; words, the lowest height at the peak over
        the words.
    """
    return np.array(
        [
            contrast,
            1 - float((grid >= 0.5).mean()),
            measure_concentration(grid),
            float(np.mean([_height_at(g, peak) for g in by_draw])),
            min(_height_at(g, peak) for g in by_word),
        ]
    )


def measure_concentration(grid: NDArray[np.float32]) -> float:
    """Return 1 - entropy / maximum entropy of a non-negative (h, w) grid.

    1 means that a single cell has everything; 0 means that all cells are alike, or that the grid is empty.
    """
    mass = grid.astype(np.float64).ravel()
    total = mass.sum()
    if total <= 0 or mass.size < 2:
        return 0.0
    p = mass[mass > 0] / total
    return 1 + float((p * np.log(p)).sum()) / float(np.log(mass.size))


def _height_at(grid: NDArray[np.float32], peak: tuple[float, float]) -> float:
    """The normalised value of a grid at a normalised (x, y)."""
    h, w = grid.shape
    return float(normalise(grid)[min(h - 1, int(peak[1] * h)), min(w - 1, int(peak[0] * w))])


@dataclass(frozen=True)
class Calibration:
    """A logistic model from heatmap features to the probability that the peak lies on the object.

    Attributes:
        weights: One for each of `FEATURES`, none negative.
        bias: The constant of the logistic model.
        made_with: The settings it was fitted with, see `Grounder.heatmap_settings`.
        scenes: Number of scenes it was fitted on.
        seed: The seed of those scenes.

    Raises:
        CalibrationError: If the weights are too few, too many or negative.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    weights: tuple[Weight, ...]
    bias: Bias
    made_with: dict[str, Any]
    scenes: int
    seed: int

    def __post_init__(self) -> None:
        if len(self.weights) != len(FEATURES) or min(self.weights) < 0:
            raise CalibrationError(f"a calibration has {len(FEATURES)} weights, none negative, got {self.weights}")

    def __call__(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probabilities (...) of features (..., 5)."""
        return predict_logistic(features, self.weights, self.bias)

    def save(self, path: Path) -> None:
        """Write the calibration as JSON; see `save_fitted`."""
        save_fitted(self, path)


def calibration_path(source: str) -> Path:
    """Return where the calibration of a pipeline is stored.

    Args:
        source: A pipeline directory, which holds its own calibration, or a hub id, whose calibration lies in the user's
            cache.
    """
    if Path(source).expanduser().is_dir():
        return Path(source).expanduser() / FILE_NAME
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "refam" / source.replace("/", "--") / FILE_NAME


def load_calibration(path: Path) -> Calibration | None:
    """Load a calibration from its JSON file.

    Returns:
        The calibration, or None if there is no such file.

    Raises:
        CalibrationError: If the file is not a calibration.
    """
    return load_fitted(path, "calibration", Calibration)


def save_fitted(model: DataclassInstance, path: Path) -> None:
    """Write what was fitted as JSON, with the folders that lead to it; a link is replaced, and its target stays."""
    write_text(path, json.dumps(asdict(model), indent=1) + "\n")


def load_fitted(path: Path, what: str, kind: type[Fitted]) -> Fitted | None:
    """Load what `save_fitted` wrote.

    Args:
        path: The JSON file.
        what: What it holds, such as "calibration".
        kind: Its class, a dataclass.

    Returns:
        It, or None if there is no such file.

    Raises:
        CalibrationError: If the file holds something else, or cannot be read.
    """
    if not os.path.lexists(path):
        return None
    try:
        return parse_json(path.read_bytes(), kind)
    except (OSError, JsonError) as error:
        reason = error if isinstance(error, JsonError) else error.strerror
        raise CalibrationError(
            f"{path} is no {what} ({reason}); delete it, or make it anew with `refam eval calibrate`"
        ) from error


def fit_calibration(
    features: NDArray[np.float64], hits: NDArray[np.bool_], *, made_with: dict[str, Any], seed: int
) -> Calibration:
    """Fit a calibration on heatmaps whose peak is known to be right or wrong.

    Args:
        features: (n, 5), see `compute_features`.
        hits: (n,) whether the peak lies on the object.
        made_with: The settings of the heatmaps, see `Grounder.heatmap_settings`.
        seed: The seed of the scenes.

    Raises:
        ValueError: If the shapes do not match.
        CalibrationError: If too few peaks are right or too few are wrong, or if the features do not tell them apart.
    """
    if features.shape != (len(hits), len(FEATURES)):
        raise ValueError(f"features must be ({len(hits)}, {len(FEATURES)}), got {features.shape}")
    require_both_kinds(hits, ("heatmaps whose peak is on the object", "heatmaps whose peak is beside it"))
    weights, bias = fit_telling(features, hits, "heatmaps whose peak is right from those whose peak is wrong")
    return Calibration(weights, bias, made_with, len(hits), seed)


# --- what is enough to fit on -----------------------------------------------------------------------------------------


def require_both_kinds(hits: NDArray[np.bool_], kinds: tuple[str, str]) -> None:
    """Check that there are enough examples of either kind to fit on.

    Args:
        hits: (n,) the outcomes.
        kinds: What True and False are, in the plural.

    Raises:
        CalibrationError: If there are not.
    """
    counts = (int(np.count_nonzero(hits)), int(np.count_nonzero(~hits)))
    if min(counts) < LEAST_OF_EACH_KIND:
        raise CalibrationError(
            f"{counts[0]} {kinds[0]} and {counts[1]} {kinds[1]}: at least {LEAST_OF_EACH_KIND} of each are needed "
            "to fit on; take more"
        )


def fit_telling(features: NDArray[np.float64], hits: NDArray[np.bool_], what: str) -> tuple[tuple[float, ...], float]:
    """Fit a logistic model, see `fit_logistic`, that must tell hits from misses better than a constant does.

    Args:
        features: (n, k).
        hits: (n,) the outcomes.
        what: Of what it tells what, for the error.

    Raises:
        CalibrationError: If the features do not tell them apart.
    """
    weights, bias = fit_logistic(features, hits)
    fitted = predict_logistic(features, weights, bias)
    gain = _log_likelihood(fitted, hits) - _log_likelihood(np.full(len(hits), hits.mean()), hits)
    if not max(weights) > 0 or not 2 * gain > _LEAST_GAIN:
        raise CalibrationError(f"{len(hits)} examples do not tell {what}; take more, or check their labels")
    return weights, bias


def _log_likelihood(probabilities: NDArray[np.float64], hits: NDArray[np.bool_]) -> float:
    return float(np.log(np.clip(np.where(hits, probabilities, 1 - probabilities), 1e-12, 1)).sum())


# --- logistic regression with non-negative weights --------------------------------------------------------------------


def fit_logistic(features: NDArray[np.float64], hits: NDArray[np.bool_]) -> tuple[tuple[float, ...], float]:
    """Fit a logistic model by maximum likelihood, with weights that are not negative.

    A feature can therefore only raise the probability, never lower it. Source of the form: Platt, "Probabilistic
    outputs for support vector machines", 1999.

    Args:
        features: (n, k), larger is more reliable.
        hits: (n,) the outcomes; both True and False must occur.

    Returns:
        The k weights and the bias, so that P(hit) = expit(features @ weights + bias).

    Raises:
        ValueError: If the shapes do not match, or if all outcomes are the same.
        RuntimeError: If the optimiser does not converge.
    """
    if features.ndim != 2 or len(features) != len(hits):
        raise ValueError(f"features must be ({len(hits)}, k), got {features.shape}")
    if hits.all() or not hits.any():
        raise ValueError("all scenes ended alike: there is nothing to tell a hit from a miss by; take more scenes")
    y = hits.astype(np.float64)

    def loss_and_gradient(theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        z = features @ theta[:-1] + theta[-1]
        error = expit(z) - y
        loss = float(np.mean(np.logaddexp(0, z) - y * z)) + _RIDGE / len(y) * float((theta[:-1] ** 2).sum())
        gradient = np.append(features.T @ error / len(y) + 2 * _RIDGE / len(y) * theta[:-1], error.mean())
        return loss, gradient

    k = features.shape[1]
    bounds = [(0, None)] * k + [(None, None)]
    solution = minimize(loss_and_gradient, np.zeros(k + 1), jac=True, method="L-BFGS-B", bounds=bounds)
    if not solution.success:
        raise RuntimeError(f"the fit did not converge: {solution.message}")
    return tuple(round(float(w), 6) for w in solution.x[:-1]), round(float(solution.x[-1]), 6)


def predict_logistic(features: NDArray[np.float64], weights: tuple[float, ...], bias: float) -> NDArray[np.float64]:
    """Return the probabilities (...) of features (..., k) under a fitted logistic model."""
    return np.asarray(expit(np.asarray(features) @ np.array(weights) + bias))
