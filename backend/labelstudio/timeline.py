"""The editor's timeline: which frame of the clip each of the editor's frames shows.

The editor in the browser does not know a clip's frames. It counts time in steps of its own frame rate F and shows what
the player shows at that time, so clip frames and editor frames correspond only by time. All of this was measured in the
browser (variable rate, 29.97 against 30, a missing rate); the tests hold it against the measured loop.

Editor frames are 1-based numbers; arrays over them have frame f at position f - 1. Clip frames are 0-based. Times are
float64 seconds from the start of the clip, as players count them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

from video.types import MaskTrack

DEFAULT_RATE = 24.0  # what the editor takes when it is given no rate
MAX_RATE = 1000.0  # frames per second; more is a slip, and would make millions of editor frames
_STEP_S = 0.002  # the editor rounds a seek to multiples of this, then goes one step further to be inside the frame
_MAX_KEPT = 32  # editor frames among which keyframes are chosen while one frame of the clip is shown


class TimedClip(Protocol):
    """The part of a clip that its timeline is made of."""

    @property
    def times(self) -> NDArray[np.float64]:
        """Presentation times (N,) in seconds, ascending."""

    @property
    def duration_s(self) -> float:
        """Duration in seconds."""


def frame_aspect(clip: TimedClip, size: tuple[int, int]) -> float:
    """Return the frame's width divided by its height as the editor shows it. size: (width, height) in pixels."""
    return size[0] / size[1] * pixel_aspect(clip)


def pixel_aspect(clip: TimedClip) -> float:
    """Return the width of a pixel divided by its height: 1 for whatever does not say it, as only video files do."""
    return float(getattr(clip, "pixel_aspect", 1.0))


def editor_rate(frame_rate: float | None) -> float:
    """Return the frames per second that the editor really uses.

    Args:
        frame_rate: What the `<Video>` says; None means 24, a number below 1 is the length of one frame in seconds.

    Raises:
        ValueError: If it is not a positive, finite number, or gives more than 1000 frames per second.
    """
    if frame_rate is None:
        return DEFAULT_RATE
    if not math.isfinite(frame_rate) or frame_rate <= 0:
        raise ValueError(f"a frame rate must be a positive number of frames per second, got {frame_rate}")
    fps = 1 / frame_rate if frame_rate < 1 else float(frame_rate)
    if fps > MAX_RATE:
        raise ValueError(f"a frame rate must be at most {MAX_RATE:g} frames per second, got {fps:g}")
    return fps


def rate_for_task(clip: TimedClip) -> float:
    """Return the frame rate to write into a task for a clip: its own, as far as the editor can show it.

    That is the average rate, without the pauses: the editor would skip frames at a rate that a pause of a minute
    lowers. A pause is longer than twice the median distance of frames. Distances below 2 ms, which the editor cannot
    seek to, count in the average only; frames that were stored with one time have them. The editor shows one frame per
    second at least, and 500 at most. Times are read as floats, so that a rate such as 24 comes out of them with noise
    in its last digits, which is rounded away.
    """
    distances = np.diff(clip.times)
    average = len(distances) / float(distances.sum()) if len(distances) else 1 / clip.duration_s
    shown = distances[distances >= _STEP_S]
    usual = shown[shown <= 2 * np.median(shown)] if len(shown) else shown
    if len(usual) < len(shown):
        average = max(average, 1 / float(usual.mean()))
    return round(min(max(1.0, average), 1 / _STEP_S), 9)


def editor_frame_count(duration_s: float, fps: float) -> int:
    """Return how many frames, at least 1, the editor divides a video into.

    Args:
        duration_s: Duration of the video in seconds.
        fps: Frame rate of the editor's timeline, at least 1.

    Raises:
        ValueError: If the duration is not positive or the rate is below 1.
    """
    if not math.isfinite(duration_s) or duration_s <= 0:
        raise ValueError(f"a duration must be a positive number of seconds, got {duration_s}")
    # The editor is JavaScript: halves are rounded up there, to even in Python.
    return max(1, math.floor(duration_s * _check_rate(fps) + 0.5))


def region_rate(value: Mapping[str, Any], fps: float) -> float:
    """Return the frame rate of the timeline that a region was stored with.

    The editor stores the number of its frames and the video's duration in every region. They differ from the label
    config where its frame rate was changed later, or where another tool wrote the region.

    Args:
        value: The region's value.
        fps: What the label config says, which holds unless the region contradicts it by more than rounding.
    """
    n, duration_s = value.get("framesCount"), value.get("duration")
    if not (_is_positive(n) and _is_positive(duration_s)) or abs(n - duration_s * fps) <= 1:
        return fps
    rate = float(n / duration_s)
    sequence = value.get("sequence")
    frames = [item.get("frame") for item in sequence if isinstance(item, Mapping)] if isinstance(sequence, list) else []
    is_whole = all(frame <= n for frame in frames if isinstance(frame, int | float))
    if not 1 <= rate <= MAX_RATE or not is_whole:  # the editor had not loaded the video when it stored this
        return fps
    usual = (DEFAULT_RATE, float(round(rate)))  # the number of frames is rounded, so the rate is not known better
    return next((r for r in usual if abs(n - duration_s * r) <= 0.5), rate)


