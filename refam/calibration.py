"""Calibrated confidence: of all heatmaps with a confidence of 0.8, about 80 % have their peak on the object.

A logistic model of a few features of a heatmap, fitted on scenes with known masks (`refam eval calibrate`) and stored
as a small JSON file beside the model. A calibration is valid only for the weights and the settings it was fitted with,
and for pictures like those it was fitted on. Without one, the confidence is the raw contrast of the heatmap.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from refam.heatmaps import normalise
from video.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Fitted = TypeVar("Fitted")
FEATURES = ("contrast", "compactness", "order", "draws", "words")
"""The names of the features, in the order of `compute_features`."""
FILE_NAME = "refam_calibration.json"
_RIDGE = 0.02  # keeps the weights finite when the examples are separable


class CalibrationError(UserError):
    """A calibration file cannot be used; the message says which file and why."""


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

    weights: tuple[float, ...]
    bias: float
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
    return load_fitted(
        path, "calibration", lambda fields: Calibration(**{**fields, "weights": tuple(map(float, fields["weights"]))})
    )


def save_fitted(model: DataclassInstance, path: Path) -> None:
    """Write what was fitted as JSON, with the folders that lead to it; a link is replaced, and its target stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(asdict(model), indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def load_fitted(path: Path, what: str, build: Callable[[dict[str, Any]], Fitted]) -> Fitted | None:
    """Load what `save_fitted` wrote.

    Args:
        path: The JSON file.
        what: What it holds, such as "calibration".
        build: Makes it of the file's fields.

    Returns:
        It, or None if there is no such file.

    Raises:
        CalibrationError: If the file holds something else.
    """
    if not path.is_file():
        return None
    try:
        return build(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CalibrationError(
            f"{path} is no {what} ({error}); delete it, or make it anew with `refam eval calibrate`"
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
        ValueError: If the shapes do not match, or if all peaks are right or all are wrong.
    """
    if features.shape != (len(hits), len(FEATURES)):
        raise ValueError(f"features must be ({len(hits)}, {len(FEATURES)}), got {features.shape}")
    weights, bias = fit_logistic(features, hits)
    return Calibration(weights, bias, made_with, len(hits), seed)


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
