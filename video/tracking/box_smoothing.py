"""Takes the noise of single frames out of a track's boxes, which would cost keyframes."""

from __future__ import annotations

import itertools
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from video.keyframes import find_runs
from video.masks import box_iou

# Seconds. Chosen on DAVIS-dev with `video.keyframes.KEYFRAME_IOU`: `make bench-keyframes DAVIS=DIR SAM2=DIR`.
_SMOOTHING_S = 0.04
_TREMBLING_IOU = 0.7, 0.85  # with the smoothed box: a box with less has really moved, one with more trembles
_CONNECTED_IOU = 0.5  # of the boxes of neighbouring rows; with less the box jumps
_KERNEL_REACH = 3.0  # in standard deviations
_MIN_SPREAD = 1e-9  # rows so close in time to a single one tell no slope


def remove_outlier_boxes(
    boxes: NDArray[np.float64],
    visible: NDArray[np.bool_],
    times: NDArray[np.float64],
    *,
    tolerance_iou: float = 0.9,
    keep: Collection[int] = (),
) -> NDArray[np.float64]:
    """Replace boxes that jump away for one frame by the interpolation of their neighbours.

    Such a box comes from a mask that fails on one frame. It is wrong, and it costs keyframes, because no interpolation
    can follow it. A box is an outlier if it differs from the interpolation of its two neighbours, from the
    extrapolation of the two frames before and from that of the two frames after, while these three agree. So turns,
    starts and stops stay as they are, and so do the first two and last two frames of each appearance.

    Args:
        boxes: (n, 4) float64 xyxy.
        visible: (n,) bool.
        times: (n,) float64 seconds, strictly ascending.
        tolerance_iou: Boxes with a smaller IoU differ.
        keep: Rows that are never changed.

    Returns:
        (n, 4) float64. All other boxes are the same to the bit.

    Raises:
        ValueError: If the shapes do not fit.
    """
    _check_shapes(boxes, visible, times)
    n = len(boxes)
    out = boxes.copy()
    if n < 5:
        return out
    i = np.arange(2, n - 2)
    from_before = _extrapolate(boxes, times, i, -2, -1)
    from_after = _extrapolate(boxes, times, i, 1, 2)
    between = _extrapolate(boxes, times, i, -1, 1)
    inner = boxes[2:-2]
    all_visible = np.all([visible[i + k] for k in range(-2, 3)], axis=0)
    differs = np.all([box_iou(inner, other) < tolerance_iou for other in (from_before, from_after, between)], axis=0)
    others_agree = (box_iou(from_before, between) >= tolerance_iou) & (box_iou(from_after, between) >= tolerance_iou)
    is_outlier = all_visible & differs & others_agree & ~np.isin(i, list(keep))
    out[2:-2][is_outlier] = between[is_outlier]
    return out


def smooth_boxes(
    boxes: NDArray[np.float64], visible: NDArray[np.bool_], times: NDArray[np.float64], *, keep: Collection[int] = ()
) -> NDArray[np.float64]:
    """Smooth the boxes over time, by locally weighted linear regression (Cleveland 1979) with a Gaussian kernel.

    A mask's edge trembles from frame to frame, and a box reaches as far as the mask's outermost pixel. A box that moves
    and grows evenly stays as it is, at the ends of an appearance too. So does one that would change much, since it does
    not tremble but move. Each appearance is smoothed by itself, and so is what comes before and after a jump, as at a
    cut.

    Args:
        boxes: (n, 4) float64 xyxy.
        visible: (n,) bool.
        times: (n,) float64 seconds, strictly ascending.
        keep: Rows that are never changed.

    Returns:
        (n, 4) float64, each appearance within the range of its boxes.

    Raises:
        ValueError: If the shapes do not fit.
    """
    _check_shapes(boxes, visible, times)
    out = boxes.copy()
    jumps = 1 + np.flatnonzero(box_iou(boxes[:-1], boxes[1:]) < _CONNECTED_IOU)
    edges = {edge for first, last in find_runs(visible) for edge in (first, last + 1)}
    for first, end in itertools.pairwise(sorted({*edges, *jumps.tolist()})):
        if not visible[first]:
            continue
        own = slice(first, end)
        # A line through the first or last rows may lead out of the picture.
        smooth = np.clip(_local_regression(boxes[own], times[own]), boxes[own].min(axis=0), boxes[own].max(axis=0))
        # Gradually, since a track that went back and forth between its own and smooth boxes would jump.
        low, high = _TREMBLING_IOU
        share = np.clip((box_iou(smooth, boxes[own]) - low) / (high - low), 0, 1)[:, None]
        out[own] = boxes[own] + share * (smooth - boxes[own])
    out[list(keep)] = boxes[list(keep)]
    return out


def _check_shapes(boxes: NDArray[np.float64], visible: NDArray[np.bool_], times: NDArray[np.float64]) -> None:
    n = len(boxes)
    if boxes.shape != (n, 4) or visible.shape != (n,) or times.shape != (n,):
        raise ValueError(f"(n, 4), (n,) and (n,) are needed, got {boxes.shape}, {visible.shape}, {times.shape}")


def _local_regression(values: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n, d): for each row the value at its time of the line that fits the rows about it best."""
    n = len(values)
    reach = _KERNEL_REACH * _SMOOTHING_S
    ends = np.searchsorted(times, times + reach, side="right") - np.arange(n)
    sums = np.zeros((3, n, 1))  # of the weights, times the distance in time to the power of 0, 1 and 2
    moments = np.zeros((2, n, values.shape[1]))
    for k in range(-int(ends.max()) + 1, int(ends.max())):
        rows = np.arange(max(0, -k), min(n, n - k))
        distance = times[rows + k] - times[rows]
        weight = np.where(np.abs(distance) <= reach, np.exp(-0.5 * (distance / _SMOOTHING_S) ** 2), 0.0)
        for power in range(3):
            sums[power, rows, 0] += weight * distance**power
        for power in range(2):
            moments[power, rows] += (weight * distance**power)[:, None] * values[rows + k]
    spread = sums[0] * sums[2] - sums[1] ** 2
    is_alone = spread <= _MIN_SPREAD * sums[0] ** 2 * _SMOOTHING_S**2
    line = (sums[2] * moments[0] - sums[1] * moments[1]) / np.where(is_alone, 1.0, spread)
    return np.where(is_alone, values, line)


def _extrapolate(
    boxes: NDArray[np.float64], times: NDArray[np.float64], i: NDArray[np.int64], a: int, b: int
) -> NDArray[np.float64]:
    """Return the boxes of the rows i on the straight line through the rows i + a and i + b, (len(i), 4)."""
    share = ((times[i] - times[i + a]) / (times[i + b] - times[i + a]))[:, None]
    line = boxes[i + a] + share * (boxes[i + b] - boxes[i + a])
    return np.concatenate([line[:, :2], np.maximum(line[:, 2:], line[:, :2])], 1)
