"""Compare a prediction's regions with those of the annotation that a person submitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.feedback.annotator import interpolate_sequence
from backend.labelstudio.controls.timeline_labels import TimelineLabelsControl, is_user_edited, read_ranges
from backend.labelstudio.controls.video_rectangle import VideoRectangleControl
from backend.labelstudio.controls.video_vector import VectorKeyframes, VideoVectorControl
from backend.labelstudio.edits import is_vertex_list, keyframe_checksum, read_user_keyframes, region_words
from backend.labelstudio.empty_regions import is_empty
from backend.labelstudio.regions import keyframe_frame
from video.contours import polygon_to_mask
from video.masks import box_iou, iou

Region = Mapping[str, Any]
_LABELS = (
    "labels",
    "videorectangle",
    "brushlabels",
    "polygonlabels",
    "bitmasklabels",
    "videovectorlabels",
    "timelinelabels",
)
_ON_VIDEO = (*VideoRectangleControl.TAGS, *VideoVectorControl.TAGS)
_IN_SIGHT = TimelineLabelsControl.TAGS
_OUTLINE_GRID = (256, 256)  # (width, height) in pixels, on which outlines are compared
_SAME_IOU = 0.999  # not 1: the editor rounds coordinates differently


class RegionFate(StrEnum):
    """What a person did with a region. One that was both moved and relabelled is `MOVED`; see `Correction`."""

    KEPT = "kept"
    MOVED = "moved"
    RELABELLED = "relabelled"
    DELETED = "deleted"
    ADDED = "added"


@dataclass(frozen=True)
class Correction:
    """One region before and after a person's edits.

    Attributes:
        region: The region's id.
        fate: What became of it.
        label: Its label after the edits; before them if it was deleted.
        relabelled: Whether its label was changed.
        words: The expression that it was found with; None if a person drew it.
        iou: The mean IoU of before and after over the editor frames that show either; of times in sight the frames in
            both over the frames in either; None if the prediction is not known.
        strokes: Keyframes set, switched or deleted, ends of times moved, and one each for another label, other words or
            a deletion.
        worst: The 1-based editor frame on which before and after differ most.
        before: The box on that frame before the edits, normalised xyxy; None where it is hidden.
        after: The box on that frame after the edits.
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
    """Compare regions by their id, which the editor keeps.

    Regions that are no boxes, outlines, masks or times in sight are ignored.

    Args:
        before: The prediction's result.
        after: The annotation's result.

    Returns:
        A correction for each region, those of the annotation first.
    """
    predicted = {str(r.get("id")): r for r in before if _is_object(r)}
    submitted = [r for r in after if _is_object(r) and not is_empty(r)]  # an emptied region counts as deleted
    corrections = [_compare_region(predicted.get(str(r.get("id"))), r) for r in submitted]
    names = {str(r.get("id")) for r in submitted}
    return corrections + [_deletion(r) for name, r in predicted.items() if name not in names]


def _is_object(region: Region) -> bool:
    return region.get("type") in (*_ON_VIDEO, *_IN_SIGHT, "brushlabels", "polygonlabels", "bitmasklabels")


def _compare_region(ours: Region | None, theirs: Region) -> Correction:
    name, label, words = str(theirs.get("id")), region_label(theirs), region_words(theirs)
    if ours is None:
        if not has_predicted_keyframe(theirs):
            return Correction(name, RegionFate.ADDED, label, False, None, 0.0, _count_added(theirs))
        # From an interactive prediction, which is not stored, so that there are no boxes to compare with.
        strokes = int(is_user_edited(theirs)) if theirs.get("type") in _IN_SIGHT else len(read_user_keyframes(theirs))
        return Correction(name, RegionFate.MOVED if strokes else RegionFate.KEPT, label, False, words, None, strokes)
    words = words or region_words(ours)  # where a person replaced every keyframe, none holds the words
    relabelled = label != region_label(ours)
    if theirs.get("type") in _IN_SIGHT:
        iou, strokes = _compare_times(read_ranges(_value(ours)), read_ranges(_value(theirs)))
        fate = RegionFate.MOVED if strokes else RegionFate.RELABELLED if relabelled else RegionFate.KEPT
        return Correction(name, fate, label, relabelled, words, iou, strokes + relabelled)
    if theirs.get("type") not in _ON_VIDEO:
        same = _value(ours) == _value(theirs)
        fate = RegionFate.RELABELLED if relabelled and same else RegionFate.KEPT if same else RegionFate.MOVED
        return Correction(name, fate, label, relabelled, words, 1.0 if same else None, relabelled + (not same))
    iou, worst, box_before, box_after = _compare_over_time(ours, theirs)
    strokes = _strokes(ours, theirs) + relabelled
    moved = iou < _SAME_IOU
    fate = RegionFate.MOVED if moved else RegionFate.RELABELLED if relabelled else RegionFate.KEPT
    return Correction(name, fate, label, relabelled, words, iou, strokes, worst, box_before, box_after)


