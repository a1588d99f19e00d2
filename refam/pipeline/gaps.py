"""Where an object was lost, and whether what the words point at there is the same object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from video.keyframes import spans
from video.masks import Mask, decode, iou
from video.tracking.appearance import ColorModel
from video.types import Candidate, Heatmap, MaskTrack

LEAST_LIKENESS = 0.6  # of colours, for an object found again
LEAST_WINDOW = 3  # frames; a shorter gap is not worth a search
PROBES = 3  # frames grounded in one lost window
WINDOWS = 2  # lost windows searched per object and round, the longest first


@dataclass(frozen=True)
class Gap:
    """Frames first..last, both included, on which an object is not visible."""

    first: int
    last: int

    def probes(self) -> list[int]:
        """The frames to look at: spread evenly over the window."""
        n = min(PROBES, self.last - self.first + 1)
        at = self.first + (self.last - self.first + 1) * (np.arange(n) + 0.5) / n
        return sorted({int(f) for f in at})


def find_gaps(track: MaskTrack) -> list[Gap]:
    """The windows worth searching, longest first, at most `WINDOWS`."""
    windows = [Gap(int(track.frames[a]), int(track.frames[b])) for a, b in spans(~track.visible)]
    worth = [w for w in windows if w.last - w.first + 1 >= LEAST_WINDOW]
    return sorted(worth, key=lambda w: w.first - w.last)[:WINDOWS]


def recognise(
    image: NDArray[np.uint8],
    heatmap: Heatmap,
    candidates: Sequence[Candidate],
    known: ColorModel,
    *,
    taken: Sequence[Mask],
    least_confidence: float,
) -> tuple[Mask, float] | None:
    """The candidate that is the known object, and its likeness in [0, 1]; None when none is.

    taken: masks of the other objects on this frame, which it cannot be.
    """
    if heatmap.confidence < least_confidence:
        return None
    best: tuple[Mask, float] | None = None
    for candidate in candidates:
        looks = ColorModel.of(image, candidate.mask)
        if looks is None or not 0.2 < looks.area / known.area < 5:
            continue
        likeness = known.similarity(looks) * (0.5 + 0.5 * candidate.score)
        if known.similarity(looks) < LEAST_LIKENESS or any(iou(candidate.mask, t) > 0.3 for t in taken):
            continue
        if best is None or likeness > best[1]:
            best = (candidate.mask, likeness)
    return best


def patch(track: MaskTrack, found: MaskTrack) -> MaskTrack:
    """The track with the rows that a search of one window brought to light; what was visible before stays."""
    row_of = {int(f): i for i, f in enumerate(found.frames)}
    rles, boxes = list(track.rles), track.boxes.copy()
    scores, visible = track.scores.copy(), track.visible.copy()
    for i, frame in enumerate(track.frames.tolist()):
        j = row_of.get(frame)
        if j is not None and not visible[i] and found.visible[j]:
            rles[i], boxes[i], scores[i], visible[i] = found.rles[j], found.boxes[j], found.scores[j], True
    return replace(track, rles=tuple(rles), boxes=boxes, scores=scores, visible=visible)


def mask_at(track: MaskTrack, frame: int) -> Mask | None:
    """The object's mask on a clip frame, or None where it is not visible."""
    at = int(np.searchsorted(track.frames, frame))
    if at == len(track.frames) or track.frames[at] != frame or not track.visible[at]:
        return None
    return decode(track.rles[at])


def gaps_in_words(track: MaskTrack, times: NDArray[np.float64]) -> list[str]:
    """Sentences for people: where the object is not seen."""
    if not track.visible.any():
        return ["it is not seen anywhere in the video"]
    said, last = [], len(track.frames) - 1
    for a, b in spans(~track.visible):
        start_s, end_s = float(times[track.frames[a]]), float(times[track.frames[b]])
        if a == 0:
            said.append(f"not seen before {float(times[track.frames[b + 1]]):.1f} s")
        elif b == last:
            said.append(f"lost from {start_s:.1f} s to the end")
        else:
            found_s = float(times[track.frames[b + 1]])
            said.append(f"lost from {start_s:.1f} s to {end_s:.1f} s, found again at {found_s:.1f} s")
    return said
