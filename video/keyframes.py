"""Reduces a box on every frame to the fewest keyframes, which a person then has to check.

Keyframes mean, to the editor and to `interpolate_boxes`: the object is hidden before the first one; between two the box
is linear; a keyframe with `enabled` False is still drawn itself and hides the object from the next frame to the next
keyframe; after the last keyframe the box stays for ever unless that one has `enabled` False. So a run of visible frames
a..b must have keyframes on a and b, with `enabled` False on b. Only the keyframes between are free.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from video.masks import box_iou
from video.types import Keyframe, MaskTrack

if TYPE_CHECKING:  # SciPy is imported where boxes are fitted: it would be half of a command's start
    from scipy.sparse import csr_array

# What the interpolated boxes must keep of the track's. People correct below 0.8; the rest is for the track's own error.
KEYFRAME_IOU = 0.88
_SLACK = 1e-9  # so that rounding does not reject an IoU that equals the tolerance
_BLOCK = 32  # rows that are tested at once
_NEXT_PART, _LEAST_PART = 0.6, 0.1  # of the way to the fitted boxes: what is tried next, and the least
_EXACT = 4096  # rows of a run up to which the result is optimal; for longer runs that would take hours
_OUTWARD = np.array([-1, -1, 1, 1])  # of left, top, right and bottom
# (12, 4): each side alone, and all four with each choice of signs, but only one of two opposite choices.
_DIRECTIONS = np.vstack([np.eye(4), [(1, *signs) for signs in itertools.product((-1, 1), repeat=3)]])


def make_keyframes(
    track: MaskTrack, times: ArrayLike, *, tolerance_iou: float = KEYFRAME_IOU, must: Sequence[int] = ()
) -> list[Keyframe]:
    """Reduce a track's boxes to few keyframes whose interpolation in time fits every visible box.

    Their frames are those of `select_keyframes`, their boxes those of `fit_keyframe_boxes`.

    Args:
        track: The track.
        times: (N,) seconds of the clip's frames, indexed by `track.frames`.
        tolerance_iou: The least IoU of a visible box with the interpolated one, in (0, 1].
        must: Frames that have to be keyframes, with the track's own box, where the object is visible.

    Returns:
        The keyframes, ascending; none for a track that is visible nowhere.

    Raises:
        ValueError: If a time is missing or the tolerance is out of range.
    """
    times = np.asarray(times, np.float64)
    if times.ndim != 1 or len(times) <= int(track.frames[-1]):
        raise ValueError(
            f"times must be (N,) with N > {track.frames[-1]}, the track's last frame; got shape {times.shape}"
        )
    rows = np.flatnonzero(np.isin(track.frames, np.asarray(must, np.int64)) & track.visible).tolist()
    positions = times[track.frames]
    chosen = select_keyframes(track.boxes, track.visible, positions=positions, tolerance_iou=tolerance_iou, must=rows)
    boxes = fit_keyframe_boxes(
        track.boxes, track.visible, chosen, positions=positions, tolerance_iou=tolerance_iou, fixed=rows
    )
    return [
        Keyframe(int(track.frames[i]), (x0, y0, x1, y1), enabled, float(track.scores[i]))
        for (i, enabled), (x0, y0, x1, y1) in zip(chosen, boxes.tolist(), strict=True)
    ]


def select_keyframes(
    boxes: NDArray[np.float64],
    visible: NDArray[np.bool_],
    *,
    positions: ArrayLike,
    tolerance_iou: float = KEYFRAME_IOU,
    must: Sequence[int] = (),
) -> list[tuple[int, bool]]:
    """Choose the fewest rows as keyframes so that the interpolation fits every visible box.

    In a run of more than 4096 rows without a required one, the fewest with a keyframe at least every 512 rows are
    chosen, and then those that can be spared are dropped.

    Args:
        boxes: (n, 4) float64 xyxy.
        visible: (n,) bool.
        positions: (n,) strictly ascending, the scale of the interpolation: seconds, or frame numbers of an editor.
        tolerance_iou: The least IoU of a visible box with the interpolated one, in (0, 1].
        must: Visible rows that have to be keyframes.

    Returns:
        (row, enabled) of each keyframe, rows ascending.

    Raises:
        ValueError: If shapes do not fit, positions do not ascend, or the tolerance is out of range.
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
    for first, last in find_runs(visible):
        stops = sorted({first, last, *(row for row in must if first < row < last)})
        rows = [first]
        for a, b in itertools.pairwise(stops):
            part, at = boxes[a : b + 1], positions[a : b + 1]
            chosen = _chosen_rows(len(part), functools.partial(_box_lines, part, at, tolerance_iou))
            rows += [a + row for row in chosen[1:]]
        out += [(row, row != last) for row in rows]
    return out


