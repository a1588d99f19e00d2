"""From token maps to one heatmap: sum over words, normalise, find the peak; and edge-aware upsampling."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from video.types import Heatmap

UPSAMPLING_FACTOR = 4  # fine cells along one side of a token
_PEAK_FACTOR = 4  # the peak is searched for on a grid this many times finer
_MODE_SHARE = 0.5  # regions above this share of the maximum count as modes


def sum_word_maps(
    maps: NDArray[np.float32], words: Sequence[Sequence[int]], *, balanced: bool = False, smooth_tokens: float = 0.0
) -> NDArray[np.float32]:
    """Sum the token maps of the content words.

    The paper sums attention as it is.

    Args:
        maps: (T, h, w) attention to each token.
        words: For each word the positions of its tokens.
        balanced: Count each word by its attention and by its share of the attention to all T tokens (magnets and stop
            words included), each standardised to mean 0 and variance 1. A word with little attention ("striped") then
            weighs as much as one with a lot.
        smooth_tokens: Sigma of a Gaussian over places, in tokens. It pools the attention of a whole object, so that one
            loud token of another object does not win.

    Returns:
        (h, w) float32.
    """
    total = np.zeros(maps.shape[1:], np.float32)
    attention = maps.sum(0) + 1e-9 if balanced else None
    for positions in words:
        word = maps[list(positions)].sum(0)
        total += word if attention is None else _standardise(word) + _standardise(word / attention)
    if smooth_tokens > 0:
        total = np.asarray(cv2.GaussianBlur(total, (0, 0), smooth_tokens), np.float32)
    return total


def _standardise(grid: NDArray[np.float32]) -> NDArray[np.float32]:
    return (grid - grid.mean()) / (grid.std() + 1e-9)


def normalise(grid: NDArray[np.floating]) -> NDArray[np.float32]:
    """Shift and scale a grid to [0, 1].

    The median becomes 0, since most of a frame is background. A flat grid becomes all zero.
    """
    grid = grid.astype(np.float32)
    grid = np.maximum(grid - np.median(grid), 0)
    top = float(grid.max())
    return grid / top if top > 1e-12 else np.zeros_like(grid)


def find_peak(grid: NDArray[np.float32]) -> tuple[float, float]:
    """Return the normalised (x, y) of the maximum, found between cells by bicubic interpolation."""
    fine = cv2.resize(grid, None, fx=_PEAK_FACTOR, fy=_PEAK_FACTOR, interpolation=cv2.INTER_CUBIC)
    row, column = np.unravel_index(int(fine.argmax()), fine.shape)
    return (float(column) + 0.5) / fine.shape[1], (float(row) + 0.5) / fine.shape[0]


def measure_contrast(grid: NDArray[np.float32]) -> float:
    """Measure how much the strongest mode stands out from the next one.

    Modes are the connected regions above half of the maximum. Where there is only one, it is compared with the highest
    value outside it.

    Args:
        grid: (h, w) non-negative.

    Returns:
        1 - second / first in [0, 1]; 0 for a grid of zeros.
    """
    if float(grid.max()) <= 0:
        return 0.0
    n, labels = cv2.connectedComponents((grid >= _MODE_SHARE * grid.max()).astype(np.uint8))
    peaks = sorted((float(grid[labels == i].max()) for i in range(1, n)), reverse=True)
    outside = grid[labels == 0]
    second = peaks[1] if len(peaks) > 1 else float(outside.max()) if outside.size else 0.0
    return float(np.clip(1 - second / peaks[0], 0, 1))


def make_heatmap(frame: int, grid: NDArray[np.floating], *, smooth_peak: float = 0.0) -> Heatmap:
    """Make a Heatmap, whose confidence is the contrast of the grid.

    Args:
        frame: Index of the frame.
        grid: (h, w) summed attention.
        smooth_peak: Sigma, in cells, of a Gaussian that is applied before the peak is searched for. A map that follows
            edges is nearly level inside an object, and its largest cell is often at the rim, while a point prompt is
            better placed some way inside.
    """
    unit = normalise(grid)
    for_peak = cv2.GaussianBlur(unit, (0, 0), smooth_peak) if smooth_peak > 0 else unit
    return Heatmap(frame=frame, grid=unit, peak=find_peak(np.asarray(for_peak)), confidence=measure_contrast(unit))


def joint_bilateral_upsample(
    grid: NDArray[np.float32],
    image: NDArray[np.uint8],
    *,
    sigma_tokens: float = 2.5,
    sigma_colour: float = 0.15,
    radius: int = 5,
) -> NDArray[np.float32]:
    """Upsample a map of tokens along the edges of the image.

    Each fine cell is the mean of the tokens around it, weighted by distance and by similarity of colour. Attention is
    strongest at an object's centre, which for a ring is the hole: there the fine cell has the background's colour, and
    the tokens of the background outvote those of the centre.
    Source: Kopf et al., "Joint Bilateral Upsampling", SIGGRAPH 2007.

    Args:
        grid: (h, w) of tokens.
        image: (H, W, 3) uint8 RGB.
        sigma_tokens: Standard deviation of the distance, in tokens.
        sigma_colour: Standard deviation of the difference in colour, in CIELAB / 100.
        radius: In tokens, of the neighbourhood.

    Returns:
        (h * UPSAMPLING_FACTOR, w * UPSAMPLING_FACTOR) float32.
    """
    factor = UPSAMPLING_FACTOR
    h, w = grid.shape
    height, width, margin = h * factor, w * factor, radius * factor
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    fine = np.ascontiguousarray(cv2.cvtColor(small, cv2.COLOR_RGB2LAB).transpose(2, 0, 1)) / 100
    # Tokens are repeated over their fine cells, so that a neighbour at any distance is a slice and nothing is gathered.
    coarse = np.stack([_repeat_padded(cv2.resize(c, (w, h), interpolation=cv2.INTER_AREA), radius) for c in fine])
    values, inside = (
        _repeat_padded(grid.astype(np.float32), radius),
        _repeat_padded(np.ones((h, w), np.float32), radius),
    )
    offset = np.tile((np.arange(factor) + 0.5) / factor - 0.5, max(h, w))  # of a fine cell from its token's centre
    total, weight = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    for dy in range(-radius, radius + 1):
        rows = slice(margin + dy * factor, margin + dy * factor + height)
        near_y = np.exp(-((offset[:height] - dy) ** 2) / (2 * sigma_tokens**2)).astype(np.float32)
        for dx in range(-radius, radius + 1):
            cell = rows, slice(margin + dx * factor, margin + dx * factor + width)
            near_x = np.exp(-((offset[:width] - dx) ** 2) / (2 * sigma_tokens**2)).astype(np.float32)
            difference = fine - coarse[:, *cell]
            share = np.einsum("cyx,cyx->yx", difference, difference)
            share *= -1 / (2 * sigma_colour**2)
            np.exp(share, out=share)
            share += 1e-6  # a cell that resembles nothing around it gets the plain spatial mean
            share *= near_y[:, None]
            share *= near_x
            share *= inside[cell]
            weight += share
            share *= values[cell]
            total += share
    return total / weight


def _repeat_padded(grid: NDArray[np.float32], radius: int) -> NDArray[np.float32]:
    """(h, w) tokens -> fine cells, with a margin of `radius` tokens of zeros."""
    return np.pad(grid, radius).repeat(UPSAMPLING_FACTOR, 0).repeat(UPSAMPLING_FACTOR, 1)
