"""What a person has changed of our regions, read from the draft that comes along with the next words.

Every keyframe that we write carries a `check` over its own numbers. The editor keeps fields that it does not know
(measured on Label Studio 1.23), so a keyframe whose check still fits is ours; one that was moved, resized, switched
off or drawn anew has none that fits, and is a person's: it stays exactly as it is, and is what the track is held to.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refam.pipeline.tracks import spread_box_edits
from video.contours import filled

Box = tuple[float, float, float, float]
_DIGITS = 4  # of percent: what we write is rounded so, and must be told from what a person wrote


@dataclass(frozen=True)
class UserKeyframe:
    """A keyframe as a person left it.

    frame: of the editor, 1-based. x, y, width, height: percent of the frame, as drawn; rotation in degrees clockwise
    about the top left corner. enabled False hides the object from the next frame on, up to the keyframe on frame
    `until` (None: for good).
    """

    frame: int
    x: float
    y: float
    width: float
    height: float
    rotation: float
    enabled: bool
    until: int | None

    def box(self) -> Box | None:
        """The upright box around it within the frame, normalised xyxy; None where nothing of it is in the frame."""
        angle = math.radians(self.rotation)
        corners = [(0.0, 0.0), (self.width, 0.0), (0.0, self.height), (self.width, self.height)]
        # Percent of width and of height are turned as if the frame were square, as the editor stores them.
        xs = [self.x + dx * math.cos(angle) - dy * math.sin(angle) for dx, dy in corners]
        ys = [self.y + dx * math.sin(angle) + dy * math.cos(angle) for dx, dy in corners]
        x0, y0 = max(0.0, min(xs) / 100), max(0.0, min(ys) / 100)
        x1, y1 = min(1.0, max(xs) / 100), min(1.0, max(ys) / 100)
        return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


@dataclass(frozen=True)
class UserOutline:
    """A keyframe of an outline as a person left it.

    frame: of the editor, 1-based. vertices: as they stand in the region: {"id", "x", "y", ...} in percent of the frame.
    enabled, until: as of `UserKeyframe`.
    """

    frame: int
    vertices: tuple[dict[str, Any], ...]
    closed: bool
    enabled: bool
    until: int | None

    @property
    def points(self) -> NDArray[np.float64]:
        """(n, 2) xy in fractions of the frame."""
        return np.array([(v["x"], v["y"]) for v in self.vertices], np.float64).reshape(-1, 2) / 100

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the vertices, by which the editor knows them again on the next keyframe."""
        return tuple(str(v.get("id")) for v in self.vertices)

    def mask(self, size: tuple[int, int]) -> NDArray[np.bool_]:
        """(H, W) of what it encloses, closed or not. size: (width, height) in pixels."""
        return filled(self.points * size, size)


UserEdit = UserKeyframe | UserOutline


def keyframe_checksum(item: Mapping[str, Any]) -> str:
    """The check of a keyframe's frame, switch, and box or vertices."""
    if "vertices" in item:
        return _outline_check(item)
    numbers = [round(float(item[name]), _DIGITS) + 0.0 for name in ("x", "y", "width", "height")]
    text = repr((int(item["frame"]), numbers, bool(item["enabled"]), round(float(item.get("rotation", 0)), 1) + 0.0))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _outline_check(item: Mapping[str, Any]) -> str:
    vertices = [(str(v.get("id")), *(round(float(v[c]), _DIGITS) + 0.0 for c in "xy")) for v in item["vertices"]]
    text = repr((int(item["frame"]), vertices, bool(item["enabled"]), bool(item.get("closed"))))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def polygon_checksum(points: Sequence[Sequence[float]]) -> str:
    """The check of a polygon's points (x, y), in percent of the picture."""
    text = repr([[round(float(v), _DIGITS) + 0.0 for v in point] for point in points])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def read_user_keyframes(region: Mapping[str, Any]) -> tuple[UserEdit, ...]:
    """A region's keyframes that are a person's, ascending. What cannot be a keyframe is left out."""
    value = region.get("value")
    sequence = value.get("sequence") if isinstance(value, Mapping) else None
    items = sorted(
        (item for item in sequence or [] if isinstance(item, Mapping) and _is_keyframe(item)),
        key=lambda item: item["frame"],
    )
    found: list[UserEdit] = []
    for i, item in enumerate(items):
        if item.get("check") == keyframe_checksum(item):
            continue
        after = next((int(later["frame"]) for later in items[i + 1 :] if later["frame"] > item["frame"]), None)
        if "vertices" in item:
            vertices = tuple(dict(vertex) for vertex in item["vertices"])
            closed = bool(item.get("closed"))
            found.append(UserOutline(int(item["frame"]), vertices, closed, bool(item["enabled"]), after))
            continue
        found.append(
            UserKeyframe(
                frame=int(item["frame"]),
                x=float(item["x"]),
                y=float(item["y"]),
                width=float(item["width"]),
                height=float(item["height"]),
                rotation=float(item.get("rotation") or 0.0),
                enabled=bool(item["enabled"]),
                until=after,
            )
        )
    return tuple(found)


def region_words(region: Mapping[str, Any]) -> str | None:
    """The words that a region was found with; None for one that a person drew."""
    value = region.get("value")
    sequence: Sequence[Any] = (value.get("sequence") if isinstance(value, Mapping) else None) or []
    said = [item["words"] for item in sequence if isinstance(item, Mapping) and isinstance(item.get("words"), str)]
    return said[0] if said else None


def _is_keyframe(item: Mapping[str, Any]) -> bool:
    if "vertices" in item:
        vertices = item["vertices"]
        if not isinstance(vertices, list) or not all(isinstance(v, Mapping) for v in vertices):
            return False
        numbers = [item.get("frame"), *(v.get(c) for v in vertices for c in "xy")]
    else:
        numbers = [item.get(name) for name in ("frame", "x", "y", "width", "height")]
    finite = all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in numbers)
    return finite and isinstance(item.get("enabled"), bool) and numbers[0] >= 1


def apply_user_keyframes(
    boxes: NDArray[np.float64], visible: NDArray[np.bool_], fixed: Sequence[UserKeyframe]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], dict[int, UserKeyframe]]:
    """Boxes (n, 4) normalised xyxy and visible (n,) by editor frame, corrected; and the fixed keyframe of each row.

    A person's box differs from the track's in place and size (a hat that counts, a shadow that does not). Between two
    fixed keyframes that difference goes over from the one to the other, before the first and after the last it stays.
    """
    rows = {f.frame - 1: f for f in fixed if f.frame <= len(boxes) and f.box() is not None}
    boxes = spread_box_edits(boxes, visible, {row: _box(keyframe) for row, keyframe in rows.items()})
    for row, keyframe in rows.items():
        boxes[row] = _box(keyframe)
    visible = apply_visibility_edits(visible, rows.values())
    return boxes, visible, {row: f for row, f in rows.items() if visible[row]}


def _box(keyframe: UserKeyframe) -> NDArray[np.float64]:
    return np.array(keyframe.box(), np.float64)


def apply_visibility_edits(visible: NDArray[np.bool_], fixed: Iterable[UserEdit]) -> NDArray[np.bool_]:
    """(n,) visible on the frames that a person fixed, hidden after those that they switched off, up to the next."""
    visible, fixed = visible.copy(), list(fixed)
    visible[[f.frame - 1 for f in fixed]] = True
    for f in fixed:
        if not f.enabled:
            visible[f.frame : len(visible) if f.until is None else f.until - 1] = False
    return visible
