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
    doubtful = track.visible & (track.scores < DOUBTFUL_IOU)
    if not doubtful.any():
        return []
    runs = find_runs(doubtful)
    lowest = sorted(runs, key=lambda run: float(track.scores[run[0] : run[1] + 1].min()))
    spans = [_describe_span(times[track.frames[a]], times[track.frames[b]]) for a, b in sorted(lowest[:_MOST_SPANS])]
    more = f" and {len(runs) - len(spans)} times more" if len(runs) > len(spans) else ""
    worst = times[track.frames[np.where(doubtful, track.scores, np.inf).argmin()]]
    how_many = f"{int(doubtful.sum())} of {int(track.visible.sum())} frames"
    if doubtful.sum() == 1:
        return [f"unsure at {worst:.2f} s, on {how_many}: look there first"]
    return [f"unsure on {how_many} ({', '.join(spans)}{more}), most at {worst:.2f} s: look there first"]


def _describe_span(first_s: float, last_s: float) -> str:
    # Not by frames: the editor counts them from 1, the command line from 0.
    return f"{first_s:.2f} s" if first_s == last_s else f"{first_s:.2f} to {last_s:.2f} s"
