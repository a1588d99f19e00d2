"""Where a track is likely wrong, in words."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from video.keyframes import find_runs
from video.tracking.expected_iou import DOUBTFUL_IOU
from video.types import MaskTrack

_MOST_SPANS = 6  # that are named, the least certain ones


def describe_doubts(track: MaskTrack, times: NDArray[np.float64]) -> list[str]:
    """Return a sentence for people that says where the track is doubtful; none where it is nowhere.

    Args:
        track: The track; its scores are expected IoUs.
        times: (N,) seconds of the clip's frames.
    """
    runs = find_runs(track.visible & (track.scores < DOUBTFUL_IOU))
    if not runs:
        return []
    lowest = sorted(runs, key=lambda run: float(track.scores[run[0] : run[1] + 1].min()))
    spans = [_describe_span(times[track.frames[a]], times[track.frames[b]]) for a, b in sorted(lowest[:_MOST_SPANS])]
    more = f" and {len(runs) - len(spans)} times more" if len(runs) > len(spans) else ""
    return [f"doubtful {', '.join(spans)}{more}: look there first"]


def _describe_span(first_s: float, last_s: float) -> str:
    first, last = f"{first_s:.1f} s", f"{last_s:.1f} s"
    return f"at {first}" if first == last else f"from {first} to {last}"
