"""Ids in files of COCO's manner, where they are numbers or texts, and which annotations are of one object.

Files that extend COCO to videos name an object differently: `track_id` (COCO-VID, TAO), `instance_id`, or `track_id`
among an annotation's `attributes` (CVAT, Datumaro).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from video.errors import Skipped, leave_out
from video.formats.base import FormatError, get_field

_OBJECT_FIELDS = ("track_id", "instance_id")


def read_id(item: Any, name: str, where: str) -> str:
    """Return an id of a JSON object as text, so that 7, 7.0 and "7" are the same.

    Args:
        item: The object.
        name: The member's name.
        where: What the error's text calls the object.

    Raises:
        FormatError: If the member is missing or is neither a whole number nor a text.
    """
    value = item.get(name) if isinstance(item, Mapping) else None
    if (text := _id_text(value)) is None:
        raise FormatError(f"{where} needs {name!r}, a whole number or a text, got {value!r:.80}")
    return text


def read_optional_id(item: Mapping[str, Any], name: str, where: str) -> str | None:
    """Return an id as `read_id` does, None where the member is missing or null."""
    return None if item.get(name) is None else read_id(item, name, where)


def read_object_id(annotation: Mapping[str, Any]) -> str | None:
    """Return which object of its video an annotation shows, None where it does not say.

    Null, an empty text and a number below 0, which trackers write for what they do not follow, name no object.
    """
    attributes = annotation.get("attributes")
    for source in (annotation, attributes if isinstance(attributes, Mapping) else {}):
        for name in _OBJECT_FIELDS:
            text = _id_text(source.get(name))
            if text is not None and not re.fullmatch(r"\s*(-\d+)?\s*", text):
                return f"{name} {text}"
    return None


def read_category_names(content: Any, path: Path, *, skipped: Skipped = None) -> dict[str, str]:
    """Return the label of each category id of a file in COCO's manner.

    Args:
        content: The file's JSON.
        path: The file, for errors.
        skipped: See `leave_out`.

    Raises:
        FormatError: If categories, or their ids or names, are missing or of another kind.
    """
    names: dict[str, str] = {}
    for category in get_field(content, "categories", list, str(path)):
        with leave_out(skipped):
            key = read_id(category, "id", f"{path}: a category")
            name = get_field(category, "name", str, f"{path}: a category")
            if names.setdefault(key, name) != name:
                raise FormatError(f"{path}: the category {key} is {names[key]!r} and again {name!r}; the first counts")
    return names


def read_category(annotation: Mapping[str, Any], names: Mapping[str, str], where: str) -> str:
    """Return the label of an annotation. names: of `read_category_names`.

    Raises:
        FormatError: If the file does not list its category.
    """
    category = annotation.get("category_id")
    label = names.get(_id_text(category) or "")
    if label is None:
        raise FormatError(f"{where} has the category {category!r}, which the file does not list")
    return label


def _id_text(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else None
    return str(value).strip()
