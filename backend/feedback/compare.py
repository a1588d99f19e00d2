"""What became of a prediction's regions in the annotation that a person submitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.feedback.annotator import drawn
from backend.labelstudio.controls.video_rectangle import VideoRectangleControl
from backend.labelstudio.controls.video_vector import VectorKeyframes, VideoVectorControl
from backend.labelstudio.edits import is_vertex_list, keyframe_checksum, read_user_keyframes, region_words
from backend.labelstudio.empty_regions import is_empty
from video.contours import filled
from video.masks import box_iou, iou

Region = Mapping[str, Any]
_LABELS = ("labels", "videorectangle", "brushlabels", "polygonlabels", "bitmasklabels", "videovectorlabels")
_ON_VIDEO = (*VideoRectangleControl.TAGS, *VideoVectorControl.TAGS)
_OUTLINE_GRID = (256, 256)  # on which outlines are compared
_SAME = 0.999  # IoU: the editor writes what it moved with more digits than we do


class RegionFate(StrEnum):
    """What a person did with a region. One that was moved and relabelled counts as moved; see `Correction`."""

    KEPT = "kept"
    MOVED = "moved"
    RELABELLED = "relabelled"
    DELETED = "deleted"
    ADDED = "added"


@dataclass(frozen=True)
class Correction:
    """One region, before and after.

    label: what it is called now (before, where it was deleted). words: it was found with; None for one that a person
    drew. iou: of before and after, the mean over the editor frames that show either; None where what was answered is
    not known. strokes: keyframes set, switched or deleted, plus one each for another label, other words, a deletion.
    worst: the editor frame (1-based) on which before and after differ most; before, after: the boxes there, normalised
    xyxy, None where hidden.
    """

    region: str
    fate: RegionFate
    label: str
    relabelled: bool
    words: str | None
    iou: float | None
    strokes: int
    worst: int | None = None
    before: tuple[float, ...] | None = None
    after: tuple[float, ...] | None = None


def compare(before: Sequence[Region], after: Sequence[Region]) -> list[Correction]:
    """Corrections by region, the annotation's first. before: the prediction's result; after: the annotation's.

    Regions belong together by their id, which the editor keeps. Only boxes on video and masks on pictures count.
    """
    ours = {str(r.get("id")): r for r in before if _spatial(r)}
    theirs = [r for r in after if _spatial(r) and not is_empty(r)]  # an emptied one is as good as deleted
    found = [_one(ours.get(str(r.get("id"))), r) for r in theirs]
    there = {str(r.get("id")) for r in theirs}
    return found + [_deleted(r) for name, r in ours.items() if name not in there]


def _spatial(region: Region) -> bool:
    return region.get("type") in (*_ON_VIDEO, "brushlabels", "polygonlabels", "bitmasklabels")


def _one(ours: Region | None, theirs: Region) -> Correction:
    name, label, words = str(theirs.get("id")), label_of(theirs), region_words(theirs)
    if ours is None:
        if not has_checks(theirs):
            return Correction(name, RegionFate.ADDED, label, False, None, 0.0, _drawn_strokes(theirs))
        # Ours, out of an interactive answer: those are not stored, so there is nothing to compare the boxes with.
        strokes = len(read_user_keyframes(theirs))
        return Correction(name, RegionFate.MOVED if strokes else RegionFate.KEPT, label, False, words, None, strokes)
    words = words or region_words(ours)  # a person who sets every keyframe anew leaves none that says them
    relabelled = label != label_of(ours)
    if theirs.get("type") not in _ON_VIDEO:
        same = _value(ours) == _value(theirs)
        fate = RegionFate.RELABELLED if relabelled and same else RegionFate.KEPT if same else RegionFate.MOVED
        return Correction(name, fate, label, relabelled, words, 1.0 if same else None, relabelled + (not same))
    iou, worst, was, now = _over_time(ours, theirs)
    strokes = _strokes(ours, theirs) + relabelled
    moved = iou < _SAME
    fate = RegionFate.MOVED if moved else RegionFate.RELABELLED if relabelled else RegionFate.KEPT
    return Correction(name, fate, label, relabelled, words, iou, strokes, worst, was, now)


def _deleted(ours: Region) -> Correction:
    return Correction(str(ours.get("id")), RegionFate.DELETED, label_of(ours), False, region_words(ours), 0.0, 1)


def _strokes(ours: Region, theirs: Region) -> int:
    """Keyframes that are a person's, and those of ours that are gone; one for other words."""
    before, after = _items(ours), _items(theirs)
    known = {(item["frame"], item.get("check")) for item in before}
    answered_again = any(
        (i["frame"], i.get("check")) not in known for i in after if i.get("check") == keyframe_checksum(i)
    )
    gone = 0 if answered_again else len({i["frame"] for i in before} - {i["frame"] for i in after})
    return len(read_user_keyframes(theirs)) + gone + (region_words(theirs) not in (None, region_words(ours)))


