"""The IoU to expect of each mask of a track: from the tracker's score, and from the shape of the mask.

A tracker's score says how well a mask fits what the tracker remembers. The memory takes over what the masks take in, so
the score stays high on something in front of the object that was taken for it, and on a part of the object. The mask
then no longer has the shape of the one that was known. The two together are a logistic model.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from video import masks
from video.types import MaskTrack

# Under it a person should look at a frame: on the clips of the fit, below, it names 0.7 of the frames whose boxes have
# an IoU below 0.8.
DOUBTFUL_IOU = 0.88
_SCORE_EDGE = 0.01  # scores nearer to 0 or 1 are clipped to it
# By tracker: the weights of the columns of `iou_evidence`, and the bias. `make bench-lost` fits them; these are of
# DAVIS-dev and 14 clips composed of its objects.
_MODELS: Mapping[str, tuple[float, ...]] = MappingProxyType({"memory": (0.368, 1.540, -0.113)})


def expect_ious(track: MaskTrack, *, known: Collection[int], tracker: str) -> NDArray[np.float64]:
    """Turn a tracker's scores into the IoUs to expect with the true masks.

    Args:
        track: A track with the tracker's scores and the boxes of its masks.
        known: Frames whose masks were not found by tracking: drawn, or found by words.
        tracker: The tracker's name. The scores of a tracker without a fitted model stay as they are.

    Returns:
        (n,) float64 in [0, 1]. A score of 1 (a given mask) and scores where the object is not visible stay as they are.
    """
    if tracker not in _MODELS:
        return track.scores
    expected = apply_logistic(iou_evidence(track, known=known), _MODELS[tracker])
    return np.where(track.visible & (track.scores < 1), expected, track.scores)


def iou_evidence(track: MaskTrack, *, known: Collection[int]) -> NDArray[np.float64]:
    """Return what speaks for each mask of a track, larger where it is likelier right.

    Args:
        track: As for `expect_ious`.
        known: As for `expect_ious`.

    Returns:
        (n, 2) float64: the logit of the tracker's score; and in [0, 1] how like the shape is to that on the nearest
        known frame: the IoU of the two boxes, with one centre and scaled to one area, times the ratio, smaller to
        larger, of the shares of their boxes that the masks fill. It is 1 where there is no mask to compare with.
    """
    rows = np.arange(len(track.frames))
    known_rows = np.flatnonzero(np.isin(track.frames, list(known)) & track.visible)
    alike: NDArray[np.float64] = np.ones(len(rows))
    if len(known_rows):
        nearest = known_rows[np.rint(np.interp(rows, known_rows, np.arange(len(known_rows)))).astype(np.int64)]
        sides = (track.boxes[:, 2:] - track.boxes[:, :2]) * track.size
        box_px = np.maximum(sides.prod(axis=1), 1e-9)
        scaled = sides / np.sqrt(box_px)[:, None]
        shared = np.minimum(scaled, scaled[nearest]).prod(axis=1)
        filled = np.array([masks.area(rle) for rle in track.rles]) / box_px
        ratio = np.minimum(filled, filled[nearest]) / np.maximum(np.maximum(filled, filled[nearest]), 1e-9)
        alike = np.where(track.visible, shared / (2 - shared) * ratio, 1.0)
    return np.stack([logit(track.scores.clip(_SCORE_EDGE, 1 - _SCORE_EDGE)), alike], axis=1)


def apply_logistic(evidence: NDArray[np.float64], model: Sequence[float]) -> NDArray[np.float64]:
    """Return what a logistic model makes of (n, k) evidence, (n,) float64; the model is k weights and the bias."""
    *weights, bias = model
    return np.asarray(expit(evidence @ np.array(weights) + bias))
