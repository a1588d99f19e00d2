"""Which boxes the editor draws for a sequence of keyframes, written as plainly as possible."""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refam.pipeline.pipeline import Target, TrackResult
from video.types import MaskTrack

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 as fractions of the frame


@dataclass
class Timing:
    times: NDArray[np.float64]
    duration_s: float
    size: tuple[int, int] = (160, 90)


def even_timing(n: int, fps: float) -> Timing:
    return Timing(np.arange(n) / fps, n / fps)


def result_of(track: MaskTrack, label: str = "Star", **more: Any) -> TrackResult:
    return TrackResult(Target(label, "the star"), track, (), more.get("score", 0.7), 0, more.get("notes", ()))


def drawn_boxes(sequence: list[dict[str, Any]], n: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The editor's reading of a sequence, as measured, written plainly: (n, 4) xywh percent and (n,) shown."""
    boxes, shown = np.zeros((n, 4)), np.zeros(n, bool)
    for frame in range(1, n + 1):
        before = [k for k in sequence if k["frame"] <= frame]
        after = [k for k in sequence if k["frame"] > frame]
        if not before:
            continue
        last = before[-1]
        shown[frame - 1] = last["enabled"] or last["frame"] == frame
        a = np.array([last[side] for side in ("x", "y", "width", "height")])
        if after:
            b = np.array([after[0][side] for side in ("x", "y", "width", "height")])
            a = a + (b - a) * (frame - last["frame"]) / (after[0]["frame"] - last["frame"])
        boxes[frame - 1] = a
    return boxes, shown


def turned_box(at: dict[str, float], size: tuple[int, int]) -> Box | None:
    """Return the upright box around a rotated one, turned in pixels with complex numbers; None outside the frame."""
    w, h = size
    corner = complex(at["x"] * w, at["y"] * h) / 100
    wide, high = at["width"] * w / 100, at["height"] * h / 100
    points = [corner + p * cmath.rect(1, math.radians(at["rotation"])) for p in (0, wide, high * 1j, wide + high * 1j)]
    xs, ys = [p.real / w for p in points], [p.imag / h for p in points]
    box = max(0, min(xs)), max(0, min(ys)), min(1, max(xs)), min(1, max(ys))
    return box if box[0] < box[2] and box[1] < box[3] else None


def boxes_by_loop(
    sequence: list[dict[str, Any]],
    times: Sequence[float] | NDArray[np.float64],
    duration_s: float,
    fps: float,
    size: tuple[int, int],
) -> dict[int, Box | None]:
    """Return the box that the editor draws on each clip frame (None: no box), computed with plain loops."""
    n = max(1, math.floor(duration_s * fps + 0.5))
    keys = sorted(sequence, key=lambda k: k["frame"])
    boxes: dict[int, Box | None] = {}
    for frame in range(1, n + 1):
        t = math.floor((frame - 1) / fps / 0.002 + 0.5) * 0.002 + 0.002
        i = 0
        while i + 1 < len(times) and times[i + 1] <= t:
            i += 1
        before = [k for k in keys if k["frame"] <= frame]
        after = [k for k in keys if k["frame"] > frame]
        box = None
        if before and (before[-1].get("enabled") or before[-1]["frame"] == frame):
            a, b = before[-1], after[0] if after else before[-1]
            share = (frame - a["frame"]) / (b["frame"] - a["frame"]) if b is not a else 0
            at = {s: a[s] + share * (b[s] - a[s]) for s in ("x", "y", "width", "height", "rotation")}
            box = turned_box(at, size)
        boxes.setdefault(i, box)
    return boxes


def last_editor_box(sequence: list[dict[str, Any]], clip: Timing, fps: float) -> Box | None:
    """Return the box on the last frame of the editor, computed as if it were the only frame."""
    n = max(1, math.floor(clip.duration_s * fps + 0.5))
    shifted = [k | {"frame": k["frame"] - n + 1} for k in sequence]
    return boxes_by_loop(shifted, [0.0], 0.5 / fps, fps, clip.size)[0]
