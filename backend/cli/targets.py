"""Turn planned objects into targets on the frames and in the fractions of one clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from backend.cli.prompts import Drawing, ObjectPlan
from refam.pipeline.types import FramePrompt, PromptError, Target
from video.types import Rle

if TYPE_CHECKING:
    from video.io.reader import Clip

Box = tuple[float, float, float, float]


def make_targets(plans: Sequence[ObjectPlan], clip: Clip) -> list[Target]:
    """Return the targets of a clip: pixels become fractions, seconds the frame that is shown then.

    Raises:
        PromptError: If a drawing is on a frame that the clip does not have, outside of the picture, or a mask of
            another size.
    """
    return [Target(label=plan.label, words=plan.words, prompts=_make_prompts(plan.drawings, clip)) for plan in plans]


def find_frame(clip: Clip, at: int | float) -> int:
    """Return a frame of the clip. at: the frame (int), or seconds (float): the frame that is shown then.

    Raises:
        PromptError: If the clip has no such frame.
    """
    n = len(clip)
    if isinstance(at, int):
        if at >= n:
            raise PromptError(f"frame {at} was drawn on, and the video has the frames 0 to {n - 1}")
        return at
    end_s = max(clip.duration_s, float(clip.times[-1]))
    if at > end_s:
        raise PromptError(f"{at:g} s was drawn on, and the video has {end_s:.2f} s")
    return max(0, int(np.searchsorted(clip.times, at + 1e-6, side="right")) - 1)


def _make_prompts(drawings: Sequence[Drawing], clip: Clip) -> tuple[FramePrompt, ...]:
    """Return one prompt for each frame that has any, in order."""
    points: dict[int, list[tuple[tuple[float, float], int]]] = {}
    boxes: dict[int, Box] = {}
    masks: dict[int, Rle] = {}
    for drawing in drawings:
        frame = find_frame(clip, drawing.at)
        if drawing.option in ("--point", "--not-point"):
            points.setdefault(frame, []).append((_point(drawing, clip.size), int(drawing.is_positive)))
        elif drawing.option == "--box":
            _require(frame not in boxes, f"two boxes are on frame {frame}; one object has one box on a frame")
            boxes[frame] = _box(drawing, clip.size)
        else:
            _require(frame not in masks, f"two masks are on frame {frame}; one object has one mask on a frame")
            assert drawing.mask is not None
            masks[frame] = drawing.mask
            (w, h), (width, height) = drawing.mask.size, clip.size
            text = f"the mask on frame {frame} is {w}x{h}; the video's frames are {width}x{height}"
            _require(drawing.mask.size == clip.size, text)
    return tuple(
        FramePrompt(
            f,
            points=tuple(point for point, _ in points.get(f, ())),
            labels=tuple(label for _, label in points.get(f, ())),
            box=boxes.get(f),
            mask=masks.get(f),
        )
        for f in sorted(points.keys() | boxes.keys() | masks.keys())
    )


def _point(drawing: Drawing, size: tuple[int, int]) -> tuple[float, float]:
    """Return x, y as fractions; a pixel's is its centre."""
    x, y = drawing.values
    if not drawing.in_pixels:
        return x, y
    w, h = size
    _require(x < w and y < h, f"{drawing.option} {drawing.text}: the frames are {w}x{h} pixels")
    return min(1.0, (x + 0.5) / w), min(1.0, (y + 0.5) / h)


def _box(drawing: Drawing, size: tuple[int, int]) -> Box:
    """Return x0, y0, x1, y1 as fractions."""
    x, y, width, height = drawing.values
    if drawing.in_pixels:
        w, h = size
        inside = x + width <= w + 0.5 and y + height <= h + 0.5
        _require(inside, f"--box {drawing.text}: it leaves the frames, which are {w}x{h} pixels")
        x, y, width, height = x / w, y / h, width / w, height / h
    return x, y, min(1.0, x + width), min(1.0, y + height)


def _require(ok: bool, message: str) -> None:
    if not ok:
        raise PromptError(message)
