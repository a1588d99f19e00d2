"""Reading Label Studio's JSON export of submitted annotations as annotated videos, frame by frame of the clip.

The export holds keyframes on the editor's own timeline. The control tag's class interpolates them there as the editor
draws them and maps them to the clip's frames; masks on lists of pictures are read as they are. A box stays a box: no
mask is made up for it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from backend.labelstudio.addresses import address_parts, video_stem
from backend.labelstudio.controls import control_for_type
from backend.labelstudio.controls.base import VideoControl
from backend.labelstudio.controls.image_masks import MaskControl, MaskError
from backend.labelstudio.controls.timeline_labels import TimelineLabelsControl
from backend.labelstudio.export_sources import LoadedVideo, VideoFolder, submitted_annotation
from backend.labelstudio.label_config import LabelConfig
from backend.labelstudio.regions import label_in_value, labels_in_value, region_answers
from backend.labelstudio.timeline import region_rate
from video import masks
from video.errors import Skipped, UserError, leave_out
from video.formats.base import FormatError, even_times, get_field, make_video, read_json, track_from_masks
from video.io.reader import open_clip
from video.masks import Mask
from video.types import Rle

_MASK_REGION_ID = re.compile(r"^(refam-[0-9a-f]{10})-\d+(?:-\d+)?$")  # object, picture, part


def read_export(
    path: Path, config: LabelConfig, *, videos: VideoFolder | None, skipped: Skipped = None
) -> list[LoadedVideo]:
    """Read the tasks of an export that somebody submitted.

    Args:
        path: The exported file, in the format JSON.
        config: The project's label config.
        videos: The video files, for tasks with a video: the export does not hold the times of their frames.
        skipped: See `leave_out`.

    Raises:
        FormatError: If the file, a region in it or a video cannot be read, or videos is missing.
        LabelConfigError: If a task's frame rate is no rate.
    """
    content = read_json(path)
    if not isinstance(content, list):
        raise FormatError(f"{path} is no Label Studio export: choose the format JSON there, not JSON-MIN")
    loaded = []
    for task in content:
        with leave_out(skipped):
            loaded += _read_task(task, config, videos, path, skipped)
    return loaded


def _read_task(
    task: Any, config: LabelConfig, videos: VideoFolder | None, path: Path, skipped: Skipped
) -> list[LoadedVideo]:
    """Return the video of a task; none if nobody submitted it."""
    where = f"{path}: task {task.get('id') if isinstance(task, Mapping) else task!r:.40}"
    missing = [name for name in ("data", "annotations") if not isinstance(task, Mapping) or name not in task]
    if missing:
        raise FormatError(
            f"{where} has no {' and no '.join(missing)}: it was exported in another format, such as JSON-MIN; "
            "export the project again in Label Studio and choose JSON"
        )
    data = get_field(task, "data", dict, where)
    annotation = submitted_annotation(task)
    if annotation is None:
        return []
    result = [r for r in get_field(annotation, "result", list, where) if isinstance(r, Mapping)]
    regions = [r for r in result if r.get("to_name") == config.media]
    if config.on_pictures:
        return [_read_pictures(data, regions, config, f"task-{task.get('id')}", where, skipped)]
    return [_read_video(data, regions, config, videos, where, skipped)]


def _read_video(
    data: Mapping[str, Any],
    regions: Sequence[Any],
    config: LabelConfig,
    videos: VideoFolder | None,
    where: str,
    skipped: Skipped,
) -> LoadedVideo:
    address = get_field(data, config.media_field, str, where)
    if videos is None:
        raise FormatError(f"{where}: --videos FOLDER is needed, with {address_parts(address)[-1]} in it, for its times")
    try:
        media = videos.find(address)
        clip = open_clip(media)
    except UserError as error:
        raise FormatError(f"{where}: {error}") from None
    fps = config.fps(data)
    objects, notes = [], []
    for region in regions:
        control = control_for_type(str(region.get("type")))
        if control is None or not issubclass(control, VideoControl):
            continue
        with leave_out(skipped):
            value = get_field(region, "value", dict, where)
            own = region_rate(value, fps)
            if own != fps:
                notes.append(_contradicted_rate(value, own, fps, where))
            one = control.read_object(value, clip, fps=own, where=where)
            label = next(iter(_labels([region], regions)), one.label)
            objects.append(replace(one, label=label, attributes=_attributes([region], regions)))
    if spans := sum(region.get("type") in TimelineLabelsControl.TAGS for region in regions):
        notes.append(f"{where}: {spans} times in sight (TimelineLabels) have no boxes and are left out")
    visible = [one for one in objects if len(one.frames)]
    return LoadedVideo(make_video(video_stem(address), clip.size, clip.times, visible, notes=notes), media.name, media)


def _attributes(
    shapes: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]]
) -> dict[str, tuple[str, ...]]:
    """Return what people said of an object beside its label.

    Args:
        shapes: The regions that draw the object.
        results: All results of the annotation, among them those that share an id with such a region.
    """
    ids, labels = {shape.get("id") for shape in shapes}, _labels(shapes, results)
    answers = region_answers(r for r in results if r.get("id") in ids)
    return {"labels": labels, **answers} if len(labels) > 1 else answers


def _labels(shapes: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return all labels of an object: those in its regions, then those in results of their own with the same id."""
    ids = {shape.get("id") for shape in shapes}
    same = [*shapes, *(r for r in results if r.get("id") in ids and str(r.get("type")).endswith("labels"))]
    found = [labels_in_value(r.get("value") or {}, str(r.get("type"))) for r in same]
    return tuple(dict.fromkeys(label for labels in found for label in labels))


