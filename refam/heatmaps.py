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


FACTOR = 4  # fine cells along one side of a token


def joint_bilateral_upsample(
    grid: NDArray[np.float32],
    image: NDArray[np.uint8],
    *,
    sigma_tokens: float = 2.5,
    sigma_colour: float = 0.15,
    radius: int = 5,
) -> NDArray[np.float32]:
    """(h, w) evidence -> (h * FACTOR, w * FACTOR) float32, following the edges of `image` (H, W, 3) uint8 RGB.

    Each fine cell takes the mean of the tokens around it, weighted by distance (sigma_tokens) and by how alike their
    colours are (sigma_colour, in CIELAB / 100). Attention is strongest at an object's centre, which for a ring is the
    hole: there the fine cell has the ground's colour, and the ground's tokens outvote the centre's.
    Source: Kopf et al., Joint Bilateral Upsampling, SIGGRAPH 2007.
    """
    h, w = grid.shape
    height, width, margin = h * FACTOR, w * FACTOR, radius * FACTOR
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    fine = np.ascontiguousarray(cv2.cvtColor(small, cv2.COLOR_RGB2LAB).transpose(2, 0, 1)) / 100
    # Tokens are spread over their fine cells, so that a neighbour at any distance is a slice, and nothing is gathered.
    coarse = np.stack([_spread(cv2.resize(c, (w, h), interpolation=cv2.INTER_AREA), radius) for c in fine])
    evidence, inside = _spread(grid.astype(np.float32), radius), _spread(np.ones((h, w), np.float32), radius)
    within = np.tile((np.arange(FACTOR) + 0.5) / FACTOR - 0.5, max(h, w))  # of a fine cell from its token's centre
    total, weight = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    for dy in range(-radius, radius + 1):
        rows = slice(margin + dy * FACTOR, margin + dy * FACTOR + height)
        near_y = np.exp(-((within[:height] - dy) ** 2) / (2 * sigma_tokens**2)).astype(np.float32)
        for dx in range(-radius, radius + 1):
            cell = rows, slice(margin + dx * FACTOR, margin + dx * FACTOR + width)
            near_x = np.exp(-((within[:width] - dx) ** 2) / (2 * sigma_tokens**2)).astype(np.float32)
            difference = fine - coarse[:, *cell]
            share = np.einsum("cyx,cyx->yx", difference, difference)
            share *= -1 / (2 * sigma_colour**2)
            np.exp(share, out=share)
            share += 1e-6  # keeps a cell that is like nothing around it at the plain spatial mean
            share *= near_y[:, None]
            share *= near_x
            share *= inside[cell]
            weight += share
            share *= evidence[cell]
            total += share
    return total / weight


def _spread(grid: NDArray[np.float32], radius: int) -> NDArray[np.float32]:
    """(h, w) tokens -> fine cells, with `radius` tokens of zeros around."""
    return np.pad(grid, radius).repeat(FACTOR, 0).repeat(FACTOR, 1)
