"""Several searches in one frame: what one finds is not what the others look for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from video.types import Heatmap

SHARE = 0.5  # of the others' maps: two searches for one thing take half of each other, which changes neither


def contrast_heatmaps(searches: Sequence[Sequence[Heatmap]], *, share: float = SHARE) -> list[list[Heatmap]]:
    """[search][frame]: from each map that `share` of the highest of the others' on the same frame is taken.

    Maps of one frame must have one shape. What is left is scaled to a maximum of 1 again, its peak found anew; a map of
    which nothing would be left stays as it is, and so does the confidence of all. Raises ValueError on frames or shapes
    that differ.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share must be in [0, 1), got {share}")
    if len({tuple((h.frame, h.grid.shape) for h in row) for row in searches}) > 1:
        raise ValueError("all searches must have maps of the same frames, of one shape each")
    return [
        [_less(own, [row[i] for k, row in enumerate(searches) if k != n], share) for i, own in enumerate(search)]
        for n, search in enumerate(searches)
    ]


def _less(own: Heatmap, others: Sequence[Heatmap], share: float) -> Heatmap:
    if not others:
        return own
    grid = np.clip(own.grid - share * np.max([other.grid for other in others], axis=0), 0, None)
    top = float(grid.max())
    if top <= 1e-6:
        return own
    y, x = np.unravel_index(int(grid.argmax()), grid.shape)
    # The old peak stays where it is still as high as any: it lies well inside, the largest cell often at a rim.
    h, w = grid.shape
    before = grid[min(int(own.peak[1] * h), h - 1), min(int(own.peak[0] * w), w - 1)]
    peak = own.peak if before >= 0.9 * top else (float(x + 0.5) / w, float(y + 0.5) / h)
    return replace(own, grid=np.asarray(grid / top, np.float32), peak=peak)
