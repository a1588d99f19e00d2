"""A logistic model whose signs can only speak for something, never against it.

Source of the form: Platt, "Probabilistic outputs for support vector machines", 1999.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

_RIDGE = 0.02  # keeps the weights finite where the cases are separable


def fit(signs: NDArray[np.float64], hits: NDArray[np.bool_]) -> tuple[tuple[float, ...], float]:
    """Maximum likelihood: (weights, bias), weights not negative, so that P = expit(signs @ weights + bias).

    signs: (n, k) larger is surer; hits: (n,) bool, both kinds among them. Raises ValueError where they are not.
    """
    if signs.ndim != 2 or len(signs) != len(hits):
        raise ValueError(f"signs must be ({len(hits)}, k), got {signs.shape}")
    if hits.all() or not hits.any():
        raise ValueError("all scenes ended alike: there is nothing to tell a hit from a miss by; take more scenes")
    y = hits.astype(np.float64)

    def loss(theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        z = signs @ theta[:-1] + theta[-1]
        wrong = expit(z) - y
        value = float(np.mean(np.logaddexp(0, z) - y * z)) + _RIDGE / len(y) * float((theta[:-1] ** 2).sum())
        slope = np.append(signs.T @ wrong / len(y) + 2 * _RIDGE / len(y) * theta[:-1], wrong.mean())
        return value, slope

    k = signs.shape[1]
    found = minimize(loss, np.zeros(k + 1), jac=True, method="L-BFGS-B", bounds=[(0, None)] * k + [(None, None)])
    if not found.success:
        raise RuntimeError(f"the fit did not converge: {found.message}")
    return tuple(round(float(w), 6) for w in found.x[:-1]), round(float(found.x[-1]), 6)


def probability(signs: NDArray[np.float64], weights: tuple[float, ...], bias: float) -> NDArray[np.float64]:
    """(..., k) signs -> (...) in [0, 1]."""
    return np.asarray(expit(np.asarray(signs) @ np.array(weights) + bias))
