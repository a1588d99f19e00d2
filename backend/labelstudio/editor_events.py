"""Events that Label Studio Enterprise's editor sends while somebody segments a video: reading and answering them.

Such an interactive call has `context.event`. Names and shapes are those of HumanSignal's ML backend
`segment_anything_video_interactive` (its README, `model.py` and tests, August 2026):

| event | answer: type and value of the only region |
|---|---|
| `capabilities` | `capabilities`: prompts, targets, model_info |
| `prewarm` | `prewarm_ack`: status, cached, pending, frame_count |
| `track` | `track_started`: session_id, total_frames, fps, duration_ms; or `track_error`: error, done |
| `track_progress` | `track_progress`: frames, produced, total, done, error |
| `track_cancel` | `track_cancel_ack`: status |
| `release` | `release_ack`: status |

Frames in answers are the clip's, counted from 0, with their presentation time in milliseconds.
"""

from __future__ import annotations

import base64
import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from backend.labelstudio.label_config import LabelConfig
from backend.labelstudio.regions import read_mappings
from backend.labelstudio.timeline import TimedClip, clip_frame_of_editor, editor_frame_count
from refam.pipeline.types import FramePrompt, TrackResult
from video.errors import UserError
from video.images import encode_png
from video.masks import decode

MOST_FRAMES = 300  # that one track follows; the reference implementation's limit
MOST_PREWARMED = 20  # frames of one prewarm; the same
Direction = Literal["forward", "backward", "both"]


class EventError(UserError):
    """An event cannot be answered; the message says what is wrong with it."""


class EditorEvent(StrEnum):
    """What the editor asks for."""

    CAPABILITIES = "capabilities"
    PREWARM = "prewarm"
    TRACK = "track"
    TRACK_PROGRESS = "track_progress"
    TRACK_CANCEL = "track_cancel"
    RELEASE = "release"


def read_event(context: Mapping[str, Any]) -> EditorEvent | None:
    """Return the event of an interactive call; None where the call has none, as those of the open-source editor.

    Raises:
        EventError: If no event has that name.
    """
    name = context.get("event")
    if name is None:
        return None
    try:
        return EditorEvent(name)
    except ValueError:
        known = ", ".join(EditorEvent)
        raise EventError(f"context.event must be one of {known}, got {name!r:.80}") from None


@dataclass(frozen=True)
class FrameSpan:
    """The frames that an event is about, counted from 0; both ends are included.

    Attributes:
        first, last: The frames.
        purpose: "masks": follow the object and answer with its masks. "features": encode the frames, for later.
    """

    first: int
    last: int
    purpose: Literal["masks", "features"]

    @property
    def frames(self) -> list[int]:
        """The frames, in order."""
        return list(range(self.first, self.last + 1))


def read_frame(context: Mapping[str, Any], config: LabelConfig, data: Mapping[str, Any], clip: TimedClip) -> int:
    """Return the frame of the clip that the editor shows.

    `time_ms` is the player's time, and wins; `frame` is the editor's frame, counted from 1.

    Args:
        context: The event's context.
        config: The label config, for the editor's frame rate.
        data: The task's data.
        clip: The clip.

    Raises:
        EventError: If neither is a number.
        LabelConfigError: If the task's frame rate is no rate.
    """
    if (time_ms := context.get("time_ms")) is not None:
        seconds = _number(time_ms, "time_ms") / 1000
        return max(0, int(np.searchsorted(clip.times, seconds, side="right")) - 1)
    fps = config.fps(data)
    n = editor_frame_count(clip.duration_s, fps)
    frame = min(max(int(_number(context.get("frame", 1), "frame")), 1), n)
    return int(clip_frame_of_editor(clip.times, n, fps)[frame - 1])


def read_prewarm_span(context: Mapping[str, Any], frame: int, n: int) -> FrameSpan:
    """Return the frames to encode: a window from the frame on, in the direction of travel; at most 20 more.

    Args:
        context: The event's context, with `window` and `direction`.
        frame: The frame that the editor shows.
        n: Frames of the clip.
    """
    window = min(_count(context, "window", MOST_PREWARMED), MOST_PREWARMED)
    back = context.get("direction") == "backward"
    first, last = (frame - window, frame) if back else (frame, frame + window)
    return FrameSpan(max(0, first), min(last, n - 1), "features")