def _compare_times(ours: Sequence[tuple[int, int]], theirs: Sequence[tuple[int, int]]) -> tuple[float, int]:
    """Return the IoU of two lists of ranges, and how many ends of ranges differ: each is dragged, or drawn, apart.

    ours, theirs: (first, last) frames, ascending and apart from one another, as `read_ranges` returns them.
    """
    both = i = j = 0
    while i < len(ours) and j < len(theirs):
        both += max(0, min(ours[i][1], theirs[j][1]) - max(ours[i][0], theirs[j][0]) + 1)
        if ours[i][1] < theirs[j][1]:
            i += 1
        else:
            j += 1
    either = sum(last - first + 1 for first, last in (*ours, *theirs)) - both
    ends = [({r[side] for r in ours}, {r[side] for r in theirs}) for side in (0, 1)]
    return both / either if either else 1.0, sum(max(len(a - b), len(b - a)) for a, b in ends)


def _deletion(ours: Region) -> Correction:
    return Correction(str(ours.get("id")), RegionFate.DELETED, region_label(ours), False, region_words(ours), 0.0, 1)


def _strokes(ours: Region, theirs: Region) -> int:
    """Count the person's keyframes, the deleted ones of the prediction, and one stroke for other words."""
    before, after = _items(ours), _items(theirs)
    known = {(item["frame"], item.get("check")) for item in before}
    predicted_again = any(
        (i["frame"], i.get("check")) not in known for i in after if i.get("check") == keyframe_checksum(i)
    )
    deleted = 0 if predicted_again else len({i["frame"] for i in before} - {i["frame"] for i in after})
    return len(read_user_keyframes(theirs, [ours])) + deleted + (region_words(theirs) not in (None, region_words(ours)))


def _count_added(region: Region) -> int:
    return max(1, len(_items(region)))


def has_predicted_keyframe(region: Region) -> bool:
    """Return whether a keyframe of the region is still as the model predicted it, or its times in sight began so."""
    if region.get("type") in _IN_SIGHT:
        meta = region.get("meta")
        return isinstance(meta, Mapping) and "check" in meta
    return any(item.get("check") == keyframe_checksum(item) for item in _items(region))


def _compare_over_time(
    ours: Region, theirs: Region
) -> tuple[float, int | None, tuple[float, ...] | None, tuple[float, ...] | None]:
    n = max(_frame_count(ours), _frame_count(theirs), 1)
    if ours.get("type") != "videorectangle":
        return _compare_outlines(VectorKeyframes(_items(ours)), VectorKeyframes(_items(theirs)), n)
    # The frame's shape is not known here. It matters for rotated boxes only, whose IoU is that on a frame of 16:9.
    (a, a_visible), (b, b_visible) = interpolate_sequence(_items(ours), n), interpolate_sequence(_items(theirs), n)
    either = a_visible | b_visible
    if not either.any():
        return 1.0, None, None, None
    ious = np.where(a_visible & b_visible, box_iou(a, b), 0.0)
    row = int(np.where(either, ious, 2.0).argmin())
    return float(ious[either].mean()), row + 1, _box(a, a_visible, row), _box(b, b_visible, row)


def _compare_outlines(
    ours: VectorKeyframes, theirs: VectorKeyframes, n: int
) -> tuple[float, int | None, tuple[float, ...] | None, tuple[float, ...] | None]:
    ious: dict[int, float] = {}
    for frame in range(1, n + 1):
        a, b = (
            polygon_to_mask(o.points(frame) * _OUTLINE_GRID, _OUTLINE_GRID) & o.is_visible(frame)
            for o in (ours, theirs)
        )
        if a.any() or b.any():
            ious[frame] = iou(a, b)
    if not ious:
        return 1.0, None, None, None
    worst = min(ious, key=lambda frame: ious[frame])
    return float(np.mean(list(ious.values()))), worst, _bounding_box(ours, worst), _bounding_box(theirs, worst)


def _bounding_box(outlines: VectorKeyframes, frame: int) -> tuple[float, ...] | None:
    points = outlines.points(frame)
    if not outlines.is_visible(frame) or not len(points):
        return None
    return tuple(round(float(c), 6) for c in (*points.min(axis=0), *points.max(axis=0)))


def _box(boxes: NDArray[np.float64], visible: NDArray[np.bool_], row: int) -> tuple[float, ...] | None:
    return tuple(round(float(c), 6) for c in boxes[row]) if visible[row] else None


def _frame_count(region: Region) -> int:
    last = max((int(item["frame"]) for item in _items(region)), default=1)
    count = _value(region).get("framesCount")
    return max(last, count if isinstance(count, int) else 0)


def _items(region: Region) -> list[Mapping[str, Any]]:
    sequence = _value(region).get("sequence")
    items = [i for i in sequence if isinstance(i, Mapping)] if isinstance(sequence, list) else []
    items = [i for i in items if keyframe_frame(i) is not None]
    return [i for i in items if is_vertex_list(i.get("vertices")) or all(n in i for n in ("x", "y", "width", "height"))]


def _value(region: Region) -> Mapping[str, Any]:
    value = region.get("value")
    return value if isinstance(value, Mapping) else {}


def region_label(region: Region) -> str:
    """Return a region's first label; "" if it has none."""
    for name in _LABELS:
        labels = _value(region).get(name)
        if isinstance(labels, list) and labels:
            return str(labels[0])
    return ""
