"""Regions that draw nothing: how a region is taken away where it cannot be deleted.

The editor takes no deletion from a backend: a region that an answer leaves out stays as it is. A region of the same id
replaces it, though, and one without keyframes, points, strokes or opaque pixels is drawn on no frame, stays so after
saving, and is exported as nothing (seen in Label Studio 1.23.2, for all four). So a removed region is emptied. It stays
in the list of regions, where its text says why, and where a person can delete it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from backend.labelstudio.controls import control_for_type
from backend.labelstudio.controls.timeline_labels import read_ranges
from backend.labelstudio.regions import Region

_REMOVED = "removed: -"  # begins the text of an emptied region
_KEPT = ("id", "from_name", "to_name", "type", "item_index", "original_width", "original_height", "image_rotation")


def empty_region(region: Mapping[str, Any], words: str) -> Region:
    """Return the same region with nothing to draw; its text says that these words were to be removed."""
    control = control_for_type(region["type"])
    if control is None:
        raise ValueError(f"regions of type {region['type']!r} cannot be emptied")
    kept = {name: region[name] for name in _KEPT if name in region}
    value = {**region["value"], **control.empty_value(region)}
    return cast(Region, {**kept, "origin": "prediction", "meta": {"text": [_REMOVED + words]}, "value": value})


def removed_words(region: Mapping[str, Any]) -> str | None:
    """Return the words by which a region was emptied, None for one that was not."""
    for text in _texts(region):
        if text.startswith(_REMOVED):
            return text.removeprefix(_REMOVED)
    return None


def is_empty(region: Mapping[str, Any]) -> bool:
    """Return whether a region draws nothing: no keyframe, no vertex, no time in sight, or no point of a polygon."""
    value = region.get("value")
    value = value if isinstance(value, Mapping) else {}
    sequence, ranges = value.get("sequence"), value.get("ranges")
    if isinstance(ranges, list):
        return not read_ranges(value)
    bare = isinstance(sequence, list) and all(isinstance(i, Mapping) and i.get("vertices") == [] for i in sequence)
    return bare or value.get("points") == []


def _texts(region: Mapping[str, Any]) -> Iterator[str]:
    meta = region.get("meta")
    texts = meta.get("text") if isinstance(meta, Mapping) else None
    yield from (text for text in (texts if isinstance(texts, list) else []) if isinstance(text, str))
