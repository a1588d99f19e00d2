"""Regions and predictions in the form in which Label Studio stores them.

Label Studio validates none of this (1.23), so what is written here must be right. What a person or another program
stored is read as plain mappings, since it may lack any of these keys.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NotRequired, TypedDict, cast

from refam.pipeline.types import TrackResult, target_positions

REGION_PREFIX = "refam-"  # begins the ids of this backend's regions


class BoxKeyframe(TypedDict):
    """A keyframe of a box on video.

    frame: of the editor, 1-based. time: seconds. x, y: top left corner, percent of the frame. width, height: percent
    of the frame. rotation: degrees clockwise about the top left corner; interpolated boxes become NaN without it.
    enabled: False hides the object from the next frame on, up to the next keyframe. score: in [0, 1]. words: those that
    the object was found with. check: the checksum of a keyframe that nobody edited (see `backend.labelstudio.edits`).
    preview: whether it is of a preview, which the finished track is to replace.
    """

    frame: int
    time: float
    enabled: bool
    x: float
    y: float
    width: float
    height: float
    rotation: float
    score: NotRequired[float]
    words: NotRequired[str]
    check: NotRequired[str]
    preview: NotRequired[bool]


class Vertex(TypedDict):
    """A vertex of an outline. x, y: percent of the frame. prevPointId: id of the vertex before it, None for the first.

    The editor interpolates vertices of the same id.
    """

    id: str
    x: float
    y: float
    prevPointId: str | None
    isBezier: bool


class VectorKeyframe(TypedDict):
    """A keyframe of an outline on video. closed: whether the last vertex joins the first. Else as `BoxKeyframe`."""

    frame: int
    time: float
    enabled: bool
    closed: bool
    vertices: list[Vertex]
    score: NotRequired[float]
    words: NotRequired[str]
    check: NotRequired[str]


class VideoValue(TypedDict):
    """The value of an object on video. framesCount: frames of the editor. duration: of the video in seconds."""

    framesCount: int
    duration: float
    sequence: Sequence[BoxKeyframe | VectorKeyframe]
    labels: NotRequired[list[str]]
    videovectorlabels: NotRequired[list[str]]


class BrushValue(TypedDict):
    """A mask as brush strokes. rle: in Label Studio's own run-length code, of RGBA pixels."""

    format: Literal["rle"]
    rle: list[int]
    brushlabels: NotRequired[list[str]]
    labels: NotRequired[list[str]]


class PolygonValue(TypedDict):
    """A mask as one polygon. points: [x, y] in percent of the picture."""

    points: list[list[float]]
    closed: bool
    polygonlabels: NotRequired[list[str]]
    labels: NotRequired[list[str]]


class BitmaskValue(TypedDict):
    """A mask as a PNG in a data URL: the opaque pixels are the mask."""

    imageDataURL: str
    bitmasklabels: NotRequired[list[str]]
    labels: NotRequired[list[str]]


class TimeRange(TypedDict):
    """Frames of the editor in which an object is in sight. start, end: 1-based, both included."""

    start: int
    end: int


class TimelineValue(TypedDict):
    """The times in which an object is in sight. The editor keeps nothing else in such a value (1.23.2)."""

    ranges: list[TimeRange]
    timelinelabels: list[str]


class TextValue(TypedDict):
    """What was typed into a text field: the whole list of submissions, the last one last."""

    text: list[str]


MaskValue = BrushValue | PolygonValue | BitmaskValue


class Meta(TypedDict, total=False):
    """text: what the editor shows when the region is selected. words: those that the object was found with, where no
    keyframes carry them.

    check: the checksum of a polygon, or of times in sight, that nobody edited.
    """

    text: list[str]
    check: str
    words: str


class Region(TypedDict):
    """One entry of a prediction's or an annotation's result.

    from_name, to_name: names of the control tag and of the `<Video>` or `<Image>`. type: the control tag in lower case.
    item_index: of the picture, 0-based. original_width, original_height: of the picture, in pixels.
    """

    id: str
    from_name: str
    to_name: str
    type: str
    value: VideoValue | TimelineValue | MaskValue | TextValue | dict[str, Any]
    origin: NotRequired[str]
    score: NotRequired[float]
    meta: NotRequired[Meta]
    item_index: NotRequired[int]
    original_width: NotRequired[int]
    original_height: NotRequired[int]
    image_rotation: NotRequired[int]


class Prediction(TypedDict):
    """A prediction for one task. score: in [0, 1]; Label Studio orders tasks by it."""

    result: list[Region]
    score: float
    model_version: str


def build_prediction(regions: Sequence[Region], *, model_version: str) -> Prediction:
    """Make a prediction of regions. Its score is that of the least certain region.

    Raises:
        ValueError: Without regions: Label Studio stores an empty prediction, and at the same model version that blocks
            the next run.
    """
    if not regions:
        raise ValueError("a prediction without regions would be stored as empty and block the next run")
    return {
        "result": list(regions),
        "score": min(region["score"] for region in regions),
        "model_version": model_version,
    }


def mark_preview(region: Region) -> Region:
    """Return a region on video as a preview: each keyframe says so, and its score is 0, for it is not finished."""
    value = cast(VideoValue, region["value"])
    sequence = [{**keyframe, "preview": True} for keyframe in value["sequence"]]
    return cast(Region, {**region, "score": 0.0, "value": {**value, "sequence": sequence}})