def _contradicted_rate(value: Mapping[str, Any], own: float, fps: float, where: str) -> str:
    """Return a sentence for a region that was stored at another frame rate than the label config's."""
    return (
        f"{where}: regions were stored with {value['framesCount']:g} frames in {value['duration']:g} s, so they are "
        f"read at {own:g} frames a second and not at the label config's {fps:g}"
    )


def _read_pictures(
    data: Mapping[str, Any], regions: Sequence[Any], config: LabelConfig, name: str, where: str, skipped: Skipped
) -> LoadedVideo:
    addresses = get_field(data, config.media_field, list, where)
    controls = [(r, control) for r in regions if (control := _mask_control(r)) is not None]
    mask_regions = [region for region, _ in controls]
    sizes = {(r.get("original_width"), r.get("original_height")) for r in mask_regions}
    if len(sizes) > 1 or not all(isinstance(side, int) for size in sizes for side in size):
        raise FormatError(f"{where}: its masks must be of pictures of one size, got {sorted(sizes, key=str)}")
    size = next(iter(sizes), (1, 1))
    labels = {r.get("id"): label_in_value(r["value"]) for r in regions if r.get("type") == "labels"}
    rles: dict[tuple[str, str], dict[int, Rle]] = defaultdict(dict)
    shapes: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for (region, control), key in zip(controls, _assign_objects(mask_regions, labels), strict=True):
        with leave_out(skipped):
            frame = int(region.get("item_index") or 0)
            if not 0 <= frame < len(addresses):
                raise FormatError(f"{where}: a mask is on picture {frame}, and there are {len(addresses)}")
            mask = _read_mask(region, control, where)
            by_frame = rles[key]
            shapes[key].append(region)
            by_frame[frame] = masks.encode(mask | masks.decode(by_frame[frame]) if frame in by_frame else mask)
    times_s = data.get("times_s")
    timed = isinstance(times_s, list) and len(times_s) == len(addresses)
    times = np.array(times_s, np.float64) if timed else even_times(len(addresses))
    objects = [
        replace(track_from_masks(key[1], by_frame), attributes=_attributes(shapes[key], regions))
        for key, by_frame in rles.items()
    ]
    pictures = [f"{name}/{address_parts(str(address))[-1]}" for address in addresses]
    visible = [one for one in objects if len(one.frames)]
    return LoadedVideo(make_video(name, size, times, visible, pictures=pictures), name)


def _assign_objects(regions: Sequence[Any], labels: Mapping[Any, str]) -> list[tuple[str, str]]:
    """Return which object each mask shows: (key, label).

    The ids of this backend's regions say it. A mask that a person drew has an id of its own: it belongs to the object
    of its label where there is only one, else it is an object by itself.

    Args:
        regions: The masks.
        labels: Labels that stand in a region of their own, by its id.
    """
    own = [labels.get(r.get("id")) or label_in_value(r.get("value") or {}, str(r.get("type"))) for r in regions]
    matches = [_MASK_REGION_ID.match(str(r.get("id"))) for r in regions]
    known = {(match.group(1), label) for match, label in zip(matches, own, strict=True) if match}
    count = Counter(label for _, label in known)
    key_of_label = {label: key for key, label in known}
    keys = []
    for region, label, match in zip(regions, own, matches, strict=True):
        if match:
            keys.append((match.group(1), label))
        else:
            keys.append((key_of_label[label] if count[label] == 1 else str(region.get("id")), label))
    return keys


def _mask_control(region: Mapping[str, Any]) -> type[MaskControl] | None:
    control = control_for_type(str(region.get("type")))
    return control if control is not None and issubclass(control, MaskControl) else None


def _read_mask(region: Mapping[str, Any], control: type[MaskControl], where: str) -> Mask:
    get_field(region, "value", dict, where)
    try:
        return control.read_mask(region)
    except MaskError as error:
        raise FormatError(f"{where}: {error}") from None