def fit_keyframe_boxes(
    boxes: NDArray[np.float64],
    visible: NDArray[np.bool_],
    chosen: Sequence[tuple[int, bool]],
    *,
    positions: ArrayLike,
    tolerance_iou: float = KEYFRAME_IOU,
    fixed: Collection[int] = (),
) -> NDArray[np.float64]:
    """Return the keyframes' boxes whose interpolation is nearest to all visible boxes, in the least squares.

    A keyframe that takes a row's own box takes its error too; this one averages over all rows on both sides. Where an
    interpolated box would leave the tolerance, the keyframes beside it go back towards their rows' own boxes.

    Args:
        boxes: (n, 4) float64 xyxy.
        visible: (n,) bool.
        chosen: (row, enabled) of m keyframes, the result of `select_keyframes` for the same boxes and tolerance.
        positions: (n,) strictly ascending, the scale of the interpolation.
        tolerance_iou: The least IoU of a visible box with the interpolated one, in (0, 1].
        fixed: Rows that keep their own box.

    Returns:
        (m, 4) float64 xyxy, within the range of the visible boxes.
    """
    at = np.array([row for row, _ in chosen], np.int64)
    out = boxes[at].copy()
    positions, free = np.asarray(positions, np.float64), ~np.isin(at, list(fixed))
    for first, last in find_runs(visible):
        keys = np.flatnonzero((at >= first) & (at <= last))
        own = slice(first, last + 1)
        weights = _interpolation_weights(positions[own], at[keys] - first)
        out[keys] = _fit_run(boxes[own], weights, out[keys], free[keys], tolerance_iou)
    return out