def is_preview(region: Mapping[str, Any]) -> bool:
    """Return whether a region on video is a preview that no finished track has replaced yet."""
    value = region.get("value")
    return any(keyframe.get("preview") for keyframe in read_mappings(value, "sequence"))


def region_id_for(task: Mapping[str, Any] | str, position: int) -> str:
    """Return a stable region id for an object of a task, so that a new answer replaces the region.

    Args:
        task: The task, or any other text that names it.
        position: Number of the object in the task, from 0.
    """
    key = task if isinstance(task, str) else f"task {task.get('id')}"
    return REGION_PREFIX + hashlib.sha256(f"{key} object {position}".encode()).hexdigest()[:10]


_INSTANCE = re.compile(rf"({REGION_PREFIX}[0-9a-f]+)x\d+")


def instance_region_id(region_id: str, instance: int) -> str:
    """Return the region id of one of several objects that words mean.

    Args:
        region_id: Of the words; the first object has it.
        instance: Which of the objects, from 1.
    """
    return region_id if instance == 1 else f"{region_id}x{instance}"


def object_region_ids(results: Sequence[TrackResult], region_ids: Sequence[str]) -> list[str]:
    """Return a region id for each result: several objects of one target have ids of their own.

    Args:
        results: Of one run, in the order of its targets.
        region_ids: One for each target.
    """
    positions = target_positions(results)
    return [instance_region_id(region_ids[i], one.instance) for i, one in zip(positions, results, strict=True)]


def words_region_id(region_id: str) -> str:
    """Return the region id of the words that an object's region is of: `instance_region_id` undone."""
    match = _INSTANCE.fullmatch(region_id)
    return match[1] if match else region_id


def round_score(score: float) -> float:
    """Return a score as regions and keyframes carry it: within [0, 1], four digits."""
    return round(min(1.0, max(0.0, float(score))), 4)


def keyframe_frame(keyframe: Mapping[str, Any]) -> int | None:
    """Return the frame of the editor that a keyframe is on; None if it has no whole number. JSON may write 1 as 1.0.

    A number beyond 2^53, which the editor's JavaScript cannot count to, is none.
    """
    frame = keyframe.get("frame")
    if not isinstance(frame, int | float) or isinstance(frame, bool) or abs(frame) > 2**53 or frame != frame // 1:
        return None
    return int(frame)


def keyframe_enabled(keyframe: Mapping[str, Any]) -> bool:
    """Return whether an object stays visible after a keyframe, up to the next one.

    A keyframe without `enabled`, as other tools write it, hides the object as one with false does: the editor draws it
    on its own frame only (measured on 1.23).
    """
    return bool(keyframe.get("enabled"))


def labels_in_value(value: Any, tag: str = "labels") -> list[str]:
    """Return all labels in a region's value, in order; [] without one, and of a value that is no mapping.

    Args:
        value: The region's value.
        tag: A control tag with labels of its own, whose key is looked at before "labels".
    """
    known = value if isinstance(value, Mapping) else {}
    lists = [labels for key in (tag, "labels") if isinstance(labels := known.get(key), list)]
    return list(dict.fromkeys(str(label) for labels in lists for label in labels if label))


def label_in_value(value: Any, tag: str = "labels", *, default: str = "object") -> str:
    """Return the first label in a region's value (see `labels_in_value`), the default without one."""
    return next(iter(labels_in_value(value, tag)), default)


# What the tags that ask about a region store, by their type: the key in the value.
_ANSWERS = {
    "choices": "choices",
    "textarea": "text",
    "taxonomy": "taxonomy",
    "rating": "rating",
    "number": "number",
    "datetime": "datetime",
}


def region_answers(results: Iterable[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Return what people answered about one region, by the name of the tag that asked (`perRegion="true"`).

    Args:
        results: Those of the region's id, of any type; those that are no answers are passed over.
    """
    answers: dict[str, tuple[str, ...]] = {}
    for result in results:
        key, value = _ANSWERS.get(str(result.get("type"))), result.get("value")
        found = value.get(key) if key and isinstance(value, Mapping) else None
        if found is None or found == []:
            continue
        items = found if isinstance(found, list) else [found]
        texts = [" / ".join(map(str, item)) if isinstance(item, list) else _plain(item) for item in items]
        answers[str(result.get("from_name"))] = tuple(texts)
    return answers


def _plain(item: Any) -> str:
    return str(item).removesuffix(".0") if isinstance(item, float) else str(item)


def sources_by_age(task: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    """Return a task's "drafts", "annotations" or "predictions" (the kind), the newest first."""
    return sorted(read_mappings(task, kind), key=annotation_age, reverse=True)


def read_mappings(source: Mapping[str, Any] | None, key: str) -> list[Mapping[str, Any]]:
    """Return the mappings of a list that stands under a key; none where there is no such list."""
    value = source.get(key) if isinstance(source, Mapping) else None
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def annotation_age(source: Mapping[str, Any]) -> tuple[datetime, int]:
    """Return what orders annotations, drafts and predictions from the oldest to the newest.

    Returns:
        When it was changed, or else made, in UTC; the earliest of all times where it does not say. Then its number,
        which later ones have higher.
    """
    text, identity = str(source.get("updated_at") or source.get("created_at") or ""), source.get("id")
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        moment = datetime.min.replace(tzinfo=UTC)
    return moment, identity if isinstance(identity, int) else 0
