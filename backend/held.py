"""A track held to the keyframes that a person fixed: they stay exactly, what lies between follows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from backend.feedback import FixedKeyframe
from backend.grid import hidden_by

_LEAST = 1e-4  # of the frame: no box gets smaller


def held(
    boxes: NDArray[np.float64], visible: NDArray[np.bool_], fixed: Sequence[FixedKeyframe]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], dict[int, FixedKeyframe]]:
    """Boxes (n, 4) normalised xyxy and visible (n,) by editor frame, corrected; and the fixed keyframe of each row.

    A person's box differs from the track's in place and size (a hat that counts, a shadow that does not). Between two
    fixed keyframes that difference goes over from the one to the other, before the first and after the last it stays.
    """
    rows = {f.frame - 1: f for f in fixed if f.frame <= len(boxes) and f.box() is not None}
    boxes = spread(boxes, visible, {row: _box(keyframe) for row, keyframe in rows.items()})
    for row, keyframe in rows.items():
        boxes[row] = _box(keyframe)
    visible = hidden_by(visible, rows.values())
    return boxes, visible, {row: f for row, f in rows.items() if visible[row]}


def spread(
    boxes: NDArray[np.float64], visible: NDArray[np.bool_], drawn: Mapping[int, NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Boxes (n, 4) normalised xyxy by row that are those drawn on their rows, and follow their difference elsewhere.

    Between two drawn boxes the difference goes over from the one to the other, before the first and after the last it
    stays. Rows that are not visible keep what they have.
    """
    known = sorted(row for row in drawn if visible[row])
    if not known:
        return boxes.copy()
    differences = np.array([_params(drawn[row]) - _params(boxes[row]) for row in known])
    change = np.stack([np.interp(np.arange(len(boxes)), known, column) for column in differences.T], 1)
    moved = _from_params(np.stack([_params(box) for box in boxes]) + change)
    out = np.where(visible[:, None], moved, boxes)
    for row in known:
        out[row] = drawn[row]
    return out


def _box(keyframe: FixedKeyframe) -> NDArray[np.float64]:
    return np.array(keyframe.box(), np.float64)


def _params(box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre and the logarithm of the sides: what differences can be taken and interpolated of."""
    sides = np.maximum(box[2:] - box[:2], _LEAST)
    return np.concatenate([(box[:2] + box[2:]) / 2, np.log(sides)])


def _from_params(params: NDArray[np.float64]) -> NDArray[np.float64]:
    half = np.exp(params[:, 2:]) / 2
    boxes = np.concatenate([params[:, :2] - half, params[:, :2] + half], 1).clip(0, 1)
    # A box that was pushed out of the frame keeps a sliver at its edge.
    low = np.minimum(boxes[:, :2], 1 - _LEAST)
    return np.concatenate([low, np.maximum(boxes[:, 2:], low + _LEAST)], 1)