def find_runs(visible: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the runs of True in (n,) bool as (first, last), both included."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], visible, [False]]).astype(np.int8)))
    return [(int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def interpolate_boxes(
    keyframes: Sequence[Keyframe], frames: ArrayLike, *, times: ArrayLike | None = None
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the boxes that an editor draws for some keyframes.

    Args:
        keyframes: Ascending by frame.
        frames: (n,) frames, in the same count as the keyframes'.
        times: (N,) seconds by frame. Without it boxes are linear in the frame number.

    Returns:
        (n, 4) normalised xyxy, zeros where hidden, and (n,) bool, where the object is visible.

    Raises:
        ValueError: If the keyframes do not ascend.
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


def fewest_in_band(values: NDArray[np.float64], positions: ArrayLike, band: ArrayLike) -> list[int]:
    """Choose the fewest rows so that linear interpolation between them keeps every value within a band.

    In more than 4096 rows the fewest with lines of at most 512 rows are chosen, and then those that can be spared are
    dropped.

    Args:
        values: (n, d).
        positions: (n,), strictly ascending, the scale of the interpolation.
        band: (n,), how far any of a row's values may be off.

    Returns:
        The rows, the first and the last among them.

    Raises:
        ValueError: If shapes do not fit.
    """
    positions, band = np.asarray(positions, np.float64), np.asarray(band, np.float64)
    n = len(values)
    if values.ndim != 2 or positions.shape != (n,) or band.shape != (n,):
        got = f"{values.shape}, {positions.shape}, {band.shape}"
        raise ValueError(f"values, positions and band must be (n, d), (n,), (n,); got {got}")
    return _chosen_rows(n, lambda longest: lambda i, wanted: _band_lines(values, positions, band, i, wanted, longest))


def _interpolation_weights(positions: NDArray[np.float64], at: NDArray[np.int64]) -> csr_array:
    """Return (n, k): the weight of the value at each of k rows in the linear interpolation at each of n positions."""
    from scipy.sparse import csr_array

    n = len(positions)
    if len(at) == 1:
        return csr_array(np.ones((n, 1)))
    before = np.clip(np.searchsorted(at, np.arange(n), side="right") - 1, 0, len(at) - 2)
    begin, end = positions[at[before]], positions[at[before + 1]]
    share = (positions - begin) / (end - begin)
    rows, columns = np.tile(np.arange(n), 2), np.concatenate([before, before + 1])
    return csr_array((np.concatenate([1 - share, share]), (rows, columns)), shape=(n, len(at)))


def _fit_run(
    boxes: NDArray[np.float64], weights: csr_array, own: NDArray[np.float64], free: NDArray[np.bool_], tolerance: float
) -> NDArray[np.float64]:
    """Return (k, 4): the keyframes' boxes of one run; see `fit_keyframe_boxes`. own: the boxes of the k rows."""
    from scipy.sparse.linalg import spsolve

    if not free.any():
        return own
    unknown = weights[:, free]
    rest = boxes - weights[:, ~free] @ own[~free]
    solved = np.asarray(spsolve((unknown.T @ unknown).tocsc(), unknown.T @ rest)).reshape(-1, 4)
    step = np.zeros_like(own)
    step[free] = np.clip(solved, boxes.min(axis=0), boxes.max(axis=0)) - own[free]
    touches = (weights > 0).astype(np.float64)
    part = np.ones(len(own))
    while True:
        fitted = own + part[:, None] * step
        misses = box_iou(np.asarray(weights @ fitted), boxes) < tolerance - _SLACK
        going_back = (touches.T @ misses > 0) & (part > 0)
        if not going_back.any():
            return fitted
        part[going_back] = np.where(part[going_back] > _LEAST_PART, _NEXT_PART * part[going_back], 0.0)


# Maps row i and (n,) bool, the wanted rows, to those of them to which a line from i fits all rows between.
Lines = Callable[[int, NDArray[np.bool_]], Iterable[int]]


def _box_lines(boxes: NDArray[np.float64], positions: NDArray[np.float64], tolerance: float, longest: int) -> Lines:
    def lines(i: int, wanted: NDArray[np.bool_]) -> Iterator[int]:
        reached = i + _within_cone(boxes[i : i + longest + 1], positions[i : i + longest + 1], tolerance)
        return _fitting_lines(boxes, positions, i, reached[wanted[reached]], tolerance)

    return lines


def _band_lines(
    values: NDArray[np.float64],
    positions: NDArray[np.float64],
    band: NDArray[np.float64],
    i: int,
    wanted: NDArray[np.bool_],
    longest: int,
) -> list[int]:
    """Return the wanted rows to which a line from row i keeps all rows between within their bands, farthest first.

    Each row narrows the slopes that are left for each value; a line fits if its slopes are among them.
    """
    found: list[int] = []
    steepest, flattest = np.full(values.shape[1], np.inf), np.full(values.shape[1], -np.inf)
    begin, block, end = i + 1, _BLOCK, min(len(values), i + longest + 1)
    while begin < end and (steepest + _SLACK >= flattest).all():
        rows = slice(begin, min(begin + block, end))
        step = (positions[rows] - positions[i])[:, None]
        offset, width = values[rows] - values[i], band[rows][:, None]
        most = np.minimum(np.minimum.accumulate((offset + width) / step), steepest)
        least = np.maximum(np.maximum.accumulate((offset - width) / step), flattest)
        before_most, before_least = np.vstack([steepest, most[:-1]]), np.vstack([flattest, least[:-1]])
        slope = offset / step
        fits = ((slope <= before_most + _SLACK) & (slope >= before_least - _SLACK)).all(axis=1) & wanted[rows]
        found += (np.flatnonzero(fits) + begin).tolist()
        steepest, flattest = most[-1], least[-1]
        begin, block = rows.stop, 2 * block
    return found[::-1]


def _chosen_rows(n: int, lines: Callable[[int], Lines]) -> list[int]:
    """Return the keyframes of one run: the fewest up to `_EXACT` rows.

    lines: makes the line test for the number of rows that a line may span at most.
    """
    everything = np.ones(n, np.bool_)
    if n <= _EXACT:
        return _shortest_path(n, lines(n), everything)
    last = np.zeros(n, np.bool_)
    last[-1] = True
    if any(True for _ in lines(n)(0, last)):
        return [0, n - 1]
    some = np.zeros(n, np.bool_)
    some[_shortest_path(n, lines(_EXACT // 8), everything)] = True
    return _shortest_path(n, lines(n), some)


def _shortest_path(n: int, lines: Lines, allowed: NDArray[np.bool_]) -> list[int]:
    """Return the fewest allowed rows, first and last among them, such that there is a line from each to the next.

    Breadth-first search: rows are nodes, lines are edges. A longer edge may fit where a shorter one does not, so every
    edge is tried.
    """
    goal = n - 1
    unseen = allowed.copy()
    came_from = {0: -1}
    unseen[0] = False
    level = [0]
    while unseen[goal]:
        following: list[int] = []
        for i in level:
            for j in lines(i, unseen):
                unseen[j] = False
                came_from[j] = i
                following.append(j)
                if j == goal:
                    break
        level = following
    path = [goal]
    while came_from[path[-1]] >= 0:
        path.append(came_from[path[-1]])
    return path[::-1]


def _within_cone(boxes: NDArray[np.float64], positions: NDArray[np.float64], tolerance: float) -> NDArray[np.int64]:
    """Return the rows that a line from the first one may reach, by a necessary condition that rules out most rows.

    Let a be how far the sides of one box lie outside the other's and b how far inside, as shares of its length. Then
    -log(IoU) >= sum of log(1 + a) - log(1 - b) over x and y, which is at least c * a + b, with c the chord of the
    logarithm up to 1 / tolerance - 1. So the distance of a row from the line is bounded in every direction of the four
    sides (`_DIRECTIONS`: each side alone, and all with all signs), and each row narrows the slopes that are left. Once
    none is left no later row fits, so rows are tested in blocks that double, at most twice as many rows as the cone
    lasts.
    """
    budget = -np.log(tolerance) + _SLACK
    chord = budget / (1 / tolerance - 1 + _SLACK)
    scale = np.tile(1 / np.maximum(boxes[0, 2:] - boxes[0, :2], _SLACK), 2)
    directions = _DIRECTIONS * scale
    outward = _DIRECTIONS * _OUTWARD > 0
    costs = np.abs(directions) / np.where(outward, chord, 1.0), np.abs(directions) / np.where(outward, 1.0, chord)
    steepest, flattest = np.full(len(directions), np.inf), np.full(len(directions), -np.inf)
    found, begin, block = [], 1, _BLOCK
    while begin < len(boxes) and (steepest + 2 * _SLACK >= flattest).all():
        rows = slice(begin, begin + block)
        after, step = boxes[rows], (positions[rows] - positions[0])[:, None]
        length = np.tile(after[:, 2:] - after[:, :2], 2)
        bound_up, bound_down = (budget * (length[:, None] * cost).max(axis=2) + _SLACK for cost in costs)
        offset = (after - boxes[0]) @ directions.T
        most = np.minimum(np.minimum.accumulate((offset + bound_up) / step), steepest)
        least = np.maximum(np.maximum.accumulate((offset - bound_down) / step), flattest)
        slope = offset / step
        fits = ((slope <= most + _SLACK) & (slope >= least - _SLACK)).all(axis=1)
        found.append(np.flatnonzero(fits) + begin)
        steepest, flattest = most[-1], least[-1]
        begin, block = begin + block, 2 * block
    return np.concatenate(found) if found else np.empty(0, np.int64)


def _fitting_lines(
    boxes: NDArray[np.float64], positions: NDArray[np.float64], i: int, ends: NDArray[np.int64], tolerance: float
) -> Iterator[int]:
    """Yield those of `ends` (ascending) to which the line from row i fits all rows between, the farthest first.

    A row that one line misses by most is usually missed by the lines to neighbouring rows too, so it is tested first.
    """
    while len(ends):
        j = int(ends[-1])
        kept = _iou_on_lines(boxes, positions, i, np.array([j]), np.arange(i + 1, j))
        if not len(kept) or kept.min() >= tolerance - _SLACK:
            yield j
            ends = ends[:-1]
            continue
        missed = i + 1 + int(kept.argmin())
        after_missed = ends[ends > missed]
        good = after_missed[_iou_on_lines(boxes, positions, i, after_missed, np.array([missed])) >= tolerance - _SLACK]
        ends = np.concatenate([ends[ends <= missed], good[good != j]])


def _iou_on_lines(
    boxes: NDArray[np.float64], positions: NDArray[np.float64], i: int, ends: NDArray[np.int64], rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the IoU of rows' boxes with lines from row i to ends: one end and many rows, or one row and many ends."""
    share = ((positions[rows] - positions[i]) / (positions[ends] - positions[i]))[:, None]
    return box_iou(boxes[i] + share * (boxes[ends] - boxes[i]), np.broadcast_to(boxes[rows], (len(share), 4)))
