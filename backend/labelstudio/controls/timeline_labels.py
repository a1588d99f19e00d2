"""`<TimelineLabels>`: from which frame to which frame an object is in sight.

A region holds `ranges`: a list of `{"start", "end"}` in the editor's frame numbers, 1-based and inclusive. In the code
of Label Studio 1.23.2 the editor's own full range is start 1 to end = number of frames, a new range has start = end,
and the duration that it shows is end - start + 1.

The editor keeps no other field of the value or of a range. So the words and the checksum of unedited ranges stand in
the region's `meta`, which it keeps (measured).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from backend.labelstudio.config_xml import attribute, tags_named, variable_name
from backend.labelstudio.controls.base import Control, check_region_ids, describe_object, tags_of
from backend.labelstudio.editor_state import EditorState
from backend.labelstudio.edits import UserEdit, UserKeyframe, apply_visibility_edits, ranges_checksum, region_words
from backend.labelstudio.regions import REGION_PREFIX, Meta, Region, TimeRange, read_mappings, round_score
from backend.labelstudio.timeline import TimedClip, frame_aspect, track_on_timeline
from refam.pipeline.types import TrackResult
from video.keyframes import KEYFRAME_IOU


class TimelineLabelsControl(Control):
    """A `<TimelineLabels>` tag on video. It takes the objects where a config has no tag that draws them."""

    TAGS: ClassVar[tuple[str, ...]] = ("timelinelabels",)
    PRIORITY: ClassVar[int] = 2

    @classmethod
    def accepts(cls, tag: Element) -> bool:
        """Return whether the tag has labels: a range without a label cannot be told from another."""
        labels = tags_named(list(tag.iter()), "label")
        return variable_name(attribute(tag, "value")) is not None or any(attribute(label, "value") for label in labels)

    @classmethod
    def explain_unusable(cls, tags: Sequence[Element], media: str) -> str | None:
        """Return what such a tag needs."""
        if not tags_of(tags, cls):
            return None
        return f'<TimelineLabels> needs a name, toName="{media}" and labels: put <Label value="Object"/> inside'

    @property
    def description(self) -> str:
        """A clause that says which objects go to which tag."""
        return f'the time in sight goes to <TimelineLabels name="{self.name}"> on <Video name="{self.media}">'

    def regions(
        self,
        results: Sequence[TrackResult],
        clip: TimedClip,
        *,
        fps: float,
        region_ids: Sequence[str],
        edits: Sequence[Sequence[UserEdit]] = (),
        keyframe_iou: float = KEYFRAME_IOU,
    ) -> list[Region]:
        """Return one region per object whose label the tag offers, with a range for each time that it is in sight.

        edits: Keyframes of boxes or outlines of the same objects; where a person switched an object off, no range is.
        keyframe_iou: Not used: there is nothing between two keyframes. See `Control.regions`.
        """
        check_region_ids(results, region_ids)
        regions: list[Region] = []
        for i, (result, region_id) in enumerate(zip(results, region_ids, strict=True)):
            ranges = visible_ranges(_visible_frames(result, clip, fps, edits[i] if edits else ()))
            if not ranges or not self.offers(result.target.label):
                continue
            meta: Meta = {"check": ranges_checksum(ranges)}
            if text := describe_object(result):
                meta["text"] = [text]
            if result.target.words:
                meta["words"] = result.target.words
            regions.append(
                {
                    "id": region_id,
                    "from_name": self.name,
                    "to_name": self.media,
                    "type": self.tag,
                    "origin": "prediction",
                    "score": round_score(result.score),
                    "meta": meta,
                    "value": {"ranges": ranges, "timelinelabels": [result.target.label]},
                }
            )
        return regions

    @classmethod
    def empty_value(cls, region: Mapping[str, Any]) -> dict[str, Any]:
        """Return a range that begins and ends nowhere: without any range the editor fails on a click (measured)."""
        return {"ranges": [{"start": None, "end": None}]}

    def shown_regions(self, state: EditorState) -> list[Mapping[str, Any]]:
        """Return the regions of this tag."""
        mine = (r for r in state.regions if r.get("type") == self.tag and r.get("from_name") == self.name)
        return [region for region in mine if region.get("id") and isinstance(region.get("value"), Mapping)]

    def replaceable_regions(self, state: EditorState) -> list[Mapping[str, Any]]:
        """Return the regions of this backend whose ranges nobody edited."""
        return [region for region in self.shown_regions(state) if not is_user_edited(region)]

    def kept_regions(self, state: EditorState) -> tuple[str, ...]:
        """Return the ids of the regions whose ranges a person set: no answer may replace them."""
        edited = (r for r in self.shown_regions(state) if is_user_edited(r) and not state.is_predicted(r))
        return tuple(str(region["id"]) for region in edited) if state.saved else ()

    def read_words(self, region: Mapping[str, Any]) -> str | None:
        """Return the words in the region's `meta`."""
        return region_words(region)


def visible_ranges(visible: NDArray[np.bool_]) -> list[TimeRange]:
    """Return the runs of True as ranges. visible: (n,) bool, editor frame f at f - 1."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], visible, [False]]).astype(np.int8)))
    return [{"start": int(a) + 1, "end": int(b)} for a, b in zip(edges[::2], edges[1::2], strict=True)]


def read_ranges(value: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Return the ranges in a region's value as (first, last) editor frames: ascending, and none touches another.

    What is no range is passed over.
    """
    sides = (tuple(_whole(item.get(side)) for side in ("start", "end")) for item in read_mappings(value, "ranges"))
    found = sorted((max(a, 1), b) for a, b in sides if a is not None and b is not None and max(a, 1) <= b)
    merged: list[tuple[int, int]] = []
    for first, last in found:
        if merged and first <= merged[-1][1] + 1:
            first, last = merged[-1][0], max(merged.pop()[1], last)
        merged.append((first, last))
    return merged


def is_user_edited(region: Mapping[str, Any]) -> bool:
    """Return whether a person drew a region of this tag, or its ranges are not those that this backend wrote."""
    meta = region.get("meta")
    check = meta.get("check") if isinstance(meta, Mapping) else None
    return not (
        str(region.get("id")).startswith(REGION_PREFIX)
        and isinstance(check, str)
        and check == ranges_checksum(read_mappings(region.get("value"), "ranges"))
    )


def _visible_frames(result: TrackResult, clip: TimedClip, fps: float, edits: Sequence[UserEdit]) -> NDArray[np.bool_]:
    """Return whether the object is visible on each of the editor's frames: (n,) bool."""
    _, visible = track_on_timeline(result.track, clip, fps)
    aspect = frame_aspect(clip, result.track.size)
    inside = (e for e in edits if not isinstance(e, UserKeyframe) or e.box(aspect) is not None)
    return apply_visibility_edits(visible, [edit for edit in inside if edit.frame <= len(visible)])


def _whole(number: Any) -> int | None:
    """Return a frame number as an int, None for anything else. JSON may write 1 as 1.0."""
    if not isinstance(number, int | float) or isinstance(number, bool) or number != number // 1:
        return None
    return int(number)
