"""Which boxes the editor draws for a sequence of keyframes, written as plainly as possible."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refam.pipeline.pipeline import Target, TrackResult
from video.types import MaskTrack


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
