"""Keyframes that a person edited: recognising them, and applying them to a track.

Every keyframe that this backend writes carries a checksum (`check`) over its own numbers. The editor keeps fields that
it does not know (measured on Label Studio 1.23), so a keyframe whose checksum still fits is unedited. So is one that
stands with the same numbers in a prediction of the task, which may be another program's and have no checksums. One that
was moved, resized, switched off or drawn anew is a person's: it stays exactly as it is, and the track follows it.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.labelstudio.regions import keyframe_enabled, keyframe_frame, read_mappings
from backend.labelstudio.rotation import upright_boxes
from backend.labelstudio.timeline import clip_frame_of_editor
from refam.pipeline.tracks import spread_box_edits
from refam.pipeline.types import FramePrompt, Target
from video.contours import polygon_to_mask
from video.masks import Box, encode

_SAME_PERCENT = 1e-3  # what the editor's arithmetic may change in a number that nobody touched
_DRAWN_DIGITS = 10  # of percent: fewer than the rounding errors of a sum, more than anybody writes
_DIGITS = 4  # of percent: this backend rounds to them, and a person's numbers must be told apart


@dataclass(frozen=True)
class UserKeyframe:
    """A keyframe of a box that a person set.

    Attributes:
        frame: Frame of the editor, 1-based.
        x, y: Top left corner in percent of the frame, as drawn.
        width, height: In percent of the frame.
        rotation: Degrees clockwise about the top left corner, on the screen (see `backend.labelstudio.rotation`).
        enabled: False hides the object from the next frame on, up to `until`.
        until: Frame of the next keyframe, None if there is none.
    """

    frame: int
    x: float
    y: float
    width: float
    height: float
    rotation: float
    enabled: bool
    until: int | None

    def box(self, aspect: float) -> Box | None:
        """Return the upright box around it: x0, y0, x1, y1 in fractions of the frame, clipped to the frame.

        Args:
            aspect: Width of the frame divided by its height, as the editor shows it.

        Returns:
            The box, or None if nothing of it lies within the frame.
        """
        sides = np.array([[self.x, self.y, self.width, self.height]])
        x0, y0, x1, y1 = upright_boxes(sides, np.array([self.rotation]), aspect)[0].clip(0, 1).tolist()
        return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None

    def prompt(self, clip_frame: int, size: tuple[int, int], *, pixel_aspect: float = 1.0) -> FramePrompt | None:
        """Return the upright box around it as a prompt, None if it lies outside the frame.

        Args:
            clip_frame: Frame of the clip, 0-based.
            size: (width, height) of the clip in pixels.
            pixel_aspect: Width of a pixel divided by its height.
        """
        box = self.box(size[0] / size[1] * pixel_aspect)
        return FramePrompt(clip_frame, box=box) if box is not None else None


@dataclass(frozen=True)
class UserOutline:
    """A keyframe of an outline that a person set.

    Attributes:
        frame: Frame of the editor, 1-based.
        vertices: As they stand in the region: {"id", "x", "y", ...}, in percent of the frame.
        closed: Whether the last vertex joins the first.
        enabled, until: As in `UserKeyframe`.
    """

    frame: int
    vertices: tuple[dict[str, Any], ...]
    closed: bool
    enabled: bool
    until: int | None

    @property
    def points(self) -> NDArray[np.float64]:
        """The vertices as (n, 2) xy in fractions of the frame."""
        return np.array([(v["x"], v["y"]) for v in self.vertices], np.float64).reshape(-1, 2) / 100

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the vertices, by which the editor recognises them on the next keyframe."""
        return tuple(str(v.get("id")) for v in self.vertices)

    def mask(self, size: tuple[int, int]) -> NDArray[np.bool_]:
        """Return the mask (H, W) that it encloses, closed or not. size: (width, height) in pixels."""
        return polygon_to_mask(self.points * size, size)

    def prompt(self, clip_frame: int, size: tuple[int, int], *, pixel_aspect: float = 1.0) -> FramePrompt | None:
        """Return the filled outline as a prompt, None if it has no pixel.

        Args:
            clip_frame: Frame of the clip, 0-based.
            size: (width, height) of the clip in pixels.
            pixel_aspect: As in `UserKeyframe.prompt`; not needed here.
        """
        mask = self.mask(size)
        return FramePrompt(clip_frame, mask=encode(mask)) if mask.any() else None


