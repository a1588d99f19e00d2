"""Foreground and background prototypes: label each token by what it resembles, not by how much it is attended to.

Tokens with most heat are seeds of the foreground, those with least heat of the background. The mean feature of either
is a prototype, and each token belongs to the nearer one by cosine. Features are what the transformer's own blocks pass
on. Source: Early Semantic Grounding (arXiv 2605.13122), which segments editing models' images so.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_EPSILON = 1e-9


def label_tokens(heat: NDArray[np.float32], features: NDArray[np.float32], *, share: float) -> NDArray[np.float32]:
    """Compute how much more each token resembles the foreground than the background.

    The mean over all tokens is taken off their features first, since what all share would make every cosine nearly 1.

    Args:
        heat: (h, w) the summed maps of the expression.
        features: (C, h, w) features of the tokens.
        share: The share of tokens that are seeds, of either kind, in (0, 0.5].

    Returns:
        (h, w) float32, the difference of the two cosines, in [-2, 2]: positive in the foreground.

    Raises:
        ValueError: If the shapes do not match.
    """
    if features.ndim != 3 or features.shape[1:] != heat.shape:
        raise ValueError(f"features must be (C, {heat.shape[0]}, {heat.shape[1]}), got {features.shape}")
    tokens = features.reshape(len(features), -1).T.astype(np.float64)
    tokens = tokens - tokens.mean(0)
    tokens /= np.linalg.norm(tokens, axis=1, keepdims=True) + _EPSILON
    order = np.argsort(heat, axis=None, kind="stable")
    seeds = max(1, math.ceil(share * heat.size))
    prototypes = np.stack([tokens[order[-seeds:]].mean(0), tokens[order[:seeds]].mean(0)])
    prototypes /= np.linalg.norm(prototypes, axis=1, keepdims=True) + _EPSILON
    foreground, background = prototypes @ tokens.T
    return (foreground - background).reshape(heat.shape).astype(np.float32)
