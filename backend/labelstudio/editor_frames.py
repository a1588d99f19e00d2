"""A track as the editor's own frames show it, and scores as it keeps them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from backend.labelstudio.edits import Fixed
from backend.labelstudio.timeline import clip_frame_of_editor, editor_frame_count, editor_times
from video.types import MaskTrack


class TimedClip(Protocol):
    """What is needed of a clip: its presentation times (N,) in seconds, ascending, and its duration."""

    @property
    def times(self) -> NDArray[np.float64]: ...  # noqa: D102
    @property
    def duration_s(self) -> float: ...  # noqa: D102


def on_editor(track: MaskTrack, clip: TimedClip, fps: float) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
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


def hidden_by(visible: NDArray[np.bool_], fixed: Iterable[Fixed]) -> NDArray[np.bool_]:
    """(n,) visible on the frames that a person fixed, hidden after those that they switched off, up to the next."""
    visible, fixed = visible.copy(), list(fixed)
    visible[[f.frame - 1 for f in fixed]] = True
    for f in fixed:
        if not f.enabled:
            visible[f.frame : len(visible) if f.until is None else f.until - 1] = False
    return visible


def as_score(score: float) -> float:
    """As regions and keyframes carry it: in [0, 1], four digits."""
    return round(min(1.0, max(0.0, float(score))), 4)
