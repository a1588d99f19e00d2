"""Masks as polygons, and outlines of an object through time whose vertices stay at the same places of the object.

Between two keyframes of an outline each vertex is interpolated linearly. Vertices that slid along the contour or
changed places would tear the outline apart. So the vertices of the next frame are those that fit its contour best and
have moved least: a sum of both is minimised by dynamic programming round the contour (after J. C. Perez and E. Vidal,
"Optimum polygonal approximation of digitized curves", 1994, with the movement added).

Points are (n, 2) xy in pixels; a pixel i spans i to i + 1. An outline is closed, and its signed area is positive. A
polygon has no holes: a slit without width joins each hole to the outline.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from pycocotools import mask as coco

from video.keyframes import fewest_in_band
from video.masks import Mask

Points = NDArray[np.float64]
_SAMPLES = 128  # points of a contour among which vertices are chosen
# Cost of a square pixel of movement, relative to one of distance from the contour. Chosen among 0.01 to 0.2 on real and
# drawn masks (`make bench-keyframes`): less fits better, more needs fewer keyframes.
_MOVEMENT_COST = 0.02
_START_OFFSETS = np.array([-6, -3, -1, 0, 1, 3, 6])  # tried places of the first vertex, in samples from the nearest
_COUNTS = (4, 6, 8, 12, 16, 24, 32, 48)
_MIN_OUTLINE_IOU = 0.96  # of an outline with its mask, as for the polygons of single images
_SMALL_PX = 128  # masks of smaller boxes are upsampled more
_WIDEST_BAND = 0.3  # of the square root of the outline's area
_BAND_FACTOR = 0.6  # by which a band is narrowed from one trial to the next
_NARROWEST_BAND_PX = 0.1  # a narrower band has no width at all
_UPSAMPLING = 4  # contours run through pixel centres; on a finer grid they run along the pixels' edges
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
# With 0.98 a polygon has three times as many vertices on drawn objects, and 107 instead of 62 on real ones, which a
# person has to move (`make bench-keyframes`).
_POLYGON_IOU = 0.96
_MIN_PART_AREA = 0.01  # of the object's area


def extract_contour(mask: Mask) -> tuple[Points, float]:
    """Return the outer contour of a mask's largest part.

    Args:
        mask: (H, W) bool. Holes and other parts are left out, since an outline is one line.

    Returns:
        128 points at equal distances and the part's share of the mask's area. An empty mask has no points and share 0.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return np.empty((0, 2)), 0.0
    top, left = int(rows[0]), int(columns[0])
    crop = mask[top : rows[-1] + 1, left : columns[-1] + 1].astype(np.uint8)
    fine = 8 if max(crop.shape) < _SMALL_PX else _UPSAMPLING
    crop = np.pad(crop.repeat(fine, axis=0).repeat(fine, axis=1), 1)
    contours, _ = cv2.findContours(crop, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    areas = [cv2.contourArea(line) for line in contours]
    line = contours[int(np.argmax(areas))][:, 0].astype(np.float64)
    points = (line - 0.5) / fine + [left, top]  # from the pixel centres of the padded, finer grid
    return _resample(points, _SAMPLES), max(areas) / max(sum(areas), 1e-9)


def fit_outline(contour: Points, count: int) -> Points:
    """Return the `count` vertices on a contour of `extract_contour` whose sides fit it best."""
    first = int(np.linalg.norm(contour - contour.mean(axis=0), axis=1).argmax())
    return _best_vertices(contour, np.array([first]), np.zeros((count, len(contour))))


def move_outline(outline: Points, contour: Points) -> Points:
    """Return an outline, (n, 2), on the next frame's contour: the same vertices in the same order."""
    centre, contour_centre = _centre(outline), _centre(contour)
    scale = np.sqrt(max(abs(_area(contour)), 1e-6) / max(abs(_area(outline)), 1e-6))
    targets = (outline - centre) * np.clip(scale, 0.5, 2.0) + contour_centre
    distances = ((contour[None] - targets[:, None]) ** 2).sum(axis=2)
    starts = (int(distances[0].argmin()) + _START_OFFSETS) % len(contour)
    return _best_vertices(contour, starts, distances * (_MOVEMENT_COST * len(contour) / len(outline)))


def count_vertices(contours: Sequence[Points], *, least: int = 3, most: int = 48) -> int:
    """Return the fewest vertices, from `least` to `most`, with which outlines fit all these contours."""
    for count in sorted({least, *(c for c in _COUNTS if least < c < most)}):
        if all(outline_iou(fit_outline(c, count), c) >= _MIN_OUTLINE_IOU for c in contours):
            return count
    return most


def select_outline_keyframes(
    outlines: NDArray[np.float64], positions: ArrayLike | None = None, *, tolerance_iou: float, must: Sequence[int] = ()
) -> list[int]:
    """Choose the rows to keep so that the outlines between them can be interpolated linearly.

    Each row has a band, of one width for all of its vertices, and the fewest rows are chosen whose lines stay within
    the bands. Rows whose IoU falls short get a narrower band, until none does.

    Args:
        outlines: (n, vertices, 2).
        positions: (n,) strictly ascending, the scale of the interpolation; the rows' numbers by default.
        tolerance_iou: The least IoU of an interpolated outline with the row's own.
        must: Rows that are kept in any case.

    Returns:
        The rows, ascending, the first and the last among them.
    """
    n = len(outlines)
    values = outlines.reshape(n, -1)
    band = _WIDEST_BAND * np.sqrt([abs(_area(line)) for line in outlines])
    steps = np.arange(n, dtype=np.float64) if positions is None else np.asarray(positions, np.float64)
    stops = sorted({0, n - 1, *must})
    while True:
        kept = [0]
        for a, b in itertools.pairwise(stops):
            part = slice(a, b + 1)
            kept += [a + row for row in fewest_in_band(values[part], steps[part], band[part])[1:]]
        between = np.stack([np.interp(steps, steps[kept], values[kept, d]) for d in range(values.shape[1])], axis=1)
        drawn = between.reshape(outlines.shape)
        bad = np.array([outline_iou(a, b) < tolerance_iou for a, b in zip(drawn, outlines, strict=True)])
        if not bad.any():
            return kept
        band = np.where(bad, np.where(band < _NARROWEST_BAND_PX, 0.0, _BAND_FACTOR * band), band)


def outline_iou(a: Points, b: Points) -> float:
    """Return the IoU of the areas of two outlines, on a grid of 256 pixels around both; 1 where neither has an area."""
    both = np.concatenate([a, b])
    low, scale = both.min(axis=0), 255 * 16 / max(float(np.ptp(both, axis=0).max()), 1e-9)
    drawn = []
    for line in (a, b):
        points = np.round((line - low) * scale).astype(np.int32)
        drawn.append(cv2.fillPoly(np.zeros((256, 256), np.uint8), [points], 1, shift=4) > 0)
    either = np.count_nonzero(drawn[0] | drawn[1])
    return 1.0 if not either else float(np.count_nonzero(drawn[0] & drawn[1]) / either)


def _best_vertices(contour: Points, starts: NDArray[np.int64], extra: NDArray[np.float64]) -> Points:
    """Return the points of a contour (m, 2) that are the best vertices in order; the first one is among `starts`.

    extra: (n, m), the cost of vertex i at point j, in addition to the squared distances of all points from the sides.
    """
    count, m = extra.shape
    off = _squared_distances(contour)
    steps = np.arange(m)
    ahead = steps[None, :] - steps[:, None]
    found: tuple[float, list[int]] = (np.inf, [])
    for start in dict.fromkeys(starts.tolist()):
        around = (steps + start) % m
        sides = np.where(ahead > 0, off[around[:, None], ahead % m], np.inf)
        costs = extra[:, around]
        total = np.full(m, np.inf)
        total[0] = costs[0, 0]
        came = np.zeros((count, m), np.int64)
        for i in range(1, count):
            sums = total[:, None] + sides
            came[i] = sums.argmin(axis=0)
            total = sums[came[i], steps] + costs[i]
        total = total + off[around, (m - steps) % m]
        last = int(total.argmin())
        if total[last] < found[0]:
            path = [last]
            for i in range(count - 1, 0, -1):
                path.append(int(came[i, path[-1]]))
            found = (float(total[last]), around[path[::-1]].tolist())
    return contour[found[1]]


def _squared_distances(contour: Points) -> NDArray[np.float64]:
    """Return (m, m): entry (a, l) is the sum of the squared distances of the points a to a + l from their chord."""
    m = len(contour)
    points = np.concatenate([contour, contour]) - contour.mean(axis=0)
    x, y = points.T
    sums = np.concatenate([np.zeros((1, 5)), np.cumsum(np.stack([x, y, x * x, x * y, y * y], axis=1), axis=0)])
    a, length = np.arange(m)[:, None], np.arange(m)[None, :]
    within = sums[a + length + 1] - sums[a]
    sx, sy, sxx, sxy, syy = np.moveaxis(within, 2, 0)
    chord = points[a + length] - points[a]
    size = np.linalg.norm(chord, axis=2)
    along = chord / np.maximum(size, 1e-9)[..., None]
    nx, ny = -along[..., 1], along[..., 0]
    base = nx * points[a][..., 0] + ny * points[a][..., 1]
    off = nx * nx * sxx + 2 * nx * ny * sxy + ny * ny * syy - 2 * base * (nx * sx + ny * sy) + (length + 1) * base**2
    ax, ay = points[a][..., 0], points[a][..., 1]
    round_point = sxx + syy - 2 * (ax * sx + ay * sy) + (length + 1) * (ax**2 + ay**2)
    return np.maximum(np.where(size > 1e-9, off, round_point), 0.0)


def _resample(line: Points, count: int) -> Points:
    """Return a closed line as `count` points at equal distances along it, with a positive signed area."""
    if _area(line) < 0:
        line = line[::-1]
    closed = np.concatenate([line, line[:1]])
    at = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    targets = np.linspace(0, at[-1], count, endpoint=False)
    return np.stack([np.interp(targets, at, closed[:, 0]), np.interp(targets, at, closed[:, 1])], axis=1)


def _area(line: Points) -> float:
    x, y = line.T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def _centre(line: Points) -> Points:
    """Return the centroid of the enclosed area; of the points if there is none."""
    x, y = line.T
    cross = x * np.roll(y, -1) - np.roll(x, -1) * y
    if abs(cross.sum()) < 1e-6:
        return np.asarray(line.mean(axis=0))
    sums = np.stack([(x + np.roll(x, -1)) * cross, (y + np.roll(y, -1)) * cross], axis=1).sum(axis=0)
    return np.asarray(sums / (3 * cross.sum()))


def mask_to_polygons(mask: Mask) -> list[Points]:
    """Return a mask's polygons, one per part, largest first.

    Args:
        mask: (H, W) bool. Parts of less than 1 % of its area are left out.

    Returns:
        (n, 2) float64 xy in pixels each.
    """
    n, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    areas = stats[:, cv2.CC_STAT_AREA]
    order = sorted(range(1, n), key=lambda i: -int(areas[i]))
    return [_polygon(parts == i) for i in order if areas[i] >= _MIN_PART_AREA * mask.sum()]


def polygon_to_mask(points: Points, size: tuple[int, int]) -> Mask:
    """Return the mask of the area that a closed line encloses; empty for fewer than three points.

    Args:
        points: (n, 2) xy in pixels.
        size: (width, height) of the mask.
    """
    w, h = size
    if len(points) < 3:
        return np.zeros((h, w), np.bool_)
    line = np.asarray(points, np.float64).ravel().tolist()
    return np.asarray(coco.decode(coco.merge(coco.frPyObjects([line], h, w))) > 0, np.bool_)


def _polygon(part: Mask) -> Points:
    fine: NDArray[np.uint8] = part.astype(np.uint8).repeat(_UPSAMPLING, axis=0).repeat(_UPSAMPLING, axis=1)
    contours, tree = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    outline = max((i for i in range(len(contours)) if tree[0][i][3] < 0), key=lambda i: cv2.contourArea(contours[i]))
    holes = [contours[i] for i in range(len(contours)) if tree[0][i][3] == outline]
    best: Points = np.empty((0, 2))
    for tolerance_px in _TOLERANCES_PX:
        best = _join_holes(
            _simplify(contours[outline], tolerance_px), [_simplify(hole, tolerance_px) for hole in holes]
        )
        drawn = cv2.fillPoly(np.zeros_like(fine), [np.round(best).astype(np.int32)], 1) > 0
        both, either = (drawn & (fine > 0)).sum(), (drawn | (fine > 0)).sum()
        if len(best) >= 3 and both >= _POLYGON_IOU * either:
            break
    if len(best) < 3:  # a line or a single pixel: use its box
        y, x = np.nonzero(part)
        x0, y0, x1, y1 = x.min(), y.min(), x.max() + 1, y.max() + 1
        return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float64)
    return (best + 0.5) / _UPSAMPLING


def _simplify(contour: NDArray[Any], tolerance_px: float) -> Points:
    return cv2.approxPolyDP(contour, tolerance_px * _UPSAMPLING, True)[:, 0].astype(np.float64)


def _join_holes(outline: Points, holes: Sequence[Points]) -> Points:
    """Return one closed line round the outline and all holes, nearest first, with a slit to each."""
    left = [hole for hole in holes if len(hole) >= 3]
    line = outline
    while left:
        gaps = [np.linalg.norm(line[:, None] - hole[None], axis=-1) for hole in left]
        nearest = min(range(len(left)), key=lambda k: float(gaps[k].min()))
        hole, gap = left.pop(nearest), gaps[nearest]
        a, b = np.unravel_index(int(gap.argmin()), gap.shape)
        path = np.concatenate([hole[b:], hole[: b + 1]])
        line = np.concatenate([line[: a + 1], path, line[a:]])
    return line
