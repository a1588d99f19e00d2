"""RefAM's spatial bias: words such as "left" weigh the heatmap by position."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_SIDES: dict[str, tuple[float, float]] = {
    "left": (-1.0, 0.0),
    "leftmost": (-1.0, 0.0),
    "right": (1.0, 0.0),
    "rightmost": (1.0, 0.0),
    "top": (0.0, -1.0),
    "upper": (0.0, -1.0),
    "topmost": (0.0, -1.0),
    "bottom": (0.0, 1.0),
    "lower": (0.0, 1.0),
}
_MIDDLE = frozenset({"middle", "center", "centre", "central"})
PLACE_WORDS = frozenset(_SIDES) | _MIDDLE
FLOOR = 0.05  # no place is ruled out: the words' own evidence can still win


def spatial_prior(words: Iterable[str], shape: tuple[int, int]) -> NDArray[np.float32]:
    """(h, w) float32 in [FLOOR, 1]: a ramp towards each side that is named, a bump in the middle; 1 without such words.

    "top left" multiplies both ramps.
    """
    h, w = shape
    y = (np.arange(h, dtype=np.float32)[:, None] + 0.5) / h
    x = (np.arange(w, dtype=np.float32)[None, :] + 0.5) / w
    prior = np.ones((h, w), np.float32)
    for word in words:
        if word in _SIDES:
            dx, dy = _SIDES[word]
            ramp = 0.5 + dx * (x - 0.5) + dy * (y - 0.5)
        elif word in _MIDDLE:
            ramp = 1 - 2 * np.maximum(np.abs(x - 0.5), np.abs(y - 0.5))
        else:
            continue
        prior *= FLOOR + (1 - FLOOR) * ramp
    return prior
