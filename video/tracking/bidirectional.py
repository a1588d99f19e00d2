"""Joins a forward and a backward pass between two frames on which the object is known.

Where both passes agree on a frame, they confirm each other at no cost (forward-backward consistency, as of points in
Kalal et al. 2010, "Forward-Backward Error: Automatic Detection of Tracking Failures").
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from video import masks
from video.types import EncodedObservation, Rle

_MIN_AGREEMENT = 0.5  # passes meet from this agreement on
_AGREEMENT_TOLERANCE = 0.1  # places of so much less than the best agreement are considered too
# The share of its score that a pass loses at its far end if the other pass contradicts it altogether; proportional to
# the distance from its start. Set on DAVIS-dev clips (every third frame, flow tracker): AUROC of frames with J < 0.8
# 0.900 -> 0.927, difference of score and J 0.105 -> 0.088; drawn clips: 0.939 -> 0.950 and 0.050 -> 0.042. Without the
# distance DAVIS-dev falls to 0.840.
_CONTRADICTION_PENALTY = 0.5
# Anchors at most so many frames apart whose passes agree less than this on every frame between are interpolated. From
# 16 frames on either may be better (`make bench-joining`).
_MAX_INTERPOLATED_FRAMES, _MAX_INTERPOLATED_AGREEMENT = 8, 0.6
_UNKNOWN_AGREEMENT = 0.5  # where only one pass sees the object, which is neither for it nor against it


def agreement(forward: Sequence[EncodedObservation], backward: Sequence[EncodedObservation]) -> NDArray[np.float64]:
    """Return the agreement of two passes on each frame.

    Args:
        forward: n observations.
        backward: n observations of the same frames.

    Returns:
        (n,) float64 in [0, 1]: the IoU of the masks; 1 where neither sees the object, 0.5 where one does.
    """
    return np.array([_iou(a, b) for a, b in zip(forward, backward, strict=True)], np.float64)


def join_passes(
    forward: Sequence[EncodedObservation], backward: Sequence[EncodedObservation]
) -> list[EncodedObservation]:
    """Join two passes over the same frames into one.

    The result changes from the forward to the backward pass where they agree best. Among frames of similar agreement,
    and if they agree nowhere, the change is where the sum of the scores is greatest. This also corrects an object that
    both passes swap with its look-alike.

    Scores are lowered where the passes contradict each other, the more the farther a pass is from its start, since near
    the start of one the other is likelier wrong. If the known frames are near each other and the passes contradict each
    other on all frames between, the masks are interpolated from one known mask to the other.

    Args:
        forward: n observations; the first is known.
        backward: n observations of the same frames; the last is known.

    Returns:
        n observations. The first and the last are the known ones.
    """
    n = len(forward)
    if n < 3:
        return [forward[0], *backward[1:]]
    agree = agreement(forward[1:-1], backward[1:-1])
    split = _find_split(forward, backward, agree)
    both = np.array([a[2] and b[2] for a, b in zip(forward[1:-1], backward[1:-1], strict=True)])
    is_contradicted = bool((_agreement_at_splits(agree) < _MAX_INTERPOLATED_AGREEMENT).all())
    interpolate = n - 1 <= _MAX_INTERPOLATED_FRAMES and both.any() and is_contradicted
    interpolated = _interpolate_masks(forward[0][0], backward[-1][0], n) if interpolate else None
    joined = [forward[0]]
    for row in range(1, n - 1):
        mask, score, visible = (forward if row < split else backward)[row]
        if interpolated is not None and visible:
            mask = interpolated[row - 1]
        distance = (row if row < split else n - 1 - row) / (n - 1)
        factor = 1 - _CONTRADICTION_PENALTY * distance * (1 - float(agree[row - 1]))
        joined.append(EncodedObservation(mask, score * factor, visible))
    return [*joined, backward[-1]]


def _find_split(
    forward: Sequence[EncodedObservation], backward: Sequence[EncodedObservation], agree: NDArray[np.float64]
) -> int:
    """Return the first row, from 1 to n - 1, that is taken from the backward pass.

    Scores lose a little with the distance from the start of their pass, so that two passes with equal scores that agree
    everywhere change half-way.
    """
    n = len(forward)
    fade = 0.1 * np.arange(n) / n
    forward_gain = np.array([s if v else 0.0 for _, s, v in forward]) - fade
    backward_gain = np.array([s if v else 0.0 for _, s, v in backward]) - fade[::-1]
    splits = np.arange(1, n)
    sums = np.cumsum(forward_gain)[splits - 1] + np.cumsum(backward_gain[::-1])[::-1][splits]
    same_visibility = np.array([a[2] == b[2] for a, b in zip(forward[1:-1], backward[1:-1], strict=True)])
    agree = np.where(same_visibility, agree, 0.0)  # a pass that has lost the object meets no other
    at_splits = _agreement_at_splits(agree)
    if at_splits.max() >= _MIN_AGREEMENT:
        sums = np.where(at_splits >= at_splits.max() - _AGREEMENT_TOLERANCE, sums, -np.inf)
    return int(splits[sums.argmax()])


def _agreement_at_splits(agree: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n - 1,): the mean agreement of the rows s - 1 and s, without the first and the last row of all."""
    at_splits = np.convolve(agree, [0.5, 0.5])
    at_splits[0], at_splits[-1] = agree[0], agree[-1]
    return np.asarray(at_splits, np.float64)


def _interpolate_masks(first: Rle, last: Rle, n: int) -> list[Rle] | None:
    """Return the masks of rows 1 to n - 2: the nearer of two masks, moved into the linearly interpolated box."""
    a, b = masks.rle_box(first), masks.rle_box(last)
    if a is None or b is None:
        return None
    ends = (masks.decode(first), a), (masks.decode(last), b)
    boxes = np.linspace(a, b, n)[1:-1]
    return [masks.encode(_move_into_box(*ends[row >= n / 2 - 1], box)) for row, box in enumerate(boxes)]


def _move_into_box(
    mask: NDArray[np.bool_], old: tuple[float, float, float, float], new: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return a mask, (h, w) bool, moved and scaled from one box to another, both normalised xyxy."""
    h, w = mask.shape
    side = np.array([w, h, w, h])
    a, b = np.array(old) * side, new * side
    scale = (b[2:] - b[:2]) / np.maximum(a[2:] - a[:2], 1)
    shift = b[:2] - 0.5 - scale * (a[:2] - 0.5)  # OpenCV has the centre of pixel (0, 0) at 0
    matrix = np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]]])
    moved = cv2.warpAffine(mask.astype(np.float32), matrix, (w, h), flags=cv2.INTER_LINEAR)
    return np.asarray(moved >= 0.5, np.bool_)


def _iou(a: EncodedObservation, b: EncodedObservation) -> float:
    if not (a[2] and b[2]):
        return 1.0 if a[2] == b[2] else _UNKNOWN_AGREEMENT
    return float(coco.iou([_coco_rle(a[0])], [_coco_rle(b[0])], [0])[0, 0])


def _coco_rle(rle: Rle) -> dict[str, object]:
    return {"size": [rle.size[1], rle.size[0]], "counts": rle.counts}