def _drawn_strokes(region: Region) -> int:
    return max(1, len(_items(region)))


def has_checks(region: Region) -> bool:
    """Whether a keyframe of the region is one of ours, untouched."""
    return any(item.get("check") == keyframe_checksum(item) for item in _items(region))


def _over_time(
    ours: Region, theirs: Region
) -> tuple[float, int | None, tuple[float, ...] | None, tuple[float, ...] | None]:
    n = max(_length(ours), _length(theirs), 1)
    if ours.get("type") != "videorectangle":
        return _outlines_over_time(VectorKeyframes(_items(ours)), VectorKeyframes(_items(theirs)), n)
    (a, seen_a), (b, seen_b) = drawn(_items(ours), n), drawn(_items(theirs), n)
    either = seen_a | seen_b
    if not either.any():
        return 1.0, None, None, None
    ious = np.where(seen_a & seen_b, box_iou(a, b), 0.0)
    row = int(np.where(either, ious, 2.0).argmin())
    return float(ious[either].mean()), row + 1, _box(a, seen_a, row), _box(b, seen_b, row)


def _outlines_over_time(
    ours: VectorKeyframes, theirs: VectorKeyframes, n: int
) -> tuple[float, int | None, tuple[float, ...] | None, tuple[float, ...] | None]:
    ious: dict[int, float] = {}
    for frame in range(1, n + 1):
        a, b = (filled(o.points(frame) * _OUTLINE_GRID, _OUTLINE_GRID) & o.is_visible(frame) for o in (ours, theirs))
        if a.any() or b.any():
            ious[frame] = iou(a, b)
    if not ious:
        return 1.0, None, None, None
    worst = min(ious, key=lambda frame: ious[frame])
    return float(np.mean(list(ious.values()))), worst, _around(ours, worst), _around(theirs, worst)


def _around(outlines: VectorKeyframes, frame: int) -> tuple[float, ...] | None:
    points = outlines.points(frame)
    if not outlines.is_visible(frame) or not len(points):
        return None
    return tuple(round(float(c), 6) for c in (*points.min(axis=0), *points.max(axis=0)))


def _box(boxes: NDArray[np.float64], seen: NDArray[np.bool_], row: int) -> tuple[float, ...] | None:
    return tuple(round(float(c), 6) for c in boxes[row]) if seen[row] else None


def _length(region: Region) -> int:
    last = max((int(item["frame"]) for item in _items(region)), default=1)
    count = _value(region).get("framesCount")
    return max(last, count if isinstance(count, int) else 0)


def _items(region: Region) -> list[Mapping[str, Any]]:
    sequence = _value(region).get("sequence")
    items = [i for i in sequence if isinstance(i, Mapping)] if isinstance(sequence, list) else []
    items = [i for i in items if "frame" in i and "enabled" in i]
    return [i for i in items if is_vertex_list(i.get("vertices")) or all(n in i for n in ("x", "y", "width", "height"))]


def _value(region: Region) -> Mapping[str, Any]:
    value = region.get("value")
    return value if isinstance(value, Mapping) else {}


def label_of(region: Region) -> str:
    """The first label that a region has, "" for none."""
    for name in _LABELS:
        labels = _value(region).get(name)
        if isinstance(labels, list) and labels:
            return str(labels[0])
    return ""