UserEdit = UserKeyframe | UserOutline


def drawn_keyframes(target: Target, times: NDArray[np.float64], n: int, fps: float) -> tuple[UserKeyframe, ...]:
    """Return the boxes that a person drew on frames of the clip as keyframes of the editor, to the last digit.

    Args:
        target: The object, whose prompts hold the boxes.
        times: (N,) seconds of the clip's frames.
        n: Number of frames of the editor.
        fps: Frame rate of the editor's timeline.

    Returns:
        One for each box on a frame that the editor shows, on the first editor frame that shows it.
    """
    shown, first = np.unique(clip_frame_of_editor(times, n, fps), return_index=True)
    editor_frame = dict(zip(shown.tolist(), (first + 1).tolist(), strict=True))
    keyframes = []
    for prompt in target.prompts:
        if prompt.box is not None and prompt.frame in editor_frame:
            x0, y0, x1, y1 = prompt.box
            x, y, width, height = (round(100 * side, _DRAWN_DIGITS) for side in (x0, y0, x1 - x0, y1 - y0))
            keyframes.append(UserKeyframe(editor_frame[prompt.frame], x, y, width, height, 0.0, True, None))
    return tuple(keyframes)


# --- recognising edits -----------------------------------------------------------------------------------------------


def keyframe_checksum(keyframe: Mapping[str, Any]) -> str:
    """Return the checksum of a keyframe's frame, `enabled`, and box or vertices: 8 hexadecimal digits."""
    if "vertices" in keyframe:
        vertices = [(str(v.get("id")), *(_rounded(v[c]) for c in "xy")) for v in keyframe["vertices"]]
        return _checksum((int(keyframe["frame"]), vertices, keyframe_enabled(keyframe), bool(keyframe.get("closed"))))
    numbers = [_rounded(keyframe[name]) for name in ("x", "y", "width", "height")]
    rotation = round(float(keyframe.get("rotation", 0)), 1) + 0.0
    return _checksum((int(keyframe["frame"]), numbers, keyframe_enabled(keyframe), rotation))


def polygon_checksum(points: Sequence[Sequence[float]]) -> str:
    """Return the checksum of a polygon. points: [x, y] in percent of the picture."""
    return _checksum([[_rounded(v) for v in point] for point in points])


def ranges_checksum(ranges: Sequence[Mapping[str, Any]]) -> str:
    """Return the checksum of the times in which an object is in sight. ranges: {"start", "end"}, frames."""
    return _checksum([[item.get("start"), item.get("end")] for item in ranges])


def _rounded(number: float) -> float:
    """Round to the digits that this backend writes; + 0.0 turns -0.0 into 0.0."""
    return round(float(number), _DIGITS) + 0.0


def _checksum(content: Any) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()[:8]


def read_user_keyframes(region: Mapping[str, Any], predicted: Iterable[Mapping[str, Any]] = ()) -> tuple[UserEdit, ...]:
    """Return the keyframes of a region that a person set, in order of their frames.

    Args:
        region: A region on video, of a draft or an annotation. Items of its sequence that cannot be keyframes are left
            out.
        predicted: The regions of the task's predictions. Their keyframes are not a person's.
    """
    items = _keyframes_of(region)
    written: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for prediction in predicted:
        for item in _keyframes_of(prediction):
            written[item["frame"]].append(item)
    edits: list[UserEdit] = []
    for i, item in enumerate(items):
        if item.get("check") == keyframe_checksum(item) or any(
            _is_same_keyframe(item, other) for other in written.get(item["frame"], ())
        ):
            continue
        frame, enabled = int(item["frame"]), keyframe_enabled(item)
        until = next((int(later["frame"]) for later in items[i + 1 :] if later["frame"] > item["frame"]), None)
        if "vertices" in item:
            vertices = tuple(dict(vertex) for vertex in item["vertices"])
            edits.append(UserOutline(frame, vertices, bool(item.get("closed")), enabled, until))
        else:
            x, y, width, height = (float(item[name]) for name in ("x", "y", "width", "height"))
            edits.append(UserKeyframe(frame, x, y, width, height, float(item.get("rotation") or 0.0), enabled, until))
    return tuple(edits)


