"""Masks and boxes: run-length codes, IoU, components, boundaries, and resizing about pixel centres.

A mask is (H, W) bool. A box is (x0, y0, x1, y1) in fractions of the frame and spans the *outer edges* of its
pixels, so a mask of the one pixel at column 0 of 10 has x0 = 0.0 and x1 = 0.1. Sizes are (width, height) in
pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from pycocotools import mask as coco

from video.types import MaskTrack, Rle

Box = tuple[float, float, float, float]
Mask = NDArray[np.bool_]

MAIN_SHARE = 0.08  # of the largest part's area, from which on another one stands for itself
CRUMB_PX = 4  # parts below are never any
EMPTY_BOX: Box = (0.0, 0.0, 0.0, 0.0)  # the box of a `MaskTrack` where the object is not visible


def _check_mask(mask: NDArray[Any], name: str = "mask") -> None:
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise ValueError(f"{name} must be (H, W) bool, got shape {mask.shape} {mask.dtype}")
    if mask.size == 0:
        raise ValueError(f"{name} must hold at least one pixel, got shape {mask.shape}")


def encode(mask: Mask) -> Rle:
    """(H, W) bool -> COCO's compressed run-length code. Raises ValueError on another shape or dtype."""
    _check_mask(mask)
    counts = coco.encode(np.asfortranarray(mask.view(np.uint8)))["counts"]
    return Rle(size=(mask.shape[1], mask.shape[0]), counts=counts)


def _coco(rle: Rle) -> dict[str, Any]:
    return {"size": [rle.size[1], rle.size[0]], "counts": rle.counts}


def decode(rle: Rle) -> Mask:
    """The inverse of `encode`: (H, W) bool, C order, writable."""
    return np.ascontiguousarray(coco.decode(_coco(rle))).astype(np.bool_)


def empty(size: tuple[int, int]) -> Rle:
    """The code of a mask without pixels. size: (width, height)."""
    return encode(np.zeros((size[1], size[0]), np.bool_))


def area(rle: Rle) -> int:
    """Pixels that are set, without decoding."""
    return int(coco.area(_coco(rle)))


def box_of(mask: Mask) -> Box | None:
    """The tight normalised xyxy box of a mask, or None where it is empty."""
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
    """`box_of` without decoding."""
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
    """(H, W) bool: the pixels whose centre lies in a normalised box; at least one. size: (width, height)."""
    w, h = size
    x0, y0, x1, y1 = box
    left, top = min(round(x0 * w), w - 1), min(round(y0 * h), h - 1)
    mask = np.zeros((h, w), np.bool_)
    mask[top : max(round(y1 * h), top + 1), left : max(round(x1 * w), left + 1)] = True
    return mask


def pad_box(box: Box, fraction: float, *, least: float = 0.0) -> Box:
    """The box grown on each side by a fraction of its length or by `least` of the frame; clipped to it."""
    x0, y0, x1, y1 = box
    dx, dy = max((x1 - x0) * fraction, least), max((y1 - y0) * fraction, least)
    return (max(0.0, x0 - dx), max(0.0, y0 - dy), min(1.0, x1 + dx), min(1.0, y1 + dy))


def iou(a: Mask, b: Mask) -> float:
    """Intersection over union of two masks of one shape; 1.0 when both are empty (they agree)."""
    _check_mask(a, "a")
    _check_mask(b, "b")
    if a.shape != b.shape:
        raise ValueError(f"masks must have one shape, got {a.shape} and {b.shape}")
    union = int(np.count_nonzero(a | b))
    return 1.0 if union == 0 else int(np.count_nonzero(a & b)) / union


def box_iou(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """IoU of xyxy boxes, (..., 4) and (..., 4), broadcast -> (...). A box without area has IoU 0 with any."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    shared = np.clip(high - low, 0, None).prod(axis=-1)
    total = (a[..., 2:] - a[..., :2]).prod(axis=-1) + (b[..., 2:] - b[..., :2]).prod(axis=-1) - shared
    return np.divide(shared, total, out=np.zeros_like(shared), where=total > 0)


def components(mask: Mask, *, least_px: int = 1, most: int | None = None) -> list[Mask]:
    """The 8-connected parts of a mask, the largest first, `most` at most; those under `least_px` pixels left out."""
    _check_mask(mask)
    n, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    order = np.argsort(-areas, kind="stable")[:most]
    return [labels == i + 1 for i in order if areas[i] >= least_px] if n > 1 else []


def main_parts(mask: Mask, *, before: Mask | None = None) -> Mask:
    """Without the crumbs that warping leaves behind; two halves of an object behind a pole both stay.

    before: what was warped; pieces as small as its own smallest are no crumbs then.
    """
    parts = components(mask, least_px=CRUMB_PX)
    if len(parts) < 2:
        return parts[0] if parts else mask
    least = MAIN_SHARE * parts[0].sum()
    if before is not None and (own := components(before, least_px=CRUMB_PX)):
        least = min(least, 0.5 * own[-1].sum())
    return np.asarray(np.logical_or.reduce([p for p in parts if p.sum() >= least]), np.bool_)


def fill_holes(mask: Mask, *, most_px: int) -> Mask:
    """Closes background parts of at most `most_px` pixels that do not touch the frame's edge."""
    _check_mask(mask)
    _, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).view(np.uint8), connectivity=4)
    h, w = mask.shape
    inside = (stats[:, 0] > 0) & (stats[:, 1] > 0) & (stats[:, 0] + stats[:, 2] < w) & (stats[:, 1] + stats[:, 3] < h)
    small = inside & (stats[:, cv2.CC_STAT_AREA] <= most_px)
    small[0] = False  # label 0 is the mask itself
    return mask | small[labels]


def boundary(mask: Mask) -> Mask:
    """The pixels of a mask with a 4-neighbour outside it; the frame's edge is none: the object goes on."""
    _check_mask(mask)
    padded = np.pad(mask, 1, mode="edge")
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def distance_to(mask: Mask) -> NDArray[np.float32]:
    """(H, W) float32: pixels from each one to the nearest of the mask; 0 on it."""
    return np.asarray(cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5), np.float32)


def deepest_point(mask: Mask) -> tuple[float, float] | None:
    """The normalised centre (x, y) of the pixel farthest from the outside, or None for an empty mask.

    What lies beyond the frame counts as outside.
    """
    _check_mask(mask)
    if not mask.any():
        return None
    depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), mask.shape)
    return (float(x + 0.5) / mask.shape[1], float(y + 0.5) / mask.shape[0])


def resize_map(grid: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    """A map (h, w) or (h, w, c) at another (width, height), float32.

    Pixel centres stay in place (half-pixel geometry): an axis that shrinks is averaged over what it covers,
    one that grows is interpolated linearly. Each axis on its own: OpenCV's area mode is neither when they
    differ.
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
    """A mask at another (width, height): set where at least half of the pixel is."""
    _check_mask(mask)
    return resize_map(mask, size) >= 0.5


def rim_prior(mask: Mask, *, least_px: float = 3.0) -> NDArray[np.float32]:
    """(h, w) float32: 1 inside a mask, 0 outside, a slope across its rim, where the outline may be off a little."""
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    outside = distance_to(mask)
    width = max(least_px, 0.06 * float(np.sqrt(mask.sum())))
    within = max(1.0, min(width, 0.5 * float(inside.max())))  # thin things keep a sure core
    return np.asarray(
        np.where(mask, np.clip(0.5 + 0.5 * inside / within, 0, 1), np.clip(0.5 - 0.5 * outside / width, 0, 1)),
        np.float32,
    )
