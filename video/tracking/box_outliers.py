"""Boxes that jump away for one frame and come back, as a mask does that fails once: put back between their neighbours.

Such a frame is wrong to look at and costs keyframes, for nothing between two keyframes can follow it.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from video.masks import box_iou


def remove_outlier_boxes(
    boxes: NDArray[np.float64],
    visible: NDArray[np.bool_],
    times: NDArray[np.float64],
    *,
    tolerance_iou: float = 0.9,
    keep: Collection[int] = (),
) -> NDArray[np.float64]:
    """The boxes (n, 4) xyxy with those of single frames that everything around them contradicts put between the
    neighbours; all others are the same to the bit.

    visible: (n,) bool. times: (n,) seconds, strictly ascending. keep: rows that are never changed.

    A box is contradicted where it is further than the tolerance (IoU) from what lies between its two neighbours, from
    where the two frames before were going and from where the two behind came from, while these three agree. So what
    turns about, begins or stops to move stays as it is, and so do the first and last two frames of each appearance.
    """
    n = len(boxes)
    if boxes.shape != (n, 4) or visible.shape != (n,) or times.shape != (n,):
        raise ValueError(f"(n, 4), (n,) and (n,) are needed, got {boxes.shape}, {visible.shape}, {times.shape}")
    out = boxes.copy()
    if n < 5:
        return out
    i = np.arange(2, n - 2)
    before = _on_line(boxes, times, i, -2, -1)
    behind = _on_line(boxes, times, i, 1, 2)
    between = _on_line(boxes, times, i, -1, 1)
    here = boxes[2:-2]
    seen = np.all([visible[i + k] for k in range(-2, 3)], axis=0)
    apart = np.all([box_iou(here, said) < tolerance_iou for said in (before, behind, between)], axis=0)
    agreed = (box_iou(before, between) >= tolerance_iou) & (box_iou(behind, between) >= tolerance_iou)
    jumps = seen & apart & agreed & ~np.isin(i, list(keep))
    out[2:-2][jumps] = between[jumps]
    return out


def _on_line(
    boxes: NDArray[np.float64], times: NDArray[np.float64], i: NDArray[np.int64], a: int, b: int
) -> NDArray[np.float64]:
    """(len(i), 4): where rows i would be on the straight line through rows i + a and i + b."""
    share = ((times[i] - times[i + a]) / (times[i + b] - times[i + a]))[:, None]
    line = boxes[i + a] + share * (boxes[i + b] - boxes[i + a])
    return np.concatenate([line[:, :2], np.maximum(line[:, 2:], line[:, :2])], 1)
