"""Masks and boxes: run-length encoding, IoU, components, boundaries, and resizing about pixel centres.

A mask is (H, W) bool. A box is (x0, y0, x1, y1) in fractions of the frame and spans the outer edges of its pixels: a
mask of the one pixel at column 0 of 10 has x0 = 0.0 and x1 = 0.1. Sizes are (width, height) in pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from pycocotools import mask as coco

from video.types import MaskTrack, Rle

Box = tuple[float, float, float, float]
Mask = NDArray[np.bool_]

_BORDER_SHARE = 0.05  # of a border of the picture: a mask that takes more runs along it
_BORDER_FACTOR = 0.8
MAIN_SHARE = 0.08  # of the largest part's area, from which on another part belongs to the object
SIMILAR_SHARE = 0.25  # of the largest part's area, from which on another part is no appendage of it
CRUMB_PX = 4  # smaller parts are noise
SPECK_SHARE = 0.03  # of the largest part's area, below which another part far from it is noise
SPECK_DISTANCE = 0.15  # of the largest part's size, the square root of its area
EMPTY_BOX: Box = (0.0, 0.0, 0.0, 0.0)  # the box of a `MaskTrack` where the object is not visible


def _check_mask(mask: NDArray[Any], name: str = "mask") -> None:
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise ValueError(f"{name} must be (H, W) bool, got shape {mask.shape} {mask.dtype}")
    if mask.size == 0:
        raise ValueError(f"{name} must hold at least one pixel, got shape {mask.shape}")


def encode(mask: Mask) -> Rle:
    """Encode a mask, (H, W) bool, in COCO's compressed run-length encoding.

    Raises:
        ValueError: For another shape or dtype.
    """
    _check_mask(mask)
    counts = coco.encode(np.asfortranarray(mask.view(np.uint8)))["counts"]
    return Rle(size=(mask.shape[1], mask.shape[0]), counts=counts)


def _coco(rle: Rle) -> dict[str, Any]:
    return {"size": [rle.size[1], rle.size[0]], "counts": rle.counts}


def decode(rle: Rle) -> Mask:
    """Decode a mask into (H, W) bool, in C order and writable."""
    return np.ascontiguousarray(coco.decode(_coco(rle))).astype(np.bool_)


def empty(size: tuple[int, int]) -> Rle:
    """Return the encoding of a mask without pixels. size: (width, height)."""
    return encode(np.zeros((size[1], size[0]), np.bool_))


def area(rle: Rle) -> int:
    """Return the number of set pixels, without decoding."""
    return int(coco.area(_coco(rle)))


def box_of(mask: Mask) -> Box | None:
    """Return the tight normalised xyxy box of a mask, (H, W) bool; None for an empty one."""
    _check_mask(mask)
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if len(columns) == 0:
        return None
    h, w = mask.shape
    return (
        float(columns[0] / w),
        float(rows[0] / h),
        float((columns[-1] + 1) / w),
        float((rows[-1] + 1) / h),
    )


def rle_box(rle: Rle) -> Box | None:
    """Return the tight normalised xyxy box of a mask without decoding; None for an empty one."""
    x, y, width, height = (float(v) for v in coco.toBbox(_coco(rle)))
    if width <= 0 or height <= 0:
        return None
    w, h = rle.size
    return (x / w, y / h, (x + width) / w, (y + height) / h)


def track_from_rles(
    label: str, frames: NDArray[np.int64], rles: Sequence[Rle], scores: NDArray[np.float64]
) -> MaskTrack:
    """Return a track whose boxes are those of its masks; it is visible where they have pixels.

    Args:
        label: The object's label.
        frames: (n,) int64, ascending.
        rles: n masks of one size.
        scores: (n,) float64 in [0, 1].
    """
    return MaskTrack(
        label=label,
        size=rles[0].size,
        frames=frames,
        rles=tuple(rles),
        boxes=np.array([rle_box(rle) or EMPTY_BOX for rle in rles], np.float64).reshape(-1, 4),
        scores=scores,
        visible=np.array([area(rle) > 0 for rle in rles], np.bool_),
    )


def box_mask(box: Box, size: tuple[int, int]) -> Mask:
    """Return the mask of a box: the pixels whose centres lie in it, at least one.

    Args:
        box: Normalised xyxy.
        size: (width, height) of the mask.
    """
    w, h = size
    x0, y0, x1, y1 = box
    left, top = min(round(x0 * w), w - 1), min(round(y0 * h), h - 1)
    mask = np.zeros((h, w), np.bool_)
    mask[top : max(round(y1 * h), top + 1), left : max(round(x1 * w), left + 1)] = True
    return mask


def pad_box(box: Box, fraction: float, *, least: float = 0.0) -> Box:
    """Grow a box on each side, within the frame.

    Args:
        box: Normalised xyxy.
        fraction: By this fraction of its width and height.
        least: But at least by this fraction of the frame.
    """
    x0, y0, x1, y1 = box
    dx, dy = max((x1 - x0) * fraction, least), max((y1 - y0) * fraction, least)
    return (max(0.0, x0 - dx), max(0.0, y0 - dy), min(1.0, x1 + dx), min(1.0, y1 + dy))


def iou(a: Mask, b: Mask) -> float:
    """Return the intersection over union of two masks of one shape; 1.0 when both are empty, since they agree."""
    _check_mask(a, "a")
    _check_mask(b, "b")
    if a.shape != b.shape:
        raise ValueError(f"masks must have one shape, got {a.shape} and {b.shape}")
    union = int(np.count_nonzero(a | b))
    return 1.0 if union == 0 else int(np.count_nonzero(a & b)) / union


def box_iou(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Return the IoU of boxes. A box without area has IoU 0 with any other.

    Args:
        a: (..., 4) xyxy.
        b: (..., 4) xyxy, broadcast against `a`.

    Returns:
        (...) float64.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    shared = np.clip(high - low, 0, None).prod(axis=-1)
    total = (a[..., 2:] - a[..., :2]).prod(axis=-1) + (b[..., 2:] - b[..., :2]).prod(axis=-1) - shared
    return np.divide(shared, total, out=np.zeros_like(shared), where=total > 0)


def components(mask: Mask, *, least_px: int = 1, most: int | None = None) -> list[Mask]:
    """Return the 8-connected parts of a mask, largest first.

    Args:
        mask: (H, W) bool.
        least_px: Parts of fewer pixels are left out.
        most: How many parts at most.
    """
    _check_mask(mask)
    n, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    order = np.argsort(-areas, kind="stable")[:most]
    return [labels == i + 1 for i in order if areas[i] >= least_px] if n > 1 else []


def part_areas(mask: Mask) -> list[int]:
    """Return the pixels of each 8-connected part of a mask, (H, W) bool, largest first."""
    _check_mask(mask)
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    return sorted(stats[1:, cv2.CC_STAT_AREA].tolist(), reverse=True)


def wholeness(mask: Mask, bias: float) -> float:
    """Return by how much a mask is preferred as the whole of one thing.

    A mask in pieces, or one that runs along the borders of the picture, is more often the ground or what is seen
    through a tree than one thing.

    Args:
        mask: (H, W) bool, not empty.
        bias: How far larger masks are preferred; 0 prefers none.

    Returns:
        1 for a bias of 0. Else the share of the picture to the power of `bias`, times the square of its largest piece's
        share, times 0.8 for each border of which it takes more than 5 %.
    """
    if bias == 0:
        return 1.0
    areas = part_areas(mask)
    borders = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    n_borders = sum(float(border.mean()) > _BORDER_SHARE for border in borders)
    return float(mask.mean()) ** bias * (areas[0] / sum(areas)) ** 2 * _BORDER_FACTOR**n_borders


def main_parts(mask: Mask, *, before: Mask | None = None) -> Mask:
    """Return a mask without the small parts that warping leaves; both halves of an object behind a pole stay.

    Args:
        mask: (H, W) bool.
        before: The mask that was warped. Parts half as large as its smallest one stay as well.
    """
    parts = components(mask, least_px=CRUMB_PX)
    if len(parts) < 2:
        return parts[0] if parts else mask
    least = MAIN_SHARE * parts[0].sum()
    if before is not None and (own := components(before, least_px=CRUMB_PX)):
        least = min(least, 0.5 * own[-1].sum())
    return np.asarray(np.logical_or.reduce([p for p in parts if p.sum() >= least]), np.bool_)


def drop_specks(mask: Mask, *, kept: Iterable[NDArray[np.float64]] = ()) -> Mask:
    """Return a mask without small parts far from its largest one, which make a box, and so a keyframe, much too large.

    Small parts near it stay: often they are its own, such as a leg seen through grass.

    Args:
        mask: (H, W) bool.
        kept: Normalised (x, y); parts with one of them stay.
    """
    _check_mask(mask)
    n, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    if n <= 2:
        return mask
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0  # label 0 is what is not in the mask
    largest = int(areas.argmax())
    small = areas < SPECK_SHARE * areas[largest]
    small[0] = False
    for point in kept:
        small[labels[pixel_at(mask.shape, point)]] = False
    if not small.any():
        return mask
    distance = cv2.distanceTransform((labels != largest).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    nearest = np.full(n, np.inf)
    np.minimum.at(nearest, np.asarray(labels[mask], np.intp), distance[mask])  # one pass: noise has thousands of parts
    is_speck = small & (nearest > SPECK_DISTANCE * np.sqrt(areas[largest]))
    return mask & ~is_speck[labels]


def similar_parts(mask: Mask) -> int:
    """Return how many parts of a mask, (H, W) bool, have at least a quarter of the largest one's area.

    One is what a whole thing usually has; several are things of their own, or pieces of one: a face and two hands.
    """
    areas = part_areas(mask)
    return sum(area >= max(CRUMB_PX, SIMILAR_SHARE * areas[0]) for area in areas)


def fill_holes(mask: Mask, *, most_px: int) -> Mask:
    """Fill the holes of a mask that have at most `most_px` pixels and do not touch the frame's edge."""
    _check_mask(mask)
    _, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).view(np.uint8), connectivity=4)
    h, w = mask.shape
    inside = (stats[:, 0] > 0) & (stats[:, 1] > 0) & (stats[:, 0] + stats[:, 2] < w) & (stats[:, 1] + stats[:, 3] < h)
    small = inside & (stats[:, cv2.CC_STAT_AREA] <= most_px)
    small[0] = False  # label 0 is the mask itself
    return mask | small[labels]


