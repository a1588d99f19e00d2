"""`<VideoRectangle>`: boxes on video.

`rotation` must stand on every keyframe, or the editor's interpolated boxes become NaN (measured on Label Studio 1.23).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from backend.labelstudio.config_xml import attribute
from backend.labelstudio.controls.base import VideoControl, tags_of
from backend.labelstudio.edits import UserEdit, UserKeyframe, apply_user_keyframes, keyframe_checksum
from backend.labelstudio.regions import BoxKeyframe, keyframe_enabled, keyframe_frame, label_in_value, round_score
from backend.labelstudio.rotation import upright_boxes
from backend.labelstudio.timeline import (
    TimedClip,
    clip_frame_of_editor,
    editor_frame_count,
    frame_aspect,
    thin_still_stretches,
    track_on_timeline,
)
from refam.pipeline.types import TrackResult
from video.formats.base import FormatError, ObjectTrack, get_field, track_from_boxes
from video.formats.values import finite_number
from video.keyframes import KEYFRAME_IOU, fit_keyframe_boxes, select_keyframes
from video.masks import Box
from video.types import MaskTrack

if TYPE_CHECKING:
    from video.io.reader import Clip


class VideoRectangleControl(VideoControl):
    """A `<VideoRectangle>` tag. It is used where a config has no outlines on the video."""

    TAGS: ClassVar[tuple[str, ...]] = ("videorectangle",)
    PRIORITY: ClassVar[int] = 1
    BOXES_ONLY: ClassVar[bool] = True

    @classmethod
    def explain_unusable(cls, tags: Sequence[Element], media: str) -> str | None:
        """Return which attribute is missing on the first such tag."""
        boxes = tags_of(tags, cls)
        if not boxes:
            return None
        got = f"name={attribute(boxes[0], 'name')!r} toName={attribute(boxes[0], 'toName')!r}"
        return f'<VideoRectangle> needs a name and toName="{media}", got {got}'

    @property
    def description(self) -> str:
        """A clause that says which objects go to which tag."""
        return f'boxes go to <VideoRectangle name="{self.name}"> on <Video name="{self.media}">'

    def keyframes(
        self,
        result: TrackResult,
        clip: TimedClip,
        *,
        fps: float,
        edits: Sequence[UserEdit],
        keyframe_iou: float,
    ) -> tuple[list[BoxKeyframe], list[str]]:
        """Return the keyframes of boxes, without notes."""
        boxes = [edit for edit in edits if isinstance(edit, UserKeyframe)]
        words = result.target.words
        return box_sequence(result.track, clip, fps=fps, edits=boxes, words=words, keyframe_iou=keyframe_iou), []

    @classmethod
    def empty_value(cls, region: Mapping[str, Any]) -> dict[str, Any]:
        """Return no keyframes."""
        return {"sequence": []}

    @classmethod
    def read_object(cls, value: Mapping[str, Any], clip: Clip, *, fps: float, where: str) -> ObjectTrack:
        """Return an object with boxes; no masks are made up for it."""
        boxes, keyframes = boxes_on_clip(get_field(value, "sequence", list, where), clip, fps=fps, where=where)
        return track_from_boxes(label_in_value(value), boxes, keyframes=keyframes)


def box_sequence(
    track: MaskTrack,
    clip: TimedClip,
    *,
    fps: float,
    edits: Sequence[UserKeyframe] = (),
    words: str | None = None,
    keyframe_iou: float = KEYFRAME_IOU,
) -> list[BoxKeyframe]:
    """Return few keyframes whose interpolation on the editor's timeline keeps the track's boxes.

    Every editor frame takes the box of the clip frame that it shows, then keyframes are chosen on that timeline:
    choosing them among the clip's frames would be off by up to a frame's motion wherever the two rates differ.

    Args:
        track: The tracked object.
        clip: The clip's presentation times and duration.
        fps: Frame rate of the editor's timeline.
        edits: Keyframes that a person set. They come back to the last digit and without a checksum, so that they are
            recognised again; the frames between them follow.
        words: Words that the object was found with; each keyframe carries them.
        keyframe_iou: IoU with the track's box that the interpolated box must keep on every frame.

    Returns:
        Keyframes in order of their frames, [] if the object is never visible.
    """
    rows, visible = track_on_timeline(track, clip, fps)
    scores = track.scores[rows]
    aspect = frame_aspect(clip, track.size)
    boxes, visible, edited = apply_user_keyframes(track.boxes[rows], visible, edits, aspect=aspect)
    sequence: list[BoxKeyframe] = []
    must = sorted(edited.keys() | _beside_rotated(edited, visible))
    kept = thin_still_stretches(rows, visible, must)
    chosen = select_keyframes(
        boxes[kept],
        visible[kept],
        positions=kept,
        tolerance_iou=keyframe_iou,
        must=np.searchsorted(kept, must).tolist(),
    )
    fitted = fit_keyframe_boxes(
        boxes[kept],
        visible[kept],
        chosen,
        positions=kept,
        tolerance_iou=keyframe_iou,
        fixed=np.searchsorted(kept, sorted(edited)).tolist(),
    )
    for (number, enabled), box in zip(chosen, fitted, strict=True):
        row = int(kept[number])
        x, y, width, height = _box_percent(box)
        keyframe: BoxKeyframe = {
            "frame": row + 1,
            "time": round(row / fps, 6),
            "enabled": enabled,
            "x": x,
            "y": y,
            "width": width,
            "height": height,
            "rotation": 0,
            "score": round_score(scores[row]),
        }
        if words:
            keyframe["words"] = words
        if row in edited:
            edit = edited[row]
            keyframe["x"], keyframe["y"] = edit.x, edit.y
            keyframe["width"], keyframe["height"] = edit.width, edit.height
            keyframe["rotation"] = edit.rotation
        else:
            keyframe["check"] = keyframe_checksum(keyframe)
        sequence.append(keyframe)
    return sequence


def _beside_rotated(edited: Mapping[int, UserKeyframe], visible: NDArray[np.bool_]) -> set[int]:
    """Return the visible rows before and after a rotated keyframe of a person.

    The editor turns the box step by step from a rotated keyframe to an upright one. With an upright one on the very
    next frame it has no frame to do so on.
    """
    rotated = [row for row, edit in edited.items() if edit.rotation % 360]
    beside = {row + step for row in rotated for step in (-1, 1)}
    return {row for row in beside if 0 <= row < len(visible) and visible[row]}


def boxes_on_clip(
    sequence: Sequence[Any], clip: Clip, *, fps: float, where: str = "a region"
) -> tuple[dict[int, Box], list[int]]:
    """Return the boxes that the editor draws, by the clip's own frames.

    A clip frame takes the box of the first editor frame that shows it. One that the editor skips (its rate is lower
    than the clip's) is interpolated in time between its neighbours; one after the editor's last frame takes its box.

    Args:
        sequence: Keyframes of a region.
        clip: The video.
        fps: Frame rate of the editor's timeline.
        where: What error messages call the region.

    Returns:
        Boxes x0, y0, x1, y1 in fractions of the frame by 0-based clip frame, which may reach beyond the frame, and the
        clip frames that keyframes are on.

    Raises:
        FormatError: If an item is no keyframe.
    """
    n = editor_frame_count(clip.duration_s, fps)
    drawn, visible = interpolate_boxes(sequence, n, where, aspect=frame_aspect(clip, clip.size))
    shown = clip_frame_of_editor(clip.times, n, fps)
    frames, first = np.unique(shown, return_index=True)
    boxes: dict[int, Box] = {int(f): _box(drawn[row]) for f, row in zip(frames, first, strict=True) if visible[row]}
    for a, b in zip(frames[:-1].tolist(), frames[1:].tolist(), strict=True):
        if b - a > 1 and a in boxes and b in boxes:
            for k in range(a + 1, b):
                share = float((clip.times[k] - clip.times[a]) / (clip.times[b] - clip.times[a]))
                boxes[k] = _box(np.array(boxes[a]) * (1 - share) + np.array(boxes[b]) * share)
    last = int(frames[-1])
    boxes |= dict.fromkeys(range(last + 1, len(clip.times)), _box(drawn[-1])) if visible[-1] else {}
    on = {int(shown[min(max(int(item["frame"]), 1), n) - 1]) for item in sequence if not item.get("auto")}
    return boxes, sorted(on & boxes.keys())


def interpolate_boxes(
    sequence: Sequence[Any], n: int, where: str, *, aspect: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return what the editor draws on its frames 1 to n.

    It interpolates x, y, width, height and rotation linearly by frame number. Nothing is drawn before the first
    keyframe, nor after one that is not enabled, up to the next. A rotated box becomes the upright one around it.

    Args:
        sequence: Keyframes of a region.
        n: Number of frames of the editor.
        where: What error messages call the region.
        aspect: Width of the frame divided by its height.

    Returns:
        Boxes (n, 4) xyxy in fractions of the frame, and visible (n,) bool.

    Raises:
        FormatError: If an item is no keyframe.
    """
    keys: dict[int, tuple[list[float], bool]] = {}
    for item in sequence:
        frame = keyframe_frame(item) if isinstance(item, Mapping) else None
        if frame is None:
            raise FormatError(f"{where}: a keyframe needs 'frame', a whole number, got {item!r:.80}")
        given = [get_field(item, s, (int, float), f"{where}: a keyframe") for s in ("x", "y", "width", "height")]
        rotation = get_field({"rotation": 0, **item}, "rotation", (int, float, type(None)), f"{where}: a keyframe")
        numbers = [number for number in map(finite_number, [*given, rotation or 0]) if number is not None]
        if len(numbers) < 5:
            raise FormatError(f"{where}: a keyframe needs finite numbers, got {item!r:.120}")
        keys[frame] = (numbers, keyframe_enabled(item))
    if not keys:
        return np.zeros((n, 4)), np.zeros(n, np.bool_)
    at = np.array(sorted(keys))
    values = np.array([keys[f][0] for f in at.tolist()])
    enabled = np.array([keys[f][1] for f in at.tolist()])
    frames = np.arange(1, n + 1)
    before = np.searchsorted(at, frames, side="right") - 1
    visible = (before >= 0) & (enabled[before] | (at[before] == frames))
    drawn = np.stack([np.interp(frames, at, column) for column in values.T[:4]], axis=1)
    return upright_boxes(drawn, np.interp(frames, at, values[:, 4]), aspect), visible


def _box(box: NDArray[np.float64]) -> Box:
    x0, y0, x1, y1 = (float(c) for c in box)
    return (x0, y0, x1, y1)


def _box_percent(box: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Return x, y, width, height in percent of a box xyxy in fractions of the frame."""
    x0, y0, x1, y1 = (float(c) * 100 for c in box)
    return (round(x0, 4), round(y0, 4), round(x1 - x0, 4), round(y1 - y0, 4))
