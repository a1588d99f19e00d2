"""What was lost is looked for again: the words are grounded in that window, and what they point at is compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refam.pipeline.anchors import ObjectState
from refam.pipeline.gaps import Gap, find_gaps, mask_at, patch, recognise
from video.io.probe import ReadingError
from video.masks import Mask
from video.tracking.appearance import ColorModel
from video.types import Heatmap, MaskTrack, Prompt, Segmenter

if TYPE_CHECKING:
    from video.io.reader import Clip

Ground = Callable[[list[NDArray[np.uint8]], list[int], ObjectState], list[Heatmap]]
Found = tuple[int, Gap, dict[int, Mask]]


class Redetector:
    """Searches the windows of one clip in which objects are not seen."""

    def __init__(self, clip: Clip, segmenter: Segmenter, ground: Ground) -> None:
        self._clip, self._segmenter, self._ground = clip, segmenter, ground

    def search(
        self, members: Sequence[tuple[ObjectState, Mapping[int, Mask]]], tracks: Sequence[MaskTrack], *, drawn: bool
    ) -> list[Found]:
        """(which member, the window, the mask by its frame) for each window of these tracks that paid off.

        drawn: the object looks as on the first frame that is known in these tracks, not as where the words were surest.
        """
        found = []
        for k, ((work, anchors), track) in enumerate(zip(members, tracks, strict=True)):
            if work.heard is None:
                continue
            others = [t for i, t in enumerate(tracks) if i != k]
            for window in find_gaps(track):
                try:
                    looks = self._looks(anchors) if drawn else work.looks
                    start = None if looks is None else self._look(work, window, looks, others)
                except ReadingError as error:  # this window stays as it is, others are searched
                    work.stops.append(error)
                    continue
                if start is not None:
                    found.append((k, window, start))
        return found

    def patched(self, track: MaskTrack, found: MaskTrack) -> MaskTrack:
        """The track with what was found in one of its windows."""
        return patch(track, found)

    def _looks(self, anchors: Mapping[int, Mask]) -> ColorModel | None:
        first = min(anchors)
        return ColorModel.of(self._clip.frame(first), anchors[first])

    def _look(
        self, work: ObjectState, window: Gap, looks: ColorModel, others: Sequence[MaskTrack]
    ) -> dict[int, Mask] | None:
        """The mask on the frame of the window in which the object is recognised best."""
        probes = window.probes()
        frames = [image for _, images in self._clip.batches(probes) for image in images]
        best: tuple[float, int, Mask] | None = None
        for image, heatmap in zip(frames, self._ground(frames, probes, work), strict=True):
            if heatmap.grid.max() <= 0:
                continue
            taken = [mask_at(other, heatmap.frame) for other in others]
            match = recognise(
                image,
                heatmap,
                self._segmenter.segment(image, Prompt(prior=heatmap.grid), frame=heatmap.frame),
                looks,
                taken=[t for t in taken if t is not None],
                least_confidence=0.5 * work.confidence,
            )
            if match is not None and (best is None or match[1] > best[0]):
                best = (match[1], heatmap.frame, match[0])
        return None if best is None else {best[1]: best[2]}