def boundary(mask: Mask) -> Mask:
    """Return the pixels of a mask that have a 4-neighbour outside it.

    The frame's edge is no boundary, since the object continues there.
    """
    _check_mask(mask)
    padded = np.pad(mask, 1, mode="edge")
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def distance_to(mask: Mask) -> NDArray[np.float32]:
    """Return the distance of each pixel to the nearest one of a mask, (H, W) float32 in pixels; 0 on the mask."""
    return np.asarray(cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5), np.float32)


def pixel_at(shape: tuple[int, ...], point: tuple[float, float] | NDArray[np.float64]) -> tuple[int, int]:
    """Return the row and the column of the pixel under a normalised (x, y). shape: (H, W, ...) of the image."""
    h, w = shape[:2]
    return min(int(point[1] * h), h - 1), min(int(point[0] * w), w - 1)


def contains(mask: Mask, point: tuple[float, float] | NDArray[np.float64]) -> bool:
    """Return whether the pixel under a normalised (x, y) belongs to a mask, (H, W) bool."""
    return bool(mask[pixel_at(mask.shape, point)])


def point_accuracy(mask: Mask, points: ArrayLike, labels: ArrayLike) -> float:
    """Return the share of points that lie on the right side of a mask's outline; 1 without points.

    Args:
        mask: (H, W) bool.
        points: (k, 2) normalised (x, y).
        labels: (k,) 1 for a point on the object, 0 for one off it.
    """
    pairs = zip(np.asarray(points, np.float64).reshape(-1, 2), np.asarray(labels).ravel(), strict=True)
    right = [contains(mask, point) == bool(label) for point, label in pairs]
    return float(np.mean(right)) if right else 1.0


