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
    lab = cv2.cvtColor(
        cv2.resize(image, (w * FACTOR, h * FACTOR), interpolation=cv2.INTER_AREA).astype(np.float32) / 255,
        cv2.COLOR_RGB2LAB,
    )
    fine = lab / 100
    coarse = np.pad(
        cv2.resize(fine, (w, h), interpolation=cv2.INTER_AREA), ((radius, radius), (radius, radius), (0, 0))
    )
    evidence, inside = (np.pad(a, radius) for a in (grid, np.ones((h, w), np.float32)))
    y, x = ((np.arange(n * FACTOR) + 0.5) / FACTOR - 0.5 for n in (h, w))
    row, column = np.rint(y).astype(int), np.rint(x).astype(int)
    total, weight = np.zeros(fine.shape[:2]), np.zeros(fine.shape[:2])
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            cell = np.ix_(row + dy + radius, column + dx + radius)
            distance = (y - row - dy)[:, None] ** 2 + (x - column - dx)[None, :] ** 2
            contrast = ((fine - coarse[cell]) ** 2).sum(-1)
            # The small constant keeps a cell that is like nothing around it at the plain spatial mean.
            near = np.exp(-distance / (2 * sigma_tokens**2)) * inside[cell]
            share = near * (np.exp(-contrast / (2 * sigma_colour**2)) + 1e-6)
            total += share * evidence[cell]
            weight += share
    return (total / weight).astype(np.float32)
