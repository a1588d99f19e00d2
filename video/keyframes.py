"""From a box on every frame to the fewest keyframes a person has to look at.

How keyframes are read (by the editor and by `interpolate`): hidden before the first; linear between two; a
keyframe with `enabled` False is still drawn itself and hides the object from the next frame to the next
keyframe; after the last keyframe the box stays for ever unless that one has `enabled` False. So a span of
visible frames a..b must have keyframes on a and b, with `enabled` False on b; what is between is free, and
that is where keyframes are saved.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from video.masks import box_iou
from video.types import Keyframe, MaskTrack

_SLACK = 1e-9  # so that rounding does not refuse an IoU that equals the tolerance
_BLOCK = 32  # rows
_FIRST_SIDES = np.array([True, True, False, False])  # left and top, of which outward is down


def sparse_keyframes(
    track: MaskTrack, times: ArrayLike, *, tolerance_iou: float = 0.9, must: Sequence[int] = ()
) -> list[Keyframe]:
    """The fewest keyframes on the track's own boxes whose interpolation in time keeps every visible box.

    times: (N,) seconds of the clip's frames, indexed by `track.frames`. Every visible frame of the track has
    IoU >= tolerance_iou between its box and the interpolated one; no smaller set of the track's boxes does
    that. must: frames that have to be keyframes where the object is visible; the others are the fewest beside
    them. A track that is visible nowhere gives []. Raises ValueError when a time is missing or the tolerance
    is not in (0, 1].
    """
    times = np.asarray(times, np.float64)
    if times.ndim != 1 or len(times) <= int(track.frames[-1]):
        raise ValueError(
            f"times must be (N,) with N > {track.frames[-1]}, the track's last frame; got shape {times.shape}"
        )
    rows = np.flatnonzero(np.isin(track.frames, np.asarray(must, np.int64)) & track.visible).tolist()
    chosen = fewest_keyframes(
        track.boxes, track.visible, positions=times[track.frames], tolerance_iou=tolerance_iou, must=rows
    )
    return [
        Keyframe(
            frame=int(track.frames[i]),
            box=(
                float(track.boxes[i][0]),
                float(track.boxes[i][1]),
                float(track.boxes[i][2]),
                float(track.boxes[i][3]),
            ),
            enabled=enabled,
            score=float(track.scores[i]),
        )
        for i, enabled in chosen
    ]


def fewest_keyframes(
    boxes: NDArray[np.float64],
    visible: NDArray[np.bool_],
    *,
    positions: ArrayLike,
    tolerance_iou: float = 0.9,
    must: Sequence[int] = (),
) -> list[tuple[int, bool]]:
    """The same on any grid: (row, enabled) of each keyframe, rows ascending.

    must: visible rows that have to be keyframes; the others are the fewest beside them.

    boxes: (n, 4) xyxy. visible: (n,) bool. positions: (n,) strictly ascending, the scale on which boxes are
    interpolated: seconds, or the frame numbers of an editor.
    """
    positions = np.asarray(positions, np.float64)
    n = len(boxes)
    if boxes.shape != (n, 4) or visible.shape != (n,) or positions.shape != (n,):
        raise ValueError(
            f"boxes, visible and positions must be (n, 4), (n,), (n,); "
            f"got {boxes.shape}, {visible.shape}, {positions.shape}"
        )
    if not (np.diff(positions) > 0).all():
        raise ValueError("positions must ascend strictly")
    if not 0 < tolerance_iou <= 1:
        raise ValueError(f"tolerance_iou must be in (0, 1], got {tolerance_iou}")
    out: list[tuple[int, bool]] = []
    for first, last in spans(visible):
        stops = sorted({first, last, *(row for row in must if first < row < last)})
        rows = [first]
        for a, b in itertools.pairwise(stops):
            rows += [a + row for row in _shortest_path(boxes[a : b + 1], positions[a : b + 1], tolerance_iou)[1:]]
        out += [(row, row != last) for row in rows]
    return out


def spans(visible: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The runs of True in (n,) bool as (first, last), both included."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], visible, [False]]).astype(np.int8)))
    return [(int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def interpolate(
    keyframes: Sequence[Keyframe], frames: ArrayLike, *, times: ArrayLike | None = None
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """What the editor draws: boxes (n, 4) normalised xyxy (zeros where hidden) and visible (n,) bool.

    frames: (n,) on the same count as the keyframes'. times: (N,) seconds by frame; without it boxes are
    linear in the frame number.
    """
    frames = np.asarray(frames, np.int64)
    boxes, visible = np.zeros((len(frames), 4)), np.zeros(len(frames), np.bool_)
    if not keyframes:
        return boxes, visible
    at = np.array([k.frame for k in keyframes], np.int64)
    if not (np.diff(at) > 0).all():
        raise ValueError("keyframes must ascend by frame")
    scale: NDArray[Any] = np.arange(max(at[-1], frames.max(initial=0)) + 1) if times is None else np.asarray(times)
    corners = np.array([k.box for k in keyframes], np.float64)
    enabled = np.array([k.enabled for k in keyframes])
    before = np.searchsorted(at, frames, side="right") - 1  # the last keyframe at or before each frame
    visible = (before >= 0) & (enabled[before] | (at[before] == frames))
    for side in range(4):
        boxes[:, side] = np.interp(scale[frames], scale[at], corners[:, side])
    return np.where(visible[:, None], boxes, 0.0), visible


def _shortest_path(boxes: NDArray[np.float64], positions: NDArray[np.float64], tolerance: float) -> list[int]:
    """Fewest rows, first and last among them, such that the lines between neighbours keep every row's IoU.

    Breadth-first search: rows are nodes, (i, j) is an edge when the line from i to j keeps all rows between.
    A longer edge may be fine where a shorter one is not, so every edge that the cone does not rule out is
    looked at.
    """
    goal = len(boxes) - 1
    came_from = {0: -1}
    level = [0]
    while goal not in came_from:
        following: list[int] = []
        for i in level:
            for j in _within_cone(boxes, positions, i, tolerance)[::-1]:
                if int(j) not in came_from and _line_keeps(boxes, positions, i, int(j), tolerance):
                    came_from[int(j)] = i
                    following.append(int(j))
                    if j == goal:
                        break
        level = following
    path = [goal]
    while came_from[path[-1]] >= 0:
        path.append(came_from[path[-1]])
    return path[::-1]


def _within_cone(
    boxes: NDArray[np.float64], positions: NDArray[np.float64], i: int, tolerance: float
) -> NDArray[np.int64]:
    """Rows j > i that a line from row i may reach: a necessary test that drops most rows.

    IoU >= tolerance holds each side of a box: the 1-D IoU of its x (or y) interval is at least the IoU, so a
    side may lie outside the true one by at most length * (1/tolerance - 1) and inside by length * (1 -
    tolerance). Each row narrows the slopes that are left; once none is left no later row fits, so rows are looked
    at in blocks that double, and in no more than twice as many (or one block) as the cone lasts.
    """
    steepest, flattest = np.full(4, np.inf), np.full(4, -np.inf)
    found, begin, block = [], i + 1, _BLOCK
    while begin < len(boxes) and (steepest + 2 * _SLACK >= flattest).all():
        rows = slice(begin, begin + block)
        after, step = boxes[rows], (positions[rows] - positions[i])[:, None]
        length = np.tile(after[:, 2:] - after[:, :2], 2)
        outward, inward = length * (1 / tolerance - 1) + _SLACK, length * (1 - tolerance) + _SLACK
        low, high = after - np.where(_FIRST_SIDES, outward, inward), after + np.where(_FIRST_SIDES, inward, outward)
        most = np.minimum(np.minimum.accumulate((high - boxes[i]) / step), steepest)
        least = np.maximum(np.maximum.accumulate((low - boxes[i]) / step), flattest)
        slope = (after - boxes[i]) / step
        fits = ((slope <= most + _SLACK) & (slope >= least - _SLACK)).all(axis=1)
        found.append(np.flatnonzero(fits) + begin)
        steepest, flattest = most[-1], least[-1]
        begin, block = begin + block, 2 * block
    return np.concatenate(found) if found else np.empty(0, np.int64)


def _line_keeps(boxes: NDArray[np.float64], positions: NDArray[np.float64], i: int, j: int, tolerance: float) -> bool:
    between = slice(i + 1, j)
    share = ((positions[between] - positions[i]) / (positions[j] - positions[i]))[:, None]
    line = boxes[i] + share * (boxes[j] - boxes[i])
    return bool((box_iou(line, boxes[between]) >= tolerance - _SLACK).all())
