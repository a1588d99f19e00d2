"""Label Studio's JSON export of submitted annotations -> annotated videos, frame by frame of the clip.

The export holds keyframes on the editor's own grid of frames. They are interpolated there as the editor draws them,
with their rotation; then every frame of the clip takes the box of the first editor frame that shows it. A frame that
the editor skips (its rate is lower than the clip's) is interpolated in time between its neighbours that are shown; one
after the editor's last frame takes that one's box. Outlines on video are filled, frame by frame; masks on
lists of
pictures are read as they are. A box stays a box: no mask is made up for it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.labelstudio.export_sources import LoadedVideo, VideoFolder, address_parts, submitted_annotation, video_stem
from backend.labelstudio.label_config import OUTLINE_KINDS, LabelConfig
from backend.labelstudio.timeline import clip_frame_of_editor, editor_frame_count
from backend.labelstudio.vector_regions import VectorKeyframes
from video import masks
from video.contours import filled
from video.formats.base import (
    FormatError,
    ObjectTrack,
    annotated,
    evenly,
    field,
    fill_polygons,
    of_boxes,
    of_masks,
    read_json,
)
from video.io.reader import Clip, open_clip
from video.masks import Box
from video.types import Rle

_OURS = re.compile(r"^(refam-[0-9a-f]{10})-\d+(?:-\d+)?$")
_MASKS = {"brush", "polygon", "bitmask"}
_UNNAMED = "object"


def read_export(path: Path, config: LabelConfig, *, videos: VideoFolder | None) -> list[LoadedVideo]:
    """The tasks of an export that somebody has submitted. Raises FormatError, LabelConfigError and ClipError.

    videos: needed for tasks with a video: its frames' times, which the export does not tell.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise FormatError(f"{path} is no Label Studio export: choose the format JSON there, not JSON-MIN")
    found = []
    for task in content:
        where = f"{path}: task {task.get('id') if isinstance(task, Mapping) else task!r:.40}"
        data = field(task, "data", dict, where)
        if "annotations" not in task:
            raise FormatError(f"{where} has no annotations: choose the format JSON in Label Studio, not JSON-MIN")
        annotation = submitted_annotation(task)
        if annotation is None:
            continue
        result = field(annotation, "result", list, where)
        regions = [r for r in result if isinstance(r, Mapping) and r.get("to_name") == config.video]
        if config.masks:
            found.append(_pictures(data, regions, config, f"task-{task.get('id')}", where))
        else:
            found.append(_video(data, regions, config, videos, where))
    return found


# --- boxes and outlines on video ---------------------------------------------------------------------------------


def _video(
    data: Mapping[str, Any], regions: Sequence[Any], config: LabelConfig, videos: VideoFolder | None, where: str
) -> LoadedVideo:
    address = field(data, config.video_field, str, where)
    if videos is None:
        raise FormatError(f"{where}: --videos FOLDER is needed, with {address_parts(address)[-1]} in it, for its times")
    media = videos.find(address)
    clip = open_clip(media)
    fps = config.fps(data)
    objects = []
    for region in regions:
        kind = str(region.get("type"))
        if kind in ("videorectangle", *OUTLINE_KINDS):
            value = field(region, "value", dict, where)
            sequence = field(value, "sequence", list, where)
            if kind == "videorectangle":
                boxes, keys = boxes_on_clip(sequence, clip, fps=fps, where=where)
                objects.append(of_boxes(_label(value), boxes, keyframes=keys))
            else:
                outlined = masks_on_clip(sequence, clip, fps=fps)
                objects.append(of_masks(_label(value, "videovectorlabels"), outlined))
    seen = [one for one in objects if len(one.frames)]
    return LoadedVideo(annotated(video_stem(address), clip.size, clip.times, seen), media.name, media)