def _is_positive(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 2**53


def editor_times(n: int, fps: float) -> NDArray[np.float64]:
    """Return the presentation time in seconds that each of the editor's first n frames shows: (n,), frame f at f - 1.

    Raises:
        ValueError: If n or the rate is below 1.
    """
    if n < 1:
        raise ValueError(f"the editor has at least one frame, got n={n}")
    steps = np.floor(np.arange(n, dtype=np.float64) / _check_rate(fps) / _STEP_S + 0.5)
    return steps * _STEP_S + _STEP_S


def clip_frame_of_editor(times: NDArray[np.float64], n: int, fps: float) -> NDArray[np.int64]:
    """Return which clip frame each editor frame shows.

    The frame shown is the last one whose time is not after the editor's; before the first clip frame it is the first.

    Args:
        times: Presentation times (N,) in seconds, ascending.
        n: Number of frames of the editor.
        fps: Frame rate of the editor's timeline.

    Returns:
        (n,) int64 clip frames, 0-based, for editor frame f at position f - 1.

    Raises:
        ValueError: If the times are not finite and strictly ascending, or n or the rate is below 1.
    """
    shown = np.searchsorted(_check_times(times), editor_times(n, fps), side="right") - 1
    return np.maximum(shown, 0).astype(np.int64)


def track_on_timeline(track: MaskTrack, clip: TimedClip, fps: float) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return what each editor frame shows of a track.

    Args:
        track: The tracked object. Where it has no row for a frame, nothing is known and the object counts as hidden.
        clip: The clip's presentation times and duration.
        fps: Frame rate of the editor's timeline.

    Returns:
        By editor frame the row of the track (n,) int64, -1 without one, and whether the object is visible (n,) bool.
    """
    n = editor_frame_count(clip.duration_s, fps)
    row_of_frame = np.full(len(clip.times), -1, np.int64)
    row_of_frame[track.frames] = np.arange(len(track.frames))
    rows = row_of_frame[clip_frame_of_editor(clip.times, n, fps)]
    visible = track.visible[rows] & (rows >= 0)
    if getattr(clip, "broken", ""):  # the editor plays on where frames can no longer be read: nothing is known there
        last_frame_s = float(np.median(np.diff(clip.times))) if len(clip.times) > 1 else 1 / fps
        visible &= editor_times(n, fps) < clip.times[-1] + last_frame_s
    return rows, visible


def thin_still_stretches(
    rows: NDArray[np.int64], visible: NDArray[np.bool_], must: Iterable[int] = ()
) -> NDArray[np.int64]:
    """Return the editor frames among which keyframes are chosen: few while the same frame of the clip is shown.

    A clip may begin hours after 0, or pause for as long. The editor counts frames there too, and shows one picture.

    Args:
        rows: (n,) what each editor frame shows.
        visible: (n,) whether the object is visible.
        must: Editor frames that are kept, counted from 0.

    Returns:
        (m,) int64, ascending and counted from 0: all frames of a stretch that shows the same up to 32, else 32 of them,
        the first and the last among them.
    """
    changes = np.flatnonzero((np.diff(rows) != 0) | (np.diff(visible.astype(np.int8)) != 0)) + 1
    firsts, ends = np.concatenate([[0], changes]), np.concatenate([changes, [len(rows)]])
    kept = np.ones(len(rows), np.bool_)
    for first, end in zip(firsts, ends, strict=True):
        if end - first > _MAX_KEPT:
            kept[first:end] = False
            kept[np.linspace(first, end - 1, _MAX_KEPT).astype(np.int64)] = True
    kept[list(must)] = True
    return np.flatnonzero(kept)


def _check_rate(fps: float) -> float:
    if not math.isfinite(fps) or fps < 1:
        raise ValueError(f"the editor's rate must be at least 1 frame per second, got {fps}: see editor_rate()")
    return float(fps)


def _check_times(times: NDArray[np.float64]) -> NDArray[np.float64]:
    times = np.asarray(times, dtype=np.float64)
    if times.ndim != 1 or len(times) == 0:
        raise ValueError(f"times must be (N,) with N > 0, got shape {times.shape}")
    if not np.isfinite(times).all() or not (np.diff(times) > 0).all():
        raise ValueError("times must be finite and strictly ascending")
    return times
