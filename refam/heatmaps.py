"""Token maps -> one heatmap."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from video.types import Heatmap

_FINE = 4  # the peak is looked for on a grid this many times finer
_MODE = 0.5  # places above this share of the maximum count as modes


def evidence(
    maps: NDArray[np.float32], words: Sequence[Sequence[int]], *, balanced: bool = False, smooth_tokens: float = 0.0
) -> NDArray[np.float32]:
    """Token maps (T, h, w) -> (h, w): the sum over the tokens of `words`, each word a list of token positions.

    The paper sums attention as it is. balanced: each word counts twice, by its attention and by its share of the
    attention to all T tokens (magnets and stop words included), both brought to mean 0 and variance 1 first: so a word
    with little attention ("striped") weighs as much as one with a lot. smooth_tokens: sigma of a Gaussian over places,
    in tokens; pools the evidence of a whole object, so that one loud token of another does not win.
    """
    total = np.zeros(maps.shape[1:], np.float32)
    attention = maps.sum(0) + 1e-9 if balanced else None
    for positions in words:
        word = maps[list(positions)].sum(0)
        total += word if attention is None else _standard(word) + _standard(word / attention)
    if smooth_tokens > 0:
        total = np.asarray(cv2.GaussianBlur(total, (0, 0), smooth_tokens), np.float32)
    return total


def _standard(grid: NDArray[np.float32]) -> NDArray[np.float32]:
    return (grid - grid.mean()) / (grid.std() + 1e-9)


def normalise(grid: NDArray[np.floating]) -> NDArray[np.float32]:
    """Shift and scale to [0, 1]; the median becomes 0, since most of a frame is not meant. All zero where flat."""
    grid = grid.astype(np.float32)
    grid = np.maximum(grid - np.median(grid), 0)
    top = float(grid.max())
    return grid / top if top > 1e-12 else np.zeros_like(grid)


def peak_of(grid: NDArray[np.float32]) -> tuple[float, float]:
    """Normalised (x, y) of the maximum, found between cells by bicubic interpolation."""
    fine = cv2.resize(grid, None, fx=_FINE, fy=_FINE, interpolation=cv2.INTER_CUBIC)
    row, column = np.unravel_index(int(fine.argmax()), fine.shape)
    return (float(column) + 0.5) / fine.shape[1], (float(row) + 0.5) / fine.shape[0]


def confidence_of(grid: NDArray[np.float32]) -> float:
    """How much stronger the strongest mode is than the next one: 1 - second / first, 0 for a flat map.

    Modes are the separate regions above half the maximum; a single one says 1 - half at least.
    """
    if float(grid.max()) <= 0:
        return 0.0
    n, labels = cv2.connectedComponents((grid >= _MODE * grid.max()).astype(np.uint8))
    peaks = sorted((float(grid[labels == i].max()) for i in range(1, n)), reverse=True)
    outside = grid[labels == 0]
    second = peaks[1] if len(peaks) > 1 else float(outside.max()) if outside.size else 0.0
    return float(np.clip(1 - second / peaks[0], 0, 1))


def make_heatmap(frame: int, grid: NDArray[np.floating], *, smooth_peak: float = 0.0) -> Heatmap:
    """A checked Heatmap from any non-negative (h, w) evidence.

    smooth_peak: sigma in cells of a Gaussian before the peak is looked for. A map that follows edges is about level
    inside an object, and its largest cell is often at the rim: a point prompt is better off some way inside.
    """
    unit = normalise(grid)
    for_peak = cv2.GaussianBlur(unit, (0, 0), smooth_peak) if smooth_peak > 0 else unit
    return Heatmap(frame=frame, grid=unit, peak=peak_of(np.asarray(for_peak)), confidence=confidence_of(unit))
