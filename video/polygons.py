"""Masks as polygons: (n, 2) xy in pixels, a pixel i spanning i to i + 1.

A polygon has no holes: a slit without width joins each hole to the outline.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

Mask = NDArray[np.bool_]
Points = NDArray[np.float64]
_FINE = 4  # contours run through pixel centres: on a grid so much finer they run along the pixels' edges
_TOLERANCES_PX = (
    4.0,
    3.0,
    2.0,
    1.5,
    1.2,
    1.0,
    0.85,
    0.7,
    0.6,
    0.5,
    0.4,
)  # of a polygon's sides; the first that is good enough
# With 0.98 a polygon has three times the vertices on drawn objects, and 107 for 62 on real ones: a person is to move
# them (`make bench-keyframes`).
_POLYGON_IOU = 0.96
_LEAST_PART = 0.01  # of the object's area


def polygons_of(mask: Mask) -> list[Points]:
    """A mask (H, W) -> (n, 2) xy in pixels, one polygon a part, largest first; a pixel i spans i to i + 1."""
    n, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    areas = stats[:, cv2.CC_STAT_AREA]
    order = sorted(range(1, n), key=lambda i: -int(areas[i]))
    return [_polygon(parts == i) for i in order if areas[i] >= _LEAST_PART * mask.sum()]


def filled(points: Points, size: tuple[int, int]) -> Mask:
    """(H, W) of what a closed line of (n, 2) xy in pixels encloses; nothing below three. size: (width, height)."""
    w, h = size
    if len(points) < 3:
        return np.zeros((h, w), np.bool_)
    line = np.asarray(points, np.float64).ravel().tolist()
    return np.asarray(coco.decode(coco.merge(coco.frPyObjects([line], h, w))) > 0, np.bool_)


def _polygon(part: Mask) -> Points:
    fine: NDArray[np.uint8] = part.astype(np.uint8).repeat(_FINE, axis=0).repeat(_FINE, axis=1)
    contours, tree = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    outline = max((i for i in range(len(contours)) if tree[0][i][3] < 0), key=lambda i: cv2.contourArea(contours[i]))
    holes = [contours[i] for i in range(len(contours)) if tree[0][i][3] == outline]
    best: Points = np.empty((0, 2))
    for tolerance_px in _TOLERANCES_PX:
        best = _joined(_simple(contours[outline], tolerance_px), [_simple(hole, tolerance_px) for hole in holes])
        drawn = cv2.fillPoly(np.zeros_like(fine), [np.round(best).astype(np.int32)], 1) > 0
        both, either = (drawn & (fine > 0)).sum(), (drawn | (fine > 0)).sum()
        if len(best) >= 3 and both >= _POLYGON_IOU * either:
            break
    if len(best) < 3:  # a line or a dot of pixels: its box
        y, x = np.nonzero(part)
        x0, y0, x1, y1 = x.min(), y.min(), x.max() + 1, y.max() + 1
        return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float64)
    return (best + 0.5) / _FINE


def _simple(contour: NDArray[Any], tolerance_px: float) -> Points:
    return cv2.approxPolyDP(contour, tolerance_px * _FINE, True)[:, 0].astype(np.float64)


def _joined(outline: Points, holes: Sequence[Points]) -> Points:
    """One closed line round the outline and all holes, nearest first, there and back over a slit to each."""
    left = [hole for hole in holes if len(hole) >= 3]
    line = outline
    while left:
        gaps = [np.linalg.norm(line[:, None] - hole[None], axis=-1) for hole in left]
        nearest = min(range(len(left)), key=lambda k: float(gaps[k].min()))
        hole, gap = left.pop(nearest), gaps[nearest]
        a, b = np.unravel_index(int(gap.argmin()), gap.shape)
        way = np.concatenate([hole[b:], hole[: b + 1]])
        line = np.concatenate([line[: a + 1], way, line[a:]])
    return line