def boxes_on_clip(
    sequence: Sequence[Any], clip: Clip, *, fps: float, where: str = "a region"
) -> tuple[dict[int, Box], list[int]]:
    """The editor's keyframes -> normalised xyxy boxes by clip frame, and the clip frames that keyframes are on.

    fps: of the editor's grid. Boxes may reach beyond the frame. Raises FormatError for what is no keyframe.
    """
    n = editor_frame_count(clip.duration_s, fps)
    drawn, visible = interpolate_boxes(sequence, n, where)
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
    on = {int(shown[min(int(item["frame"]), n) - 1]) for item in sequence if not item.get("auto")}
    return boxes, sorted(on & boxes.keys())


def masks_on_clip(sequence: Sequence[Any], clip: Clip, *, fps: float) -> dict[int, Rle]:
    """The keyframes of an outline -> masks by clip frame, those without pixels left out. fps: of the editor's grid.

    Each clip frame is drawn at the first editor frame that shows it; one that the editor skips, in time between them.
    """
    outlines, n = VectorKeyframes(sequence), editor_frame_count(clip.duration_s, fps)
    frames, first = np.unique(clip_frame_of_editor(clip.times, n, fps), return_index=True)
    at = np.interp(clip.times, clip.times[frames], first + 1.0)
    drawn = {}
    for frame, place in enumerate(at.tolist()):
        between = {int(np.floor(place)), int(np.ceil(place))}
        if all(outlines.shown(row) for row in between):
            mask = filled(outlines.points(place) * clip.size, clip.size)
            if mask.any():
                drawn[frame] = masks.encode(mask)
    return drawn


