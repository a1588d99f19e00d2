"""Regions that are to be drawn nowhere: what a person wants removed, and masks that a new answer has none for.

The editor takes no deletion from a backend: a region that an answer leaves out stays as it is. One of the same id
replaces it, though, and a region without keyframes, without points, strokes or opaque pixels is drawn on no frame,
comes back so after saving, and is exported as nothing (seen in Label Studio 1.23.2, for all four). It stays in the
list of regions, where its text says why and where a person can delete it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backend.labelstudio.label_config import OUTLINE_KINDS, LabelConfig, LabelConfigError, MaskControl
from backend.labelstudio.mask_edits import is_user_edited
from backend.labelstudio.mask_regions import labelled, shapes_of

Region = dict[str, Any]
_REMOVED = "removed: -"
_KEPT = ("id", "from_name", "to_name", "type", "item_index", "original_width", "original_height", "image_rotation")


@dataclass(frozen=True)
class ShownMask:
    """A mask of ours that the editor shows and nobody touched. picture: from 0. size: (width, height) in pixels."""

    region: str
    picture: int
    size: tuple[int, int]
    label: str


def shown_masks(
    regions: Sequence[Mapping[str, Any]], region_ids: Sequence[str], control: MaskControl
) -> tuple[ShownMask, ...]:
    """Those of the objects whose regions begin with one of these ids."""
    found = []
    for r in regions:
        size = (r.get("original_width"), r.get("original_height"))
        ours = not is_user_edited(r) and str(r.get("id")).startswith(tuple(f"{i}-" for i in region_ids))
        if ours and r["type"] == control.kind and all(isinstance(side, int) and side > 0 for side in size):
            label = next(iter(r.get("labels") or r["value"].get(control.kind) or []), "")
            found.append(ShownMask(str(r["id"]), r["item_index"], (int(size[0] or 0), int(size[1] or 0)), str(label)))
    return tuple(found)


def without_successor(shown: Sequence[ShownMask], answer: Sequence[Region], config: LabelConfig) -> list[Region]:
    """Empty regions for those that are shown now and have no place in the answer."""
    if config.masks is None:
        raise LabelConfigError("the label config has no tag that takes masks")
    there = {region["id"] for region in answer}
    regions: list[Region] = []
    for mask in shown:
        if mask.region in there:
            continue
        base = {
            "id": mask.region,
            "to_name": config.video,
            "origin": "prediction",
            "item_index": mask.picture,
            "original_width": mask.size[0],
            "original_height": mask.size[1],
            "image_rotation": 0,
            "meta": {"text": ["not seen on this picture"]},
        }
        shape = _empty_shape(config.masks.shape, mask.size)
        regions += labelled(base, shape, config.masks, mask.label, bool(config.labels))
    return regions


def empty_region(region: Mapping[str, Any], words: str) -> Region:
    """The same region, drawn nowhere; its text says that these words were to be removed."""
    value = dict(region["value"])
    if region["type"] == "videorectangle":
        value["sequence"] = []
    elif region["type"] in OUTLINE_KINDS:  # the editor tells an outline by its first keyframe's vertices
        value["sequence"] = [{"frame": 1, "enabled": False, "closed": True, "vertices": []}]
    else:
        shape = str(region["type"]).removesuffix("labels")
        value |= _empty_shape(shape, (int(region["original_width"]), int(region["original_height"])))
    kept = {name: region[name] for name in _KEPT if name in region}
    return {**kept, "origin": "prediction", "meta": {"text": [_REMOVED + words]}, "value": value}


def removed_words(region: Mapping[str, Any]) -> str | None:
    """What an emptied region was removed as; None for one that is not."""
    for text in _texts(region):
        if text.startswith(_REMOVED):
            return text.removeprefix(_REMOVED)
    return None


def is_empty(region: Mapping[str, Any]) -> bool:
    """Whether a region has nothing in it that could be drawn: no keyframe, no vertex, or no point of a polygon."""
    value = region.get("value")
    value = value if isinstance(value, Mapping) else {}
    sequence = value.get("sequence")
    bare = isinstance(sequence, list) and all(isinstance(i, Mapping) and i.get("vertices") == [] for i in sequence)
    return bare or value.get("points") == []


def _texts(region: Mapping[str, Any]) -> Iterator[str]:
    meta = region.get("meta")
    texts = meta.get("text") if isinstance(meta, Mapping) else None
    yield from (text for text in (texts if isinstance(texts, list) else []) if isinstance(text, str))


def _empty_shape(shape: str, size: tuple[int, int]) -> dict[str, Any]:
    if shape == "polygon":
        return {"points": [], "closed": True}
    return shapes_of(np.zeros(size[::-1], np.bool_), shape, keep_empty=True)[0]
