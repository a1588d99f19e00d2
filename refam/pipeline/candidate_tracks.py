"""Which grounded mask to track from: the one whose track agrees with the words on all grounded frames.

On a single frame the words may point at the wrong thing. So the grounded masks that may show different things are
followed over the grounded frames, and each track is compared with the heat on all of them: a thing that the words mean
is hot wherever it is seen (scoring whole tracks: DecAF, https://arxiv.org/abs/2510.19592).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from refam.pipeline.stage_cache import track_start_key
from refam.pipeline.state import GroundedMask
from refam.pipeline.tracks import mask_at
from refam.version import __version__
from video import masks
from video.io.probe import ReadingError
from video.masks import Mask
from video.tracking.flow_tracker import FlowTracker
from video.tracking.propagate import TrackStart, propagate_all, tracker_name
from video.tracking.schedule import EVERY_FRAME
from video.types import Heatmap, MaskTrack, Segmenter

if TYPE_CHECKING:
    from refam.pipeline.stage_cache import StageCache
    from video.io.reader import Clip

_CONTAINED = 0.8  # of the smaller mask within the larger one: from it on it is a part of the same thing
_SAME_OBJECT_IOU = 0.5  # of a track's mask with a grounded one: from it on that one needs no track of its own


@dataclass(frozen=True, eq=False)
class CandidateTrack:
    """One thing that the words may mean, followed over the grounded frames.

    Attributes:
        grounded: The grounded masks that show it, the best anchor first.
        masks: Its masks, (H, W) bool, by frame of the clip, where it is seen.
        agreement: The mean correlation of these with the heatmaps, each weighted by the heatmap's confidence, in
            [-1, 1]; a frame on which the thing is not seen counts as 0.
    """

    grounded: tuple[GroundedMask, ...]
    masks: Mapping[int, Mask]
    agreement: float

    @functools.cached_property
    def rank(self) -> float:
        """How likely the words mean it, 0 or more; only ratios have a meaning.

        The agreement alone prefers small things that are hot all over; the quality of the masks alone, what is hot on a
        few frames.
        """
        return max(0.0, self.agreement) * math.sqrt(sum(one.quality for one in self.grounded))

    def is_part_of(self, other: CandidateTrack) -> bool:
        """Whether it lies within the other one, or the other one within it, on most frames that show both."""
        both = [frame for frame in self.masks if frame in other.masks]
        inside = [_contained_share(self.masks[frame], other.masks[frame]) >= _CONTAINED for frame in both]
        return sum(inside) > len(inside) / 2


class GroundedFrames:
    """The grounded frames of a clip, read once, as a clip of their own for trackers.

    Args:
        clip: The whole clip.
        frames: Its frames, ascending; those that cannot be read are left out.
    """

    def __init__(self, clip: Clip, frames: Sequence[int]) -> None:
        self.size = clip.size
        self.frames: list[int] = []
        self._images: list[NDArray[np.uint8]] = []
        for frame in frames:
            try:
                self._images.append(clip.frame(frame))
            except ReadingError:
                continue  # whoever grounded the clip has noted it
            self.frames.append(frame)

    def __len__(self) -> int:
        return len(self.frames)

    def batches(
        self, indices: Sequence[int] | NDArray[np.int64] | None = None, *, size: int = 16
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
        """Yield single frames in the form of `Clip.batches`."""
        for i in range(len(self)) if indices is None else indices:
            yield np.array([i]), self._images[i][None]


def follow_candidates(
    clip: Clip,
    heatmaps: Sequence[Heatmap],
    ranked: Sequence[GroundedMask],
    segmenter: Segmenter,
    *,
    most: int,
    cache: StageCache | None = None,
    progress: Callable[[float], object] | None = None,
) -> list[CandidateTrack]:
    """Follow the things that grounded masks show over the grounded frames, and rank them.

    The best mask is followed first; the next ones only if no track so far covers them. Where all masks show one thing,
    that costs one track of a few frames.

    Args:
        clip: The video.
        heatmaps: Those of the grounded frames, in their order.
        ranked: The grounded masks, the best anchor first.
        segmenter: What outlines objects; it also decides which tracker is used.
        most: How many tracks to compare, at most.
        cache: Where the tracks are stored and looked up.
        progress: Is called with the share of the masks that are done, in [0, 1].

    Returns:
        The candidates, the one that the words most likely mean first. Empty if nothing can be compared: with fewer than
        two grounded masks, and with a tracker that relies on motion from frame to frame, for which these are
        too far apart.
    """
    if most < 1 or len(ranked) < 2 or tracker_name(segmenter) == FlowTracker.name:
        return []
    view = GroundedFrames(clip, [heatmap.frame for heatmap in heatmaps])
    ranked = [one for one in ranked if one.frame in view.frames]  # a frame may be read once and not again
    followed: list[Mapping[int, Mask]] = []
    for i, one in enumerate(ranked):
        if progress is not None:
            progress(i / len(ranked))
        if len(followed) < most and not any(_shows(seen, one) for seen in followed):
            track = _follow(view, one, segmenter, cache)
            followed.append({f: mask for k, f in enumerate(view.frames) if (mask := mask_at(track, k)) is not None})
    readable = [heatmap for heatmap in heatmaps if heatmap.frame in view.frames]
    candidates = [
        CandidateTrack(tuple(one for one in ranked if _shows(seen, one)), seen, _agreement(seen, readable))
        for seen in followed
    ]
    return sorted((c for c in candidates if c.grounded), key=lambda c: -c.rank)


def _follow(view: GroundedFrames, one: GroundedMask, segmenter: Segmenter, cache: StageCache | None) -> MaskTrack:
    """Return the track of a grounded mask over the view's frames."""
    start = TrackStart("candidate", {view.frames.index(one.frame): one.mask})
    models = (segmenter.name, tracker_name(segmenter))
    key = ("candidate", __version__, *models, tuple(view.frames), track_start_key(start))
    stored = cache.load_tracks(key) if cache is not None else None
    if stored is not None:
        return stored[0]
    tracks = propagate_all(cast("Clip", view), [start], segmenter, schedule=EVERY_FRAME)
    if cache is not None:
        cache.save_tracks(key, tracks)
    return tracks[0]


def _shows(seen: Mapping[int, Mask], one: GroundedMask) -> bool:
    """Whether a track, as masks by frame, shows the same thing as a grounded mask."""
    return one.frame in seen and masks.iou(seen[one.frame], one.mask) >= _SAME_OBJECT_IOU


def _agreement(seen: Mapping[int, Mask], heatmaps: Sequence[Heatmap]) -> float:
    weights = np.array([heatmap.confidence for heatmap in heatmaps]) + 1e-9
    values = [correlation(seen[h.frame], h.grid) if h.frame in seen else 0.0 for h in heatmaps]
    return float(np.average(values, weights=weights))


def _contained_share(a: Mask, b: Mask) -> float:
    """Return how much of the smaller mask lies within the other one, in [0, 1]."""
    return float((a & b).sum() / max(1, min(a.sum(), b.sum())))


def correlation(mask: Mask, heat: NDArray[np.float32]) -> float:
    """Return the Pearson correlation of a mask, (H, W) bool, with a heatmap, (h, w), over the heatmap's cells.

    A mask gains by heat above the mean and loses by heat below it, whatever its size. 0 if either is constant.
    """
    h, w = heat.shape
    share = cv2.resize(mask.astype(np.float32), (w, h), interpolation=cv2.INTER_AREA)
    a, b = share - share.mean(), heat - heat.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else 0.0
