"""What a tracker's score is worth: the IoU with the true mask that frames of such a score had on average."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

# Weight and bias by tracker, as `make bench-track ARGS=--score` fits them; Platt's form, see
# `refam.calibration.fit_logistic`.
_FITTED = {"memory": (0.432, 0.798)}
_EDGE = 0.01  # scores nearer to 0 or 1 are not told apart


def calibrate_scores(scores: NDArray[np.float64], tracker: str) -> NDArray[np.float64]:
    """(n,) scores of `Observation` -> (n,) in [0, 1]. Of a tracker that nothing was fitted for they stay as they are.

    0, which is nothing, and 1, which is a mask that was given, stay too.
    """
    if tracker not in _FITTED:
        return scores
    return np.where((scores > 0) & (scores < 1), told(scores, *_FITTED[tracker]), scores)


def told(scores: NDArray[np.float64], weight: float, bias: float) -> NDArray[np.float64]:
    """expit(weight * logit(score) + bias)."""
    return np.asarray(expit(weight * logit(np.clip(scores, _EDGE, 1 - _EDGE)) + bias))
