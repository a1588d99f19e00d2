"""Contrast: what a second text draws is subtracted from what the expression draws.

The second text says what is not meant: "the background", and other things that are known to be in the scene. Places
that attend to any text alike, such as borders and bright spots, then cancel out.
Source: the contrastive object-background fusion of DecAF (arXiv 2510.19592).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refam.heatmaps import normalise
from refam.text.expression import Expression

_LEAST_LEFT = 1e-5  # of the maximum: what rounding leaves of two equal maps


@dataclass(frozen=True, eq=False)
class ContrastMaps:
    """How much each place of one frame attends to the second text.

    Attributes:
        expression: The second text, whose T tokens the maps are of.
        maps: (T, h, w) float32 probabilities, the mean over noise samples.
    """

    expression: Expression
    maps: NDArray[np.float32]


def join_texts(texts: Sequence[str]) -> str:
    """Join the things that are not meant to one text: "the background and the car and the cat"."""
    return " and ".join(texts)


def subtract_contrast(heat: NDArray[np.float32], other: NDArray[np.float32], strength: float) -> NDArray[np.float32]:
    """Subtract a map of what is not meant from a map of what is.

    Each is scaled to [0, 1] first, with its median at 0, since a text of many words draws more attention.

    Args:
        heat: (h, w) the summed maps of the expression.
        other: (h, w) the summed maps of the second text.
        strength: What `other` is multiplied by; 0 subtracts nothing.

    Returns:
        (h, w) float32 in [0, 1], not scaled again: two maps that are equal leave zeros at a strength of 1.

    Raises:
        ValueError: If the shapes differ.
    """
    if heat.shape != other.shape:
        raise ValueError(f"maps of one picture have one shape, got {heat.shape} and {other.shape}")
    left = normalise(heat) - np.float32(strength) * normalise(other)
    return np.where(left > _LEAST_LEFT, left, np.float32(0))
