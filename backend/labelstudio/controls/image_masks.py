"""The base class of the tags that take masks on lists of pictures: one region per object and picture.

The editor marks a region that it got from this backend with the origin "prediction", one that a person then edited with
"prediction-changed" (except for polygons, see there), and one drawn anew with "manual" (seen in Label Studio 1.23.2).
What a person edited stays in the editor as it is: the answer holds no region for that object on that picture, and the
editor keeps a region that no other of its id replaces.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast
from xml.etree.ElementTree import Element

import numpy as np

from backend.labelstudio.config_xml import attribute, split_names, tag_name, tags_named
from backend.labelstudio.controls.base import Control, UneditedMask, check_region_ids, describe_object
from backend.labelstudio.editor_state import EditorState
from backend.labelstudio.edits import UserEdit, region_words
from backend.labelstudio.regions import REGION_PREFIX, MaskValue, Meta, Region, labels_in_value, round_score
from backend.labelstudio.timeline import TimedClip
from refam.pipeline.types import FramePrompt, Target, TrackResult
from video.errors import UserError
from video.keyframes import KEYFRAME_IOU
from video.masks import Mask, decode, encode

_EDITED_ORIGINS = ("manual", "prediction-changed")
_NOT_SEEN = "not seen on this picture"


class MaskError(UserError):
    """A region that cannot be read as a mask; the message names the region."""


@dataclass(frozen=True)
class MaskControl(Control):
    """A tag that takes masks on an `<Image valueList="$field">`.

    Attributes:
        labels_name: Name of the `<Labels>` beside a tag that has no labels of its own, None without one.
    """

    ON_PICTURES: ClassVar[bool] = True
    SHAPE: ClassVar[str]
    """What error messages call a mask of this tag."""

    labels_name: str | None = None

    @classmethod
    def options(cls, tag: Element, tags: Sequence[Element], media: str) -> dict[str, Any]:
        """Read the name of the `<Labels>` beside the tag."""
        if tag_name(tag).endswith("labels"):
            return {}
        groups = [g for g in tags_named(tags, "labels") if media in split_names(attribute(g, "toName"))]
        return {"labels_name": next((name for g in groups if (name := attribute(g, "name"))), None)}

    @property
    def description(self) -> str:
        """A clause that says which objects go to which tag."""
        return f'masks go to "{self.name}" ({self.tag}) on <Image name="{self.media}">'

    # --- one mask as the value of a region ---------------------------------------------------------------------------

    @classmethod
    @abstractmethod
    def encode(cls, mask: Mask) -> Sequence[MaskValue]:
        """Return a mask (H, W) as the values of one or several regions; [] for an empty mask."""

    @classmethod
    @abstractmethod
    def empty_mask_value(cls, size: tuple[int, int]) -> MaskValue:
        """Return a value with which the editor draws nothing. size: (width, height) of the picture in pixels."""

    @classmethod
    @abstractmethod
    def decode(cls, value: Mapping[str, Any], size: tuple[int, int]) -> Mask:
        """Return the mask (H, W) of a region's value.

        Args:
            value: The region's value.
            size: (width, height) of the picture in pixels.

        Raises:
            ValueError, TypeError, LookupError, OSError: If it is no such value, or of another size.
        """

    @classmethod
    def checksum(cls, value: Mapping[str, Any]) -> str | None:
        """Return a checksum to recognise an edited value by, None where the region's origin suffices."""
        return None

    @classmethod
    def read_mask(cls, region: Mapping[str, Any]) -> Mask:
        """Return the mask (H, W) of a region.

        Raises:
            MaskError: If it cannot be read.
        """
        size = (region.get("original_width"), region.get("original_height"))
        w, h = (v if isinstance(v, int) and not isinstance(v, bool) and v > 0 else 0 for v in size)
        if not w or not h:
            raise MaskError(f"region {region.get('id')}: original_width and original_height must be pixels, got {size}")
        try:
            return cls.decode(region["value"], (w, h))
        except (ValueError, TypeError, LookupError, OSError) as error:
            raise MaskError(f"region {region.get('id')} cannot be read as a {cls.SHAPE}: {error}") from error

    # --- writing regions ---------------------------------------------------------------------------------------------

    def regions(
        self,
        results: Sequence[TrackResult],
        clip: TimedClip | None = None,
        *,
        region_ids: Sequence[str],
        fps: float | None = None,
        edits: Sequence[Sequence[UserEdit]] = (),
        keyframe_iou: float = KEYFRAME_IOU,
    ) -> list[Region]:
        """Return a region for each object and picture on which it is visible; the parts of a polygon make several.

        Only results and region_ids are used. "-PICTURE" is added to an id, and "-PART" from the second part on, so that
        a new answer replaces the regions. A mask that a person drew is in the editor already, and stays there because
        no region replaces it. See `Control.regions`.
        """
        check_region_ids(results, region_ids)
        regions: list[Region] = []
        for result, region_id in zip(results, region_ids, strict=True):
            track, text = result.track, describe_object(result)
            drawn = {prompt.frame for prompt in result.target.prompts if prompt.mask is not None}
            for row, frame in enumerate(track.frames):
                if not track.visible[row] or int(frame) in drawn:
                    continue
                for part, value in enumerate(self.encode(decode(track.rles[row]))):
                    base: dict[str, Any] = {
                        "id": f"{region_id}-{frame}" + (f"-{part}" if part else ""),
                        "to_name": self.media,
                        "origin": "prediction",
                        "item_index": int(frame),
                        "original_width": track.size[0],
                        "original_height": track.size[1],
                        "image_rotation": 0,
                        "score": round_score(track.scores[row]),
                    }
                    meta: Meta = {"text": [text], "words": result.target.words or ""} if text else {}
                    if (check := self.checksum(value)) is not None:
                        meta["check"] = check
                    if meta:  # the text is shown when the region is selected
                        base["meta"] = meta
                    regions += self._with_label(base, value, result.target.label)
        return regions

    def _with_label(self, base: Mapping[str, Any], value: MaskValue, label: str) -> Iterator[Region]:
        """Return a region with its label in the value, or with a second entry of the same id for the label."""
        if self.own_labels:
            named = {**value, self.tag: [label]} if self.offers(label) else value
            yield cast(Region, {**base, "from_name": self.name, "type": self.tag, "value": named})
            return
        yield cast(Region, {**base, "from_name": self.name, "type": self.tag, "value": value})
        if self.labels_name and self.offers(label):  # the editor joins results of one id: the shape, and its label
            labelled = {"from_name": self.labels_name, "type": "labels", "value": {**value, "labels": [label]}}
            yield cast(Region, {**base, **labelled})

    @classmethod
    def empty_value(cls, region: Mapping[str, Any]) -> dict[str, Any]:
        """Return an empty mask of the picture's size."""
        size = (int(region["original_width"]), int(region["original_height"]))
        return dict(cls.empty_mask_value(size))

    def clear_missing_masks(self, masks: Sequence[UneditedMask], answer: Sequence[Region]) -> list[Region]:
        """Return an empty region for each of these masks that the answer does not replace."""
        replaced = {region["id"] for region in answer}
        regions: list[Region] = []
        for mask in masks:
            if mask.region in replaced:
                continue
            base = {
                "id": mask.region,
                "to_name": self.media,
                "origin": "prediction",
                "item_index": mask.picture,
                "original_width": mask.size[0],
                "original_height": mask.size[1],
                "image_rotation": 0,
                "meta": {"text": [_NOT_SEEN]},
            }
            regions += self._with_label(base, self.empty_mask_value(mask.size), mask.label)
        return regions

    # --- reading what a person made of them --------------------------------------------------------------------------

    @classmethod
    def is_user_edited(cls, region: Mapping[str, Any]) -> bool:
        """Return whether a person drew or edited this mask."""
        return region.get("origin") in _EDITED_ORIGINS

    def shown_regions(self, state: EditorState) -> list[Mapping[str, Any]]:
        """Return the masks of this tag, each with its "labels"."""
        return list(self._masks_in(state.regions))

    def read_words(self, region: Mapping[str, Any]) -> str | None:
        """Return the words in the region's `meta`. In masks of version 0.2 they are all of its text."""
        meta = region.get("meta")
        if not isinstance(meta, Mapping) or "words" in meta or not str(region.get("id")).startswith(REGION_PREFIX):
            return region_words(region) or None
        text = meta.get("text")
        return str(text[0]) if isinstance(text, list) and text and text[0] != _NOT_SEEN else None

    def unedited_masks(self, state: EditorState, region_ids: Sequence[str]) -> tuple[UneditedMask, ...]:
        """Return the masks of these objects that the editor shows and nobody edited."""
        of_these = re.compile(rf"(?:{'|'.join(map(re.escape, region_ids))})(?:x\d+)?-.+")
        masks = []
        for region in self.shown_regions(state):
            w, h = region.get("original_width"), region.get("original_height")
            ours = not self.is_user_edited(region) and of_these.fullmatch(str(region.get("id")))
            if ours and isinstance(w, int) and isinstance(h, int) and w > 0 and h > 0:
                own = region.get("labels")
                labels = own if isinstance(own, list) and own else labels_in_value(region["value"], self.tag)
                label = labels[0] if labels else ""
                masks.append(UneditedMask(str(region["id"]), region["item_index"], (w, h), str(label)))
        return tuple(masks)

    def edited_instances(self, region_id: str, state: EditorState) -> tuple[str, ...]:
        """Return the ids of the objects of some words of which a person edited a mask. See `Control`."""
        if not state.saved:
            return ()
        edited = (r for r in self.shown_regions(state) if self.is_user_edited(r) and not state.is_predicted(r))
        pattern = re.compile(rf"({re.escape(region_id)}(?:x\d+)?)-\d+(?:-\d+)?")
        matches = (pattern.fullmatch(str(region.get("id"))) for region in edited)
        return tuple(dict.fromkeys(match[1] for match in matches if match))

    def add_mask_prompts(
        self, targets: Sequence[Target], region_ids: Sequence[str], state: EditorState
    ) -> tuple[Target, ...]:
        """Return the targets, each with the masks that a person drew of it as prompts.

        Only a draft or an annotation has such masks. A region whose id does not begin with one of region_ids belongs to
        the first target of its label, or to the only target. See `Control`.
        """
        regions = self.shown_regions(state) if state.saved else []
        out = list(targets)
        for k, target in enumerate(targets):
            own = [region for region in regions if self._belongs(region, k, targets, region_ids)]
            edited = {r["item_index"] for r in own if self.is_user_edited(r) and not state.is_predicted(r)}
            prompts = []
            for frame in sorted(edited):
                parts = [self.read_mask(region) for region in own if region["item_index"] == frame]
                if len({part.shape for part in parts}) > 1:
                    raise MaskError(f"picture {frame}: the parts of {target.label!r} differ in size")
                mask = np.logical_or.reduce(parts)
                if mask.any():
                    prompts.append(FramePrompt(frame, mask=encode(np.asarray(mask, np.bool_))))
            out[k] = replace(target, prompts=(*target.prompts, *prompts))
        return tuple(out)

    def _masks_in(self, result: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        for region in result:
            if (
                region.get("type") == self.tag
                and region.get("from_name") == self.name
                and isinstance(region.get("item_index"), int)
                and region["item_index"] >= 0
                and isinstance(region.get("value"), Mapping)
            ):
                yield {**region, "labels": self._labels_of(result, region)}

    def _labels_of(self, result: Sequence[Mapping[str, Any]], region: Mapping[str, Any]) -> list[str]:
        """Return the region's own labels, or those of the entry of the same id that carries them."""
        same = [r for r in result if r.get("id") == region.get("id")]
        values = [r["value"] for r in (region, *same) if isinstance(r.get("value"), Mapping)]
        lists = [value.get(key) for value in values for key in (self.tag, "labels")]
        return [label for labels in lists if isinstance(labels, list) for label in labels if isinstance(label, str)]

    @staticmethod
    def _belongs(region: Mapping[str, Any], k: int, targets: Sequence[Target], region_ids: Sequence[str]) -> bool:
        """Return whether a region shows target number k."""
        matches = [i for i, region_id in enumerate(region_ids) if str(region.get("id")).startswith(f"{region_id}-")]
        if not matches:
            matches = [i for i, target in enumerate(targets) if target.label in region["labels"]]
        if not matches and len(targets) == 1 and not region["labels"]:
            matches = [0]
        return matches[:1] == [k]
