"""A timeline below a video: when each object is visible, with which score, and where its keyframes are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from video.types import MaskTrack
from video.visualize.text import (
    INK,
    PAPER,
    Image,
    fitting_size,
    mix_colors,
    object_colors,
    paste,
    render_text,
    truncate_text,
)

_LANE_HEIGHT = 26 / 1280  # of the video's width
_MIN_LANE_PX = 10
_MAX_HEIGHT = 1 / 3  # of the video's height for all lanes, unless they would be too low to be read
_FOOT_PX = 12  # of the letters of time and frame, which a video encoder must keep apart; less where they do not fit
_EMPTY = (228, 228, 225)


class TrackTimeline:
    """The timeline of some tracks. It is drawn once; for each frame only the playhead and its time are added.

    Each object has a lane, tinted in its colour where it is visible and filled from below in proportion to its score.
    Dark ticks are keyframes. In long clips several frames share a column: it shows the lowest of their scores, and a
    gap only if the object is visible on none of them.

    Args:
        tracks: The tracks.
        times: (N,) seconds of the clip's frames.
        keyframes: For each track the frames of its keyframes.
        end_s: When the last frame that is shown ends, in seconds.
        size: (width, height) of the video above, in pixels.
        frames: The frames of the clip that are shown; all of them by default.
    """

    def __init__(
        self,
        tracks: Sequence[MaskTrack],
        times: NDArray[np.float64],
        *,
        keyframes: Sequence[Sequence[int]] = (),
        end_s: float,
        size: tuple[int, int],
        frames: range | None = None,
    ) -> None:
        width, height = size
        lane = round(min(_LANE_HEIGHT * width, _MAX_HEIGHT * height / max(1, len(tracks))))
        self._lane = max(_MIN_LANE_PX, lane)
        self._px = max(8, round(self._lane * 0.6))
        self._left = min(width // 3, max(60, round(width * 0.16)))
        self._times, self._width = times, width
        self._frames = range(len(times)) if frames is None else frames
        self._start_s = float(times[self._frames[0]])
        self._span_s = max(end_s - self._start_s, 1e-6)
        last = f"frame {len(times) - 1} of {len(times)}"
        self._foot_px = max(self._px, fitting_size(last, _FOOT_PX, self._left - 4))
        foot = self._foot_px + 2 * max(1, self._foot_px // 4) + 2
        raw = len(tracks) * (self._lane + 3) + foot + 3
        self.height = raw + raw % 2
        self._ground = np.full((self.height, width, 3), PAPER, np.uint8)
        columns = self._frames_of_columns()
        for k, (track, colour) in enumerate(zip(tracks, object_colors(len(tracks)), strict=True)):
            top = 3 + k * (self._lane + 3)
            name = truncate_text(track.label, self._px, self._left - 2 * self._px)
            paste(
                self._ground[top : top + self._lane, : self._left - 4], render_text(name, self._px, swatch=colour), 2, 0
            )
            self._draw_lane(self._ground[top : top + self._lane, self._left : width - 6], track, columns, colour)
            for frame in keyframes[k] if keyframes else ():
                x = self._x(float(times[frame]))
                self._ground[top : top + max(4, self._lane // 3), x : x + 2] = INK
        self._foot = len(tracks) * (self._lane + 3) + 4

    def render(self, frame: int) -> Image:
        """Return the timeline with the playhead on a frame of the clip, (height, width, 3) uint8 RGB."""
        out = self._ground.copy()
        x = self._x(float(self._times[frame]))
        out[: self._foot + 2, max(0, x - 1) : x + 2] = (255, 255, 255)
        out[: self._foot + 2, x : x + 1] = INK
        text = render_text(f"{self._times[frame] - self._times[0]:.2f} s", self._foot_px)
        paste(out[self._foot :], text, max(self._left, x - text.shape[1] // 2), 0)  # right of the frame's number
        count = render_text(f"frame {frame} of {len(self._times)}", self._foot_px)
        paste(out[self._foot :, : self._left - 4], count, 2, 0)
        return out

    def _frames_of_columns(self) -> NDArray[np.int64]:
        """Return (columns + 1,) frames: column c shows those from entry c to entry c + 1, at least the first."""
        columns = max(1, self._width - 6 - self._left)
        edges_s = self._start_s + np.arange(columns + 1) / columns * self._span_s
        at = np.searchsorted(self._times, edges_s, side="right") - 1
        return np.clip(at, self._frames[0], self._frames[-1])

    def _draw_lane(
        self, lane: Image, track: MaskTrack, columns: NDArray[np.int64], colour: tuple[int, int, int]
    ) -> None:
        scores = np.full(len(self._times), np.nan)
        scores[track.frames[track.visible]] = track.scores[track.visible]
        lane[:] = _EMPTY
        height = lane.shape[0]
        tinted = mix_colors(colour, 0.72)
        for c in range(min(lane.shape[1], len(columns) - 1)):
            column = scores[columns[c] : max(columns[c] + 1, columns[c + 1])]
            if np.isnan(column).all():
                continue
            lane[:, c] = tinted
            lane[height - round(height * float(np.clip(np.nanmin(column), 0, 1))) :, c] = colour

    def _x(self, time_s: float) -> int:
        columns = self._width - 6 - self._left
        return self._left + min(columns - 1, round((time_s - self._start_s) / self._span_s * columns))
