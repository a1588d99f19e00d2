"""Tracks -> one region per object and frame, for projects that show a list of pictures.

The editor has three ways to keep a mask: brush strokes (its own run-length code), polygons, and bitmaps (a PNG whose
opaque pixels are the mask). A polygon has no holes: a slit without width joins each hole to the outline. Parts that
do not touch become regions of their own; those under 1 % of the object's area are left out.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.labels import LabelConfig, LabelConfigError, MaskControl
from video.masks import decode

if TYPE_CHECKING:
    from backend.pipeline import TrackResult

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
_POLYGON_IOU = 0.96
_LEAST_PART = 0.01  # of the object's area


def mask_regions_of(
    results: Sequence[TrackResult], config: LabelConfig, *, region_ids: Sequence[str]
) -> list[dict[str, Any]]:
    """A region for each result and frame on which it is visible; a polygon's parts make several.

    region_ids: one per result; "-FRAME" is added, and "-PART" from the second part on, so that asking again replaces.
    """
    control = config.masks
    if control is None:
        raise LabelConfigError("the label config has no tag that takes masks")
    if len(region_ids) != len(results):
        raise ValueError(f"{len(results)} results need as many region ids, got {len(region_ids)}")
    regions: list[dict[str, Any]] = []
    for result, region_id in zip(results, region_ids, strict=True):
        track = result.track
        for row, frame in enumerate(track.frames):
            if not track.visible[row]:
                continue
            shapes = shapes_of(decode(track.rles[row]), control.shape)
            for part, shape in enumerate(shapes):
                base: dict[str, Any] = {
                    "id": f"{region_id}-{frame}" + (f"-{part}" if part else ""),
                    "to_name": config.video,
                    "origin": "prediction",
                    "item_index": int(frame),
                    "original_width": track.size[0],
                    "original_height": track.size[1],
                    "image_rotation": 0,
                    "score": round(min(1.0, max(0.0, float(track.scores[row]))), 4),
                }
                regions += _labelled(base, shape, control, result.target.label, bool(config.labels))
    return regions


def _labelled(
    base: dict[str, Any], shape: dict[str, Any], control: MaskControl, label: str, has_labels: bool
) -> Iterator[dict[str, Any]]:
    if control.own_labels:
        yield {**base, "from_name": control.name, "type": control.kind, "value": {**shape, control.kind: [label]}}
        return
    yield {**base, "from_name": control.name, "type": control.kind, "value": shape}
    if control.labels_name and has_labels:  # the editor joins results of one id: the shape, and its label
        yield {**base, "from_name": control.labels_name, "type": "labels", "value": {**shape, "labels": [label]}}


def shapes_of(mask: Mask, shape: str) -> list[dict[str, Any]]:
    """A mask (H, W) as the values of regions: "brush", "polygon" or "bitmask". An empty mask has none."""
    if not mask.any():
        return []
    if shape == "brush":
        from label_studio_sdk.converter.brush import mask2rle

        return [{"format": "rle", "rle": mask2rle(mask.astype(np.uint8) * 255)}]
    if shape == "bitmask":
        return [{"imageDataURL": _png(mask)}]
    h, w = mask.shape
    return [
        {"points": [[round(float(x) / w * 100, 4), round(float(y) / h * 100, 4)] for x, y in points], "closed": True}
        for points in polygons_of(mask)
    ]


def polygons_of(mask: Mask) -> list[Points]:
    """A mask (H, W) -> (n, 2) xy in pixels, one polygon a part, largest first; a pixel i spans i to i + 1."""
    n, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    areas = stats[:, cv2.CC_STAT_AREA]
    order = sorted(range(1, n), key=lambda i: -int(areas[i]))
    return [_polygon(parts == i) for i in order if areas[i] >= _LEAST_PART * mask.sum()]


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


def _png(mask: Mask) -> str:
    """White where the mask is, clear elsewhere: the editor takes the opaque pixels and paints them itself."""
    ok, coded = cv2.imencode(".png", np.repeat(mask[..., None].astype(np.uint8) * 255, 4, axis=-1))
    if not ok:
        raise RuntimeError("OpenCV could not write a PNG")
    return "data:image/png;base64," + base64.b64encode(coded.tobytes()).decode()
