"""Finds the shots of a clip and the frames to ground, a few spread over the shots. See `video.shots`."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from video.io.reader import Clip
from video.shots import FrameSignature, is_cut_sized, is_unusual

MIN_PLANNED, MAX_PLANNED = 4, 16  # frames to ground
_MIN_SHOT_S = 0.25  # a shorter shot is a flash of light


def detect_shots(clip: Clip) -> list[tuple[int, int]]:
    """Find the shots of a clip in one pass of bounded memory. Only hard cuts are found: a fade is part of a shot.

    Returns:
        The shots as [first, last + 1) frames, in order; together they are the whole clip.
    """
    cuts = _candidates(*_changes(clip))
    groups: list[list[int]] = []
    for cut in cuts:
        if groups and clip.times[cut] - clip.times[groups[-1][-1]] < _MIN_SHOT_S:
            groups[-1].append(cut)
        else:
            groups.append([cut])
    # Several changes in a short time are a flash of light; it is a cut only if the image after it is another one.
    bounds = [group[-1] for group in groups if len(group) == 1 or _images_differ(clip, group[0] - 1, group[-1])]
    inner = [b for b in bounds if min(clip.times[b], clip.times[-1] - clip.times[b - 1]) >= _MIN_SHOT_S]
    return list(itertools.pairwise([0, *inner, len(clip)]))


def _candidates(histogram: NDArray[np.float64], difference: NDArray[np.float64]) -> list[int]:
    """Return the frames that may begin a shot: their change is as large as a cut's, and unusual around them."""
    cuts = []
    for i in range(len(difference)):
        around = np.r_[difference[max(0, i - 4) : i], difference[i + 1 : i + 5]]
        if is_cut_sized(histogram[i], difference[i]) and is_unusual(difference[i], around):
            cuts.append(i + 1)  # change i leads from frame i to i + 1
    return cuts


def _images_differ(clip: Clip, one: int, other: int) -> bool:
    return FrameSignature.of(clip.frame(one)).differs(FrameSignature.of(clip.frame(other)))


def plan_frames(clip: Clip, *, count: int = 8) -> NDArray[np.int64]:
    """Choose the frames to ground.

    Shots get frames by their duration, each at least one if there are enough. Within a shot they are at the centres of
    equal spans of time, so never on its first or last frame if it has others.

    Args:
        clip: The clip.
        count: How many frames, 4 to 16. A shorter clip gives all its frames.

    Returns:
        (m,) int64 frames, ascending.

    Raises:
        ValueError: If the count is out of range.
    """
    if not MIN_PLANNED <= count <= MAX_PLANNED:
        raise ValueError(f"count must be from {MIN_PLANNED} to {MAX_PLANNED} frames, got {count}")
    if len(clip) <= count:
        return np.arange(len(clip), dtype=np.int64)
    return spread_frames(clip.times, detect_shots(clip), count=count)


def spread_frames(times: NDArray[np.float64], spans: list[tuple[int, int]], *, count: int) -> NDArray[np.int64]:
    """Choose frames in known shots; see `plan_frames`.

    Args:
        times: (N,) float64 seconds, ascending.
        spans: The shots as [first, last + 1) frames.
        count: How many frames.
    """
    if len(spans) > count:  # the longest shots, in order
        spans = sorted(sorted(spans, key=lambda s: times[s[1] - 1] - times[s[0]], reverse=True)[:count])
    return np.concatenate(
        [_spread_in_shot(times, span, n) for span, n in zip(spans, _frames_per_shot(times, spans, count), strict=True)]
    )


def _frames_per_shot(times: NDArray[np.float64], spans: list[tuple[int, int]], count: int) -> list[int]:
    """Return how many frames each shot gets: one, and each further one goes where a frame stands for the most time."""
    n = [1] * len(spans)
    lengths = [last - first for first, last in spans]
    length_s = [times[last - 1] - times[first] for first, last in spans]
    for _ in range(min(count, sum(lengths)) - len(spans)):
        not_full = [i for i in range(len(spans)) if n[i] < lengths[i]]
        n[max(not_full, key=lambda i: length_s[i] / n[i])] += 1
    return n


def _spread_in_shot(times: NDArray[np.float64], span: tuple[int, int], n: int) -> NDArray[np.int64]:
    first, last = span[0], span[1] - 1
    if last - first - 1 >= n:  # enough inside: avoid the edges, where fades and the worst encoded frames are
        first, last = first + 1, last - 1
    at_s = times[first] + (times[last] - times[first]) * (np.arange(n) + 0.5) / n
    chosen = first + np.abs(times[first : last + 1, None] - at_s).argmin(axis=0)
    # With uneven times two points in time may have the same nearest frame: move on to the next free one, and back
    # from the end.
    for i in range(1, n):
        chosen[i] = max(chosen[i], chosen[i - 1] + 1)
    for i in reversed(range(n)):
        chosen[i] = min(chosen[i], last - (n - 1 - i))
    return chosen.astype(np.int64)


def _changes(clip: Clip) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the changes from each frame to the next: (N - 1,) shares of recoloured pixels, (N - 1,) mean changes."""
    changes: list[tuple[float, float]] = []
    before: FrameSignature | None = None
    for _, images in clip.batches():
        for image in images:
            now = FrameSignature.of(image)
            if before is not None:
                changes.append(before.change(now))
            before = now
    found = np.array(changes, np.float64).reshape(-1, 2)
    return found[:, 0], found[:, 1]
