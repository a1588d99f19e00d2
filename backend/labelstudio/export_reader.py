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

from backend.labelstudio.addresses import address_parts, video_stem
from backend.labelstudio.controls import control_for_type
from backend.labelstudio.controls.base import VideoControl
from backend.labelstudio.controls.image_masks import MaskControl, MaskError
from backend.labelstudio.controls.timeline_labels import TimelineLabelsControl
from backend.labelstudio.export_sources import LoadedVideo, VideoFolder, submitted_annotations
from backend.labelstudio.label_config import LabelConfig
from backend.labelstudio.regions import label_in_value, labels_in_value, region_answers
from backend.labelstudio.timeline import region_rate
from video import masks
from video.errors import Skipped, UserError, leave_out
from video.formats.base import FormatError, even_times, get_field, make_video, read_json, track_from_masks
from video.formats.values import check_size, read_times
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
    annotations = submitted_annotations(task, where)
    if not annotations:
        return []
    regions = []
    for region in get_field(annotations[0], "result", list, where):
        if isinstance(region, Mapping) and region.get("to_name") == config.media:
            with leave_out(skipped):
                regions.append(_check_id(region, where))
    if config.on_pictures:
        loaded = _read_pictures(data, regions, config, f"task-{task.get('id')}", where, skipped)
    else:
        loaded = _read_video(data, regions, config, videos, where, skipped)
    if len(annotations) == 1:
        return [loaded]
    notes = (_describe_choice(annotations, where), *loaded.video.notes)
    return [replace(loaded, video=replace(loaded.video, notes=notes))]


def _check_id(region: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """Return a region if results that belong to it can be found by its id. Raises FormatError if not."""
    if not isinstance(region.get("id"), str | int | None):
        raise FormatError(f"{where}: a region's 'id' must be a text, got {region['id']!r:.80}")
    return region


def _describe_choice(annotations: Sequence[Mapping[str, Any]], where: str) -> str:
    """Return a sentence that says which annotation of a task is exported. annotations: the chosen one first."""
    chosen, others = annotations[0], len(annotations) - 1
    why = "it is the ground truth" if chosen.get("ground_truth") else "it is the newest"
    by = f" of user {chosen['completed_by']}" if isinstance(chosen.get("completed_by"), int) else ""
    return f"{where}: annotation {chosen.get('id')}{by} is exported, for {why}; {others} other(s) of the task are not"


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
            if value["sequence"] and not len(one.frames):
                notes.append(_describe_unseen(label, region.get("id"), where))
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
    found = [labels_in_value(r.get("value"), str(r.get("type"))) for r in same]
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
    if not addresses:
        raise FormatError(f"{where}: {config.media_field!r} is a list without a picture")
    controls = [(r, control) for r in regions if (control := _mask_control(r)) is not None]
    mask_regions = [region for region, _ in controls]
    sizes = [(r.get("original_width"), r.get("original_height")) for r in mask_regions]
    if any(size != sizes[0] or not all(isinstance(side, int) for side in size) for size in sizes):
        raise FormatError(f"{where}: its masks must be of pictures of one size, got {sizes!r:.80}")
    size = check_size(sizes[0], where) if sizes else (1, 1)
    labels = {r.get("id"): label_in_value(r.get("value")) for r in regions if r.get("type") == "labels"}
    rles: dict[tuple[str, str], dict[int, Rle]] = defaultdict(dict)
    shapes: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for (region, control), key in zip(controls, _assign_objects(mask_regions, labels), strict=True):
        with leave_out(skipped):
            frame = region.get("item_index") or 0
            if not isinstance(frame, int) or not 0 <= frame < len(addresses):
                raise FormatError(f"{where}: a mask is on picture {frame!r:.40}, and there are {len(addresses)}")
            mask = _read_mask(region, control, where)
            by_frame = rles[key]
            shapes[key].append(region)
            by_frame[frame] = masks.encode(mask | masks.decode(by_frame[frame]) if frame in by_frame else mask)
    times_s = data.get("times_s")
    known = times_s if isinstance(times_s, list) and len(times_s) == len(addresses) else None
    times = even_times(len(addresses)) if known is None else read_times(known, where)
    objects = [
        replace(track_from_masks(key[1], by_frame), attributes=_attributes(shapes[key], regions))
        for key, by_frame in rles.items()
    ]
    pictures = [f"{name}/{address_parts(str(address))[-1]}" for address in addresses]
    found = zip(rles, objects, strict=True)
    notes = [_describe_unseen(one.label, key, where) for (key, _), one in found if not len(one.frames)]
    visible = [one for one in objects if len(one.frames)]
    return LoadedVideo(make_video(name, size, times, visible, pictures=pictures, notes=notes), name)


def _describe_unseen(label: str, key: Any, where: str) -> str:
    """Return a sentence for an object that is left out. key: what tells it from others of its label."""
    return f"{where}: {label!r} ({key}) has no area inside the picture on any frame, so it is left out"


def _assign_objects(regions: Sequence[Any], labels: Mapping[Any, str]) -> list[tuple[str, str]]:
    """Return which object each mask shows: (key, label).

    The ids of this backend's regions say it. A mask that a person drew has an id of its own: it belongs to the object
    of its label where there is only one, else it is an object by itself.

    Args:
        regions: The masks.
        labels: Labels that stand in a region of their own, by its id.
    """
    own = [labels.get(r.get("id")) or label_in_value(r.get("value"), str(r.get("type"))) for r in regions]
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
