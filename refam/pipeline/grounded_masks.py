"""What the words' frames show, compared: which mask to start from, and where the track has gone astray since.

A mask of one frame may hold its neighbour too, where the two touch. Each is taken for as good as the words are sure on
its frame and as it is filled with their heat.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from video import masks
from video.heatmap_fusion import FusedHeatmaps, certainty
from video.io.probe import ReadingError
from video.masks import Mask
from video.tracking.appearance import ColorModel
from video.types import Heatmap, MaskTrack, Prompt, Segmenter

if TYPE_CHECKING:
    from refam.pipeline.stage_cache import StageCache
    from video.io.reader import Clip

_SAME_PLACE = 0.8  # IoU of the track's mask with the words' own from which on they mean the same thing
_LIKE, _LIKER = 0.8, 0.1  # likeness to the first mask: of a mask that the track is held to, and above the track's own
_LESS_COLOUR = 0.02  # of colours alone: how much less it may be than the track's own


@dataclass(frozen=True, eq=False)
class GroundedMask:
    """The mask that the words lead to on one frame. sure: of the words there; score: the segmenter's."""

    heatmap: Heatmap
    mask: Mask
    looks: ColorModel
    sure: float
    agreement: float
    score: float

    @property
    def frame(self) -> int:
        """Of the clip."""
        return self.heatmap.frame

    @property
    def fill(self) -> float:
        """In [0, 1]: the mean heat under the mask; a mask that runs over a neighbour has little on that part."""
        h, w = self.mask.shape
        heat = cv2.resize(self.heatmap.grid, (w, h), interpolation=cv2.INTER_LINEAR)
        return float(np.clip(heat[self.mask].mean(), 0, 1))

    @functools.cached_property
    def rank(self) -> float:
        """How good a start it is, in [0, 1].

        On 180 objects of drawn clips the first by this had a mean IoU of .941, the surest one .924; .939 and .906 of
        them had .8 or more. How alike a mask is to those of the other frames added nothing.
        """
        return self.sure**3 * self.fill


def likeness(a: ColorModel, b: ColorModel) -> float:
    """In [0, 1]: of two masks' colours, and of their areas."""
    return a.similarity(b) * min(a.area, b.area) / max(a.area, b.area)


def ground_masks(
    clip: Clip,
    heard: FusedHeatmaps,
    segmenter: Segmenter,
    *,
    stopped: list[ReadingError] | None = None,
    memo: StageCache | None = None,
) -> list[GroundedMask]:
    """One for each grounded frame on which a mask is found, the one to start from first.

    memo: where the masks are kept and looked up. Raises ReadingError where a frame cannot be read, unless `stopped`
    takes it; that frame is left out then.
    """
    found = []
    sure = certainty(heard.heatmaps, heard.agreement)
    for i, heatmap in enumerate(heard.heatmaps):
        if heatmap.grid.max() <= 0:
            continue
        key = (segmenter.name, heatmap.frame, hashlib.sha256(heatmap.grid.tobytes()).hexdigest())
        try:
            image = clip.frame(heatmap.frame)
        except ReadingError as error:
            if stopped is None:
                raise
            stopped.append(error)
            continue
        outlined = memo.outline(key) if memo is not None else None
        if outlined is None:
            candidates = segmenter.segment(image, Prompt(prior=heatmap.grid), frame=heatmap.frame)
            best = candidates[0] if candidates else None
            outlined = (masks.encode(best.mask), best.score) if best is not None else (masks.empty(clip.size), 0.0)
            if memo is not None:
                memo.keep_outline(key, *outlined)
        mask, score = masks.decode(outlined[0]), outlined[1]
        looks = ColorModel.of(image, mask)
        if looks is not None:
            found.append(GroundedMask(heatmap, mask, looks, float(sure[i]), float(heard.agreement[i]), score))
    return sorted(found, key=lambda one: -one.rank)


def _liker(one: ColorModel, other: ColorModel, known: ColorModel) -> bool:
    """Whether the one looks more like what is known: in no colour less, for half of it may be hidden in the other."""
    same_colours = one.similarity(known) >= other.similarity(known) - _LESS_COLOUR
    return same_colours and likeness(one, known) >= likeness(other, known) + _LIKER


@dataclass(frozen=True, eq=False)
class DriftedSegment:
    """A stretch on which the track is to be followed again. anchors: masks by frame, of the track and of the words."""

    first: int
    last: int
    anchors: Mapping[int, Mask]


def find_drift(
    clip: Clip, known: Mapping[int, Mask], looks: ColorModel, seen: Sequence[GroundedMask], track: MaskTrack
) -> list[DriftedSegment]:
    """The stretches between frames that are right, on which the words show the object elsewhere and the track is wrong.

    known: the masks by frame that the track started from; looks: of the object there. On a frame on which the track and
    the words differ the one counts that looks more like it: a twin looks like it too, and then the track is believed,
    for it has seen how the object moved. Raises ReadingError.
    """
    right, wrong = dict(known), {}
    for one in seen:
        row = int(np.searchsorted(track.frames, one.frame))
        if row == len(track.frames) or track.frames[row] != one.frame or one.frame in known:
            continue
        if likeness(one.looks, looks) < _LIKE:
            continue
        own = masks.decode(track.rles[row]) if track.visible[row] else None
        if own is not None and own.any() and masks.iou(own, one.mask) >= _SAME_PLACE:
            right[one.frame] = own
            continue
        there = ColorModel.of(clip.frame(one.frame), own) if own is not None else None
        if there is None or _liker(one.looks, there, looks):
            wrong[one.frame] = one.mask
    return between(right, wrong, track)


def between(right: Mapping[int, Mask], wrong: Mapping[int, Mask], track: MaskTrack) -> list[DriftedSegment]:
    """The stretches between frames on which the track is right, with what is to be seen on those where it is not."""
    edges = sorted({int(track.frames[0]), *right, int(track.frames[-1])})
    found = []
    for first, last in itertools.pairwise(edges):
        within = {frame: mask for frame, mask in wrong.items() if first <= frame <= last}
        if within:
            held = {frame: mask for frame, mask in right.items() if frame in (first, last)}
            found.append(DriftedSegment(first, last, {**held, **within}))
    return found
