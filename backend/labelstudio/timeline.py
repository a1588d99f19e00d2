"""Presentation time and the editor's frames.

A video editor in a browser has no idea of a clip's frames: it counts time in steps of its own frame rate F and
shows what the player shows at that time. So a clip frame k and an editor frame f meet only by time. All of this
was measured in the browser (variable rate, 29.97 against 30, a missing rate): see the tests for the naive loop.

Editor frames are 1-based numbers, `editor_frame`; arrays over them have the frame f at position f - 1.
Clip frames are 0-based. Times are float64 seconds from the start of the clip, as players count them.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from video.types import MaskTrack

DEFAULT_RATE = 24.0  # what the editor takes when it is told no rate
_STEP_S = 0.002  # the editor rounds a seek to this grid, then goes one step further to be inside the frame


def editor_rate(frame_rate: float | None) -> float:
    """The rate in frames per second the editor really uses for the `frame_rate` it was told.

    None means 24; a number below 1 is the length of one frame in seconds. Raises ValueError for what is no rate.
    """
    if frame_rate is None:
        return DEFAULT_RATE
    if not math.isfinite(frame_rate) or frame_rate <= 0:
        raise ValueError(f"a frame rate must be a positive number of frames per second, got {frame_rate}")
    return 1 / frame_rate if frame_rate < 1 else float(frame_rate)


def editor_frame_count(duration_s: float, fps: float) -> int:
    """How many frames the editor divides `duration_s` seconds into; at least 1."""
    if not math.isfinite(duration_s) or duration_s <= 0:
        raise ValueError(f"a duration must be a positive number of seconds, got {duration_s}")
    # The editor is JavaScript: halves are rounded up there, to even in Python.
    return max(1, math.floor(duration_s * _checked_rate(fps) + 0.5))


def editor_times(n: int, fps: float) -> NDArray[np.float64]:
    """The presentation time in seconds that each of the editor's first `n` frames shows: (n,), frame f at f - 1."""
    if n < 1:
        raise ValueError(f"the editor has at least one frame, got n={n}")
    steps = np.floor(np.arange(n, dtype=np.float64) / _checked_rate(fps) / _STEP_S + 0.5)
    return steps * _STEP_S + _STEP_S


def clip_frame_of_editor(times: NDArray[np.float64], n: int, fps: float) -> NDArray[np.int64]:
    """Which clip frame each editor frame shows: (n,) int64, 0-based clip frames, editor frame f at position f - 1.

    times: (N,) seconds, ascending. The frame shown is the last one whose time is not after the editor's;
    before the first clip frame the first one stands.
    """
    shown = np.searchsorted(_checked_times(times), editor_times(n, fps), side="right") - 1
    return np.maximum(shown, 0).astype(np.int64)


def editor_frame_of_clip(times: NDArray[np.float64], n: int, fps: float) -> NDArray[np.int64]:
    """The first editor frame that shows each clip frame: (N,) int64, 1-based editor frames.

    A clip frame that the editor skips (its rate is lower than the clip's) gets the first editor frame after it,
    and one after the editor's last frame gets that last frame `n`.
    """
    first = np.searchsorted(editor_times(n, fps), _checked_times(times), side="left") + 1
    # What stands before the first clip frame is the first clip frame.
    first[:1] = 1
    return np.minimum(first, n).astype(np.int64)


def _checked_rate(fps: float) -> float:
    if not math.isfinite(fps) or fps < 1:
        raise ValueError(f"the editor's rate must be at least 1 frame per second, got {fps}: see editor_rate()")
    return float(fps)


def _checked_times(times: NDArray[np.float64]) -> NDArray[np.float64]:
    times = np.asarray(times, dtype=np.float64)
    if times.ndim != 1 or len(times) == 0:
        raise ValueError(f"times must be (N,) with N > 0, got shape {times.shape}")
    if not np.isfinite(times).all() or not (np.diff(times) > 0).all():
        raise ValueError("times must be finite and strictly ascending")
    return times


class TimedClip(Protocol):
    """What is needed of a clip: its presentation times (N,) in seconds, ascending, and its duration."""

    @property
    def times(self) -> NDArray[np.float64]: ...  # noqa: D102
    @property
    def duration_s(self) -> float: ...  # noqa: D102


def track_on_timeline(track: MaskTrack, clip: TimedClip, fps: float) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """By editor frame: the track's row that it shows (n,), and whether the object is visible there (n,).

    fps: of the editor's grid. Frames that the track does not have are frames on which nothing is known: hidden.
    """
    n = editor_frame_count(clip.duration_s, fps)
    row_of = np.full(len(clip.times), -1, np.int64)
    row_of[track.frames] = np.arange(len(track.frames))
    rows = row_of[clip_frame_of_editor(clip.times, n, fps)]
    visible = track.visible[rows] & (rows >= 0)
    if getattr(clip, "broken", ""):  # the editor plays on where frames can no longer be read: nothing is known there
        stays_s = float(np.median(np.diff(clip.times))) if len(clip.times) > 1 else 1 / fps
        visible &= editor_times(n, fps) < clip.times[-1] + stays_s
    return rows, visible


def round_score(score: float) -> float:
    """As regions and keyframes carry it: in [0, 1], four digits."""
    return round(min(1.0, max(0.0, float(score))), 4)
