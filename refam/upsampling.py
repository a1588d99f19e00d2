"""A heatmap of tokens, brought to the picture's own edges."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

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
