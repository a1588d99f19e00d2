"""Between two frames on which an object is known it is followed from both: one track of the two, and where they differ.

Forward and backward agreeing on a frame is a check of both that costs nothing (forward-backward consistency, as of
points in Kalal et al. 2010, "Forward-Backward Error: Automatic Detection of Tracking Failures").
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from video import masks
from video.types import Rle

Seen = tuple[Rle, float, bool]  # mask, score in [0, 1], visible

_MEET, _LACK = 0.5, 0.1  # agreement from which on two passes meet; and what a place may lack of the best
# Times the share of the way from its start: how much of a score a pass loses that the other contradicts altogether.
# DAVIS clips, every third frame, by flow: AUROC of frames with J < 0.8 0.900 -> 0.927, distance of score and J 0.105 ->
# 0.088; drawn clips 0.939 -> 0.950 and 0.050 -> 0.042. Without regard to the way DAVIS fell to 0.840.
_BLAME = 0.5
# Frames apart, and agreement: known frames so near whose passes contradict each other on every frame between are
# bridged. From 16 frames on either may be the better one (`make bench-joining`).
_NEAR, _APART = 8, 0.6
_UNKNOWN = 0.5  # agreement where only one of the two sees the object: neither for it nor against it


def agreement(ahead: Sequence[Seen], behind: Sequence[Seen]) -> NDArray[np.float64]:
    """(n,) in [0, 1]: IoU of what two passes see, frame by frame; 1 where neither sees anything."""
    return np.array([_iou(a, b) for a, b in zip(ahead, behind, strict=True)], np.float64)


def join(ahead: Sequence[Seen], behind: Sequence[Seen]) -> list[Seen]:
    """One track of two passes over the same frames, the first of which starts the one and the last the other.

    It goes over from the first pass to the second where they agree best; of frames that are as good, and where they
    nowhere agree, where the sum of scores is greatest. So what both passes swap with its look-alike is put right.
    A score is lowered where the passes contradict each other, the more the farther from where its pass started: near
    it the other one is to blame. The first and the last frame stay as they are. Between frames that are near each other
    and whose passes meet nowhere, the object is taken straight from the one place to the other.
    """
    n = len(ahead)
    if n < 3:
        return [ahead[0], *behind[1:]]
    agree = agreement(ahead[1:-1], behind[1:-1])
    split = _split(ahead, behind, agree)
    both = np.array([a[2] and b[2] for a, b in zip(ahead[1:-1], behind[1:-1], strict=True)])
    apart = n - 1 <= _NEAR and both.any() and bool((_meeting(agree) < _APART).all())
    bridge = _bridge(ahead[0][0], behind[-1][0], n) if apart else None
    out = [ahead[0]]
    for row in range(1, n - 1):
        mask, score, visible = (ahead if row < split else behind)[row]
        if bridge is not None and visible:
            mask = bridge[row - 1]
        far = (row if row < split else n - 1 - row) / (n - 1)
        out.append((mask, score * (1 - _BLAME * far * (1 - float(agree[row - 1]))), visible))
    return [*out, behind[-1]]


def _split(ahead: Sequence[Seen], behind: Sequence[Seen], agree: NDArray[np.float64]) -> int:
    """The first row, from 1 to n - 1, that is taken from the second pass.

    A little is taken off a score for each frame of distance from where its pass started, so that two passes that are
    sure and agree to the end meet half-way.
    """
    n = len(ahead)
    fade = 0.1 * np.arange(n) / n
    gain_a = np.array([s if v else 0.0 for _, s, v in ahead]) - fade
    gain_b = np.array([s if v else 0.0 for _, s, v in behind]) - fade[::-1]
    splits = np.arange(1, n)
    sums = np.cumsum(gain_a)[splits - 1] + np.cumsum(gain_b[::-1])[::-1][splits]
    alike = np.array([a[2] == b[2] for a, b in zip(ahead[1:-1], behind[1:-1], strict=True)])
    agree = np.where(alike, agree, 0.0)  # who sees nothing meets nobody
    meet = _meeting(agree)
    if meet.max() >= _MEET:
        sums = np.where(meet >= meet.max() - _LACK, sums, -np.inf)
    return int(splits[sums.argmax()])


def _meeting(agree: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n - 1,) between row s - 1 and row s: the mean agreement of both, of those that were followed and not given."""
    meet = np.convolve(agree, [0.5, 0.5])
    meet[0], meet[-1] = agree[0], agree[-1]
    return np.asarray(meet, np.float64)


def _bridge(first: Rle, last: Rle, n: int) -> list[Rle] | None:
    """The masks of rows 1 to n - 2: the nearer known one, in a box that goes straight from the one's to the other's."""
    a, b = masks.rle_box(first), masks.rle_box(last)
    if a is None or b is None:
        return None
    ends = (masks.decode(first), a), (masks.decode(last), b)
    way = np.linspace(a, b, n)[1:-1]
    return [masks.encode(_put(*ends[row >= n / 2 - 1], box)) for row, box in enumerate(way)]


def _put(
    mask: NDArray[np.bool_], old: tuple[float, float, float, float], new: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """What is in a box (normalised xyxy) of the mask, moved and stretched into another."""
    h, w = mask.shape
    side = np.array([w, h, w, h])
    a, b = np.array(old) * side, new * side
    scale = (b[2:] - b[:2]) / np.maximum(a[2:] - a[:2], 1)
    shift = b[:2] - 0.5 - scale * (a[:2] - 0.5)  # pixel (0, 0) has its centre at 0
    how = np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]]])
    moved = cv2.warpAffine(mask.astype(np.float32), how, (w, h), flags=cv2.INTER_LINEAR)
    return np.asarray(moved >= 0.5, np.bool_)


def _iou(a: Seen, b: Seen) -> float:
    if not (a[2] and b[2]):
        return 1.0 if a[2] == b[2] else _UNKNOWN
    return float(coco.iou([_coco(a[0])], [_coco(b[0])], [0])[0, 0])


def _coco(rle: Rle) -> dict[str, object]:
    return {"size": [rle.size[1], rle.size[0]], "counts": rle.counts}