def region_words(region: Mapping[str, Any]) -> str | None:
    """Return the words that a region was found with, None for one that a person drew."""
    value = region.get("value")
    sequence = read_mappings(value if isinstance(value, Mapping) else None, "sequence")
    # Keyframes carry the words, or the meta where there are none.
    carriers = (*sequence, region.get("meta"))
    words = [item["words"] for item in carriers if isinstance(item, Mapping) and isinstance(item.get("words"), str)]
    return words[0] if words else None


def is_vertex_list(vertices: Any) -> bool:
    """Return whether this is the list of vertices of a keyframe."""
    return isinstance(vertices, list) and all(
        isinstance(v, Mapping) and all(isinstance(v.get(c), int | float) for c in "xy") for v in vertices
    )


def _keyframes_of(region: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the keyframes of a region in order of their frames."""
    value = region.get("value")
    sequence = value.get("sequence") if isinstance(value, Mapping) else None
    found = [i for i in (sequence if isinstance(sequence, list) else []) if isinstance(i, Mapping) and _is_keyframe(i)]
    return sorted(found, key=lambda item: item["frame"])


def _is_same_keyframe(item: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two keyframes draw the same, and both or neither hide the object behind them."""
    numbers, others = _numbers(item), _numbers(other)
    if len(numbers) != len(others) or keyframe_enabled(item) != keyframe_enabled(other):
        return False
    return all(abs(a - b) <= _SAME_PERCENT for a, b in zip(numbers, others, strict=True))


def _numbers(keyframe: Mapping[str, Any]) -> list[float]:
    """Return the numbers that say where a box or an outline is drawn."""
    if "vertices" in keyframe:
        return [float(v[c]) for v in keyframe["vertices"] for c in "xy"] + [float(bool(keyframe.get("closed")))]
    sides = [float(keyframe[name]) for name in ("x", "y", "width", "height")]
    return [*sides, float(keyframe.get("rotation") or 0.0)]


def _is_keyframe(item: Mapping[str, Any]) -> bool:
    if "vertices" in item:
        vertices = item["vertices"]
        if not isinstance(vertices, list) or not all(isinstance(v, Mapping) for v in vertices):
            return False
        numbers = [item.get("frame"), *(v.get(c) for v in vertices for c in "xy")]
    else:
        numbers = [item.get(name) for name in ("frame", "x", "y", "width", "height")]
    finite = all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in numbers)
    frame = keyframe_frame(item)
    return finite and frame is not None and frame >= 1


# --- applying edits --------------------------------------------------------------------------------------------------


def apply_user_keyframes(
    boxes: NDArray[np.float64], visible: NDArray[np.bool_], edits: Sequence[UserKeyframe], *, aspect: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_], dict[int, UserKeyframe]]:
    """Correct a track's boxes by a person's keyframes.

    A person's box differs from the track's in place and size (a hat that counts, a shadow that does not). Between two
    edits that difference changes linearly from the one to the other; before the first and after the last it stays.

    Args:
        boxes: (n, 4) xyxy in fractions of the frame, by editor frame.
        visible: (n,) bool.
        edits: The person's keyframes.
        aspect: Width of the frame divided by its height.

    Returns:
        The corrected boxes and visibility, and the keyframe of each row that has one and is visible.
    """
    found = {edit.frame - 1: (edit, edit.box(aspect)) for edit in edits if edit.frame <= len(boxes)}
    rows = {row: edit for row, (edit, box) in found.items() if box is not None}
    drawn = {row: np.array(box, np.float64) for row, (_, box) in found.items() if box is not None}
    boxes = spread_box_edits(boxes, visible, drawn)
    for row, box in drawn.items():
        boxes[row] = box
    visible = apply_visibility_edits(visible, rows.values())
    return boxes, visible, {row: edit for row, edit in rows.items() if visible[row]}


def apply_visibility_edits(visible: NDArray[np.bool_], edits: Iterable[UserEdit]) -> NDArray[np.bool_]:
    """Return visible (n,) by editor frame, corrected by a person's keyframes.

    The object is visible on each of these keyframes, and hidden after one that is not enabled, up to the next keyframe.
    """
    visible, edits = visible.copy(), list(edits)
    visible[[edit.frame - 1 for edit in edits]] = True
    for edit in edits:
        if not edit.enabled:
            visible[edit.frame : len(visible) if edit.until is None else edit.until - 1] = False
    return visible