def interpolate_boxes(sequence: Sequence[Any], n: int, where: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """What the editor draws on its frames 1 to n: boxes (n, 4) xyxy in fractions of the frame, and visible (n,).

    Linear in x, y, width, height and rotation by frame number; hidden before the first keyframe, and after one that is
    not enabled, up to the next. A box that is turned becomes the upright one around it.
    """
    keys: dict[int, tuple[list[float], bool]] = {}
    for item in sequence:
        frame = field(item, "frame", int, f"{where}: a keyframe")
        sides = [float(field(item, s, (int, float), f"{where}: a keyframe")) for s in ("x", "y", "width", "height")]
        keys[frame] = ([*sides, float(item.get("rotation") or 0)], bool(item.get("enabled", True)))
    if not keys:
        return np.zeros((n, 4)), np.zeros(n, np.bool_)
    at = np.array(sorted(keys))
    values = np.array([keys[f][0] for f in at.tolist()])
    enabled = np.array([keys[f][1] for f in at.tolist()])
    frames = np.arange(1, n + 1)
    before = np.searchsorted(at, frames, side="right") - 1
    visible = (before >= 0) & (enabled[before] | (at[before] == frames))
    x, y, width, height, rotation = (np.interp(frames, at, column) for column in values.T)
    # Percent of width and of height are turned as if the frame were square, as the editor stores them.
    cos, sin = np.cos(np.radians(rotation)), np.sin(np.radians(rotation))
    xs = x + np.stack([0 * x, width * cos, -height * sin, width * cos - height * sin])
    ys = y + np.stack([0 * y, width * sin, height * cos, width * sin + height * cos])
    return np.stack([xs.min(0), ys.min(0), xs.max(0), ys.max(0)], axis=1) / 100, visible


def _box(box: NDArray[np.float64]) -> Box:
    x0, y0, x1, y1 = (float(c) for c in box)
    return (x0, y0, x1, y1)


def _label(value: Mapping[str, Any], kind: str = "labels") -> str:
    labels = value.get(kind) or value.get("labels")
    return str(labels[0]) if isinstance(labels, list) and labels else _UNNAMED


# --- masks on pictures -------------------------------------------------------------------------------------------


def _pictures(
    data: Mapping[str, Any], regions: Sequence[Any], config: LabelConfig, name: str, where: str
) -> LoadedVideo:
    addresses = field(data, config.video_field, list, where)
    drawn = [r for r in regions if str(r.get("type")).removesuffix("labels") in _MASKS]
    sizes = {(r.get("original_width"), r.get("original_height")) for r in drawn}
    if len(sizes) > 1 or not all(isinstance(side, int) for size in sizes for side in size):
        raise FormatError(f"{where}: its masks must be of pictures of one size, got {sorted(sizes, key=str)}")
    size = next(iter(sizes), (1, 1))
    named = {r.get("id"): _label(r["value"]) for r in regions if r.get("type") == "labels"}
    found: dict[tuple[str, str], dict[int, Rle]] = defaultdict(dict)
    keys = _objects(drawn, named)
    for region, key in zip(drawn, keys, strict=True):
        frame = int(region.get("item_index") or 0)
        if not 0 <= frame < len(addresses):
            raise FormatError(f"{where}: a mask is on picture {frame}, and there are {len(addresses)}")
        mask = mask_of(region, size, where)
        row = found[key]
        row[frame] = masks.encode(mask | masks.decode(row[frame])) if frame in row else masks.encode(mask)
    said = data.get("times_s")
    known = isinstance(said, list) and len(said) == len(addresses)
    times = np.array(said, np.float64) if known else evenly(len(addresses))
    objects: list[ObjectTrack] = [of_masks(label, rows) for (_, label), rows in found.items()]
    pictures = [f"{name}/{address_parts(str(address))[-1]}" for address in addresses]
    seen = [one for one in objects if len(one.frames)]
    return LoadedVideo(annotated(name, size, times, seen, pictures=pictures), name)


def _objects(regions: Sequence[Any], named: Mapping[Any, str]) -> list[tuple[str, str]]:
    """Which object each region shows: (key, label).

    Ours say it in their ids. One that a person drew has an id of its own: it is the object of that label where there is
    only one, else an object by itself.
    """
    labels = [named.get(r.get("id")) or _label(r.get("value") or {}, str(r.get("type"))) for r in regions]
    ours = [_OURS.match(str(r.get("id"))) for r in regions]
    known = {(m.group(1), label) for m, label in zip(ours, labels, strict=True) if m}
    count = Counter(label for _, label in known)
    of_label = {label: key for key, label in known}
    keys = []
    for region, label, match in zip(regions, labels, ours, strict=True):
        if match:
            keys.append((match.group(1), label))
        else:
            keys.append((of_label[label] if count[label] == 1 else str(region.get("id")), label))
    return keys


def mask_of(region: Mapping[str, Any], size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """A brush, polygon or bitmap region as (H, W) bool. Raises FormatError."""
    value, (w, h) = field(region, "value", dict, where), size
    if "rle" in value:
        from label_studio_sdk.converter.brush import decode_rle

        try:
            return np.asarray(decode_rle(value["rle"]).reshape(h, w, 4)[..., 3] > 127)
        except (ValueError, IndexError, TypeError, KeyError) as error:
            raise FormatError(f"{where}: a brush mask cannot be read: {error}") from None
    if "imageDataURL" in value:
        try:
            coded = base64.b64decode(str(value["imageDataURL"]).partition(",")[2], validate=True)
            picture = cv2.imdecode(np.frombuffer(coded, np.uint8), cv2.IMREAD_UNCHANGED)
        except (binascii.Error, cv2.error) as error:
            raise FormatError(f"{where}: a bitmap cannot be read: {error}") from None
        if picture is None or picture.shape != (h, w, 4):
            raise FormatError(f"{where}: a bitmap must be a PNG of {w}x{h} with transparency")
        return np.asarray(picture[..., 3] > 127)
    points = field(value, "points", list, where)
    if not points:  # emptied by words, see backend.labelstudio.empty_regions
        return np.zeros((h, w), np.bool_)
    return fill_polygons(
        [[v * side / 100 for point in points for v, side in zip(point, size, strict=True)]], size, where
    )