def deepest_point(mask: Mask) -> tuple[float, float] | None:
    """Return the normalised centre (x, y) of the pixel farthest from the outside; None for an empty mask.

    What lies beyond the frame counts as outside.
    """
    _check_mask(mask)
    if not mask.any():
        return None
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), mask.shape)
    return (float(x + 0.5) / mask.shape[1], float(y + 0.5) / mask.shape[0])


def resize_map(grid: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize a map about its pixel centres (half-pixel geometry).

    An axis that shrinks is averaged over what each new pixel covers, one that grows is interpolated linearly. The axes
    are resized one by one, because OpenCV's area mode does neither when they differ.

    Args:
        grid: (h, w) or (h, w, c).
        size: The new (width, height).

    Returns:
        The map as float32.

    Raises:
        ValueError: For an empty map, another number of axes, or an empty size.
    """
    w, h = size
    if grid.ndim not in (2, 3) or grid.size == 0:
        raise ValueError(f"a map must be (h, w) or (h, w, c) and not empty, got shape {grid.shape}")
    if w < 1 or h < 1:
        raise ValueError(f"size must be at least 1x1, got {w}x{h}")
    out = np.ascontiguousarray(grid, np.float32)
    shrunk = (min(w, out.shape[1]), min(h, out.shape[0]))
    if shrunk != (out.shape[1], out.shape[0]):
        out = np.asarray(cv2.resize(out, shrunk, interpolation=cv2.INTER_AREA), np.float32)
    if shrunk != (w, h):
        out = np.asarray(cv2.resize(out, (w, h), interpolation=cv2.INTER_LINEAR), np.float32)
    return out


def resize_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    """Resize a mask to another (width, height); a pixel is set where at least half of it is covered."""
    _check_mask(mask)
    return resize_map(mask, size) >= 0.5


def rim_prior(mask: Mask, *, least_px: float = 3.0) -> NDArray[np.float32]:
    """Return a mask as a prior whose rim is a slope, so that a segmenter may move the outline a little.

    Args:
        mask: (h, w) bool.
        least_px: The least width of the slope on each side of the outline.

    Returns:
        (h, w) float32: 1 inside, 0 outside, 0.5 on the outline.
    """
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    outside = distance_to(mask)
    width = max(least_px, 0.06 * float(np.sqrt(mask.sum())))
    within = max(1.0, min(width, 0.5 * float(inside.max())))  # thin objects keep a core of high values
    return np.asarray(
        np.where(mask, np.clip(0.5 + 0.5 * inside / within, 0, 1), np.clip(0.5 - 0.5 * outside / width, 0, 1)),
        np.float32,
    )