def read_track_span(context: Mapping[str, Any], frame: int, times: NDArray[np.float64]) -> FrameSpan:
    """Return the frames to follow an object through: at most 300 in each direction.

    Args:
        context: The event's context, with `direction`, and `max_frames` or `max_duration_ms`.
        frame: The frame with the prompt.
        times: (N,) presentation times in seconds.

    Raises:
        EventError: If a number is none, or the direction is unknown.
    """
    direction = context.get("direction", "forward")
    if direction not in ("forward", "backward", "both"):
        raise EventError(f"direction must be forward, backward or both, got {direction!r:.80}")
    most = min(_count(context, "max_frames", MOST_FRAMES), MOST_FRAMES)
    first, last = max(0, frame - most), min(len(times) - 1, frame + most)
    if context.get("max_duration_ms") is not None:
        seconds = _number(context["max_duration_ms"], "max_duration_ms") / 1000
        if seconds < 0:
            raise EventError(f"max_duration_ms must be 0 or more, got {context['max_duration_ms']!r:.80}")
        most = MOST_FRAMES
        first = max(0, frame - most, int(np.searchsorted(times, times[frame] - seconds - 1e-6)))
        last = min(frame + most, int(np.searchsorted(times, times[frame] + seconds + 1e-6, side="right")) - 1)
    return FrameSpan(frame if direction == "forward" else first, frame if direction == "backward" else last, "masks")


def read_prompt(context: Mapping[str, Any], frame: int) -> FramePrompt:
    """Return the points and the box that somebody drew on a frame: `context.result` in percent of the frame.

    Raises:
        EventError: If there is none on the object, or one is no number.
    """
    points: list[tuple[float, float]] = []
    labels: list[int] = []
    box: tuple[float, float, float, float] | None = None
    for item in read_mappings(context, "result"):
        value = item.get("value")
        if not isinstance(value, Mapping) or "x" not in value or "y" not in value:
            continue
        x, y = _percent(value, "x"), _percent(value, "y")
        if "width" in value and "height" in value:
            right, bottom = (value["x"] + _size(value, "width"), value["y"] + _size(value, "height"))
            box = (x, y, min(1.0, right / 100), min(1.0, bottom / 100))
        else:
            points.append((x, y))
            labels.append(int(bool(value.get("positive", True))))
    if box is None and 1 not in labels:
        raise EventError("track needs a box or a point on the object in context.result")
    try:
        return FramePrompt(frame, tuple(points), tuple(labels), box)
    except ValueError as error:
        raise EventError(f"context.result: {error}") from None


def event_answer(kind: str, value: Mapping[str, Any], config: LabelConfig | None = None) -> dict[str, Any]:
    """Return the prediction that answers an event: one region of this type with this value."""
    names = {} if config is None else {"from_name": config.control.name, "to_name": config.media}
    region = {"id": uuid.uuid4().hex[:8], **names, "type": kind, "origin": "manual", "value": dict(value)}
    return {"result": [region]}


def capabilities(name: str, version: str) -> dict[str, Any]:
    """Return what a backend can do: boxes and outlines on video, from points and a box.

    Args:
        name: The segmenter's name.
        version: The model version.
    """
    targets = [
        {"tag": "VideoRectangle", "output": "bbox", "features": ["track"]},
        {"tag": "VideoVectorLabels", "output": "polygon", "features": ["track"]},
    ]
    return {"prompts": ["point", "box"], "targets": targets, "model_info": {"name": name, "version": version}}


def mask_frames(result: TrackResult, times: NDArray[np.float64], span: FrameSpan) -> list[dict[str, Any]]:
    """Return a track as the frames of `track_progress`: a grey PNG for each frame of the span that shows the object.

    Args:
        result: The track, on the clip's frames.
        times: (N,) presentation times in seconds.
        span: The frames.
    """
    track = result.track
    frames = []
    for row, frame in enumerate(track.frames.tolist()):
        if span.first <= frame <= span.last and track.visible[row]:
            mask = decode(track.rles[row])
            url = "data:image/png;base64," + base64.b64encode(encode_png(np.asarray(mask * 255, np.uint8))).decode()
            h, w = mask.shape
            time_ms = round(float(times[frame]) * 1000, 3)
            frames.append({"frame": frame, "time_ms": time_ms, "imageDataURL": url, "width": w, "height": h})
    return frames


def _number(value: Any, name: str) -> float:
    """Return a finite number. Raises EventError."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise EventError(f"{name} must be a number, got {value!r:.80}")


def _count(context: Mapping[str, Any], name: str, default: int) -> int:
    value = context.get(name)
    number = default if value is None else _number(value, name)
    if number < 0:
        raise EventError(f"{name} must be 0 or more, got {value!r:.80}")
    return int(number)


def _percent(value: Mapping[str, Any], name: str) -> float:
    """Return a coordinate in percent as a fraction within the frame."""
    return min(1.0, max(0.0, _number(value[name], f"context.result: {name}") / 100))


def _size(value: Mapping[str, Any], name: str) -> float:
    return _number(value[name], f"context.result: {name}")
