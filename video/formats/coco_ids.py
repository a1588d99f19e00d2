"""Ids in files of COCO's manner, where they are numbers or texts, and which annotations are of one object.

Files that extend COCO to videos name an object differently: `track_id` (COCO-VID, TAO), `instance_id`, `object_id`, or
one of these among an annotation's `attributes`, which are an object (Datumaro) or a list of names and values (CVAT).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from video.errors import Skipped, leave_out
from video.formats.base import FormatError, get_field
from video.formats.values import check_label

_OBJECT_FIELDS = ("track_id", "instance_id", "object_id")
_SHOWN_IDS = 5
_UNLISTED = "which the file does not list with a valid name"
_NO_OBJECT = re.compile(r"(-[0-9]+(\.0*)?|none|null|nan|n/a)?", re.IGNORECASE)
_NUMBER = re.compile(r"0*([0-9]+)(\.0*)?")


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

    Null, what programs write for it as a text, an empty text and a number below 0, which trackers write for what they
    do not follow, name no object. 7, "7", "007" and "7.0" are the same one.
    """
    for source in (annotation, _read_attributes(annotation.get("attributes"))):
        for name in _OBJECT_FIELDS:
            text = _id_text(source.get(name))
            if text is not None and not _NO_OBJECT.fullmatch(text):
                number = _NUMBER.fullmatch(text)
                return f"{name} {number[1] if number else text}"
    return None


def _read_attributes(attributes: Any) -> Mapping[str, Any]:
    """Return the attributes of an annotation by name; none where they are of another form."""
    if isinstance(attributes, list):
        listed = [a for a in attributes if isinstance(a, Mapping) and isinstance(a.get("name"), str)]
        return {attribute["name"]: attribute.get("value") for attribute in listed}
    return attributes if isinstance(attributes, Mapping) else {}


def require_listed(by_id: Mapping[str, Sequence[Any]], listed: Sequence[Any], member: str, path: Path) -> None:
    """Check that a file lists each image or video that its annotations name.

    Args:
        by_id: The annotations of each id.
        listed: The items of the file's list, also those that cannot be read.
        member: What names the item in an annotation: "image_id" or "video_id".
        path: The file, for the error.

    Raises:
        FormatError: If some are not listed. It tells how many annotations they have, and the first ids.
    """
    known = {_id_text(item.get("id")) for item in listed if isinstance(item, Mapping)}
    missing = [key for key in by_id if key not in known]
    if missing:
        count = sum(len(by_id[key]) for key in missing)
        more = f" and {len(missing) - _SHOWN_IDS} more" if len(missing) > _SHOWN_IDS else ""
        shown = ", ".join(f"{key!r:.40}" for key in missing[:_SHOWN_IDS])
        raise FormatError(
            f"{path}: {member!r} of {count} annotation(s) is not the 'id' of any of the file's {len(listed)} "
            f"{member.removesuffix('_id')}(s): {shown}{more}"
        )


def group_by_object(
    annotations: Sequence[tuple[int, Any]], where: str, *, is_video: bool
) -> tuple[dict[str, dict[int, Any]], list[str]]:
    """Return the annotations of each object by frame, and notes on what is left out or names no object.

    Where an id stands twice on one frame, it names an object of each category, as some files count.

    Args:
        annotations: (frame, annotation), with frames from 0 on.
        where: What the notes call the video.
        is_video: Whether objects are expected to have names, so that a note says how many have none.
    """
    names = [read_object_id(annotation) for _, annotation in annotations]
    counts = Counter((name, frame) for name, (frame, _) in zip(names, annotations, strict=True))
    ambiguous = {name for (name, _), count in counts.items() if count > 1}
    rows: dict[str, dict[int, Any]] = defaultdict(dict)
    notes = []
    if is_video and None in names:
        first = annotations[names.index(None)][1]
        said = next((f" ({name} is {first[name]!r:.40})" for name in _OBJECT_FIELDS if name in first), "")
        notes.append(
            f"{where}: {names.count(None)} annotations name no object by track_id, instance_id or object_id{said}: "
            "each is an object by itself"
        )
    for number, (name, (frame, annotation)) in enumerate(zip(names, annotations, strict=True)):
        if name is None:
            rows[f"annotation {annotation.get('id')} (number {number})"][frame] = annotation
            continue
        if name in ambiguous:
            name = f"{name} of category {annotation.get('category_id')}"
        if frame in rows[name]:
            notes.append(f"{where}: {name} is annotated twice on frame {frame}; the second one is left out")
        else:
            rows[name][frame] = annotation
    return rows, notes


class Categories:
    """The labels of a file's categories. Of each other one it is said once how many objects are left out for it.

    Args:
        names: The label of each id.
        skipped: See `leave_out`.
    """

    def __init__(self, names: Mapping[str, str], *, skipped: Skipped) -> None:
        self._names, self._skipped = names, skipped
        self._unlisted: dict[str, tuple[int, str]] = {}  # by category: where it is said, and of which object first
        self._counts: Counter[str] = Counter()

    def label_of(self, annotation: Mapping[str, Any], where: str) -> str | None:
        """Return the label of an annotation; None if its category cannot be used and objects may be left out.

        Args:
            annotation: The annotation.
            where: What the error's text calls it.

        Raises:
            FormatError: If it cannot, and nothing may be left out.
        """
        label = self._names.get(_id_text(annotation.get("category_id")) or "")
        if label is not None:
            return label
        category = f"{annotation.get('category_id')!r:.80}"
        if self._skipped is None:
            raise FormatError(f"{where} has the category {category}, {_UNLISTED}")
        if category not in self._unlisted:
            self._unlisted[category] = len(self._skipped), where
            self._skipped.append("")
        place, first = self._unlisted[category]
        others = f" and {self._counts[category]} more have" if self._counts[category] else " has"
        self._counts[category] += 1
        self._skipped[place] = f"{first}{others} the category {category}, {_UNLISTED}"
        return None


def read_categories(content: Any, path: Path, *, skipped: Skipped = None) -> Categories:
    """Read the labels of the categories of a file in COCO's manner.

    Args:
        content: The file's JSON.
        path: The file, for errors.
        skipped: See `leave_out`.

    Raises:
        FormatError: If categories, or their ids or names, are missing or of another kind, or a name can be no label.
    """
    names: dict[str, str] = {}
    for category in get_field(content, "categories", list, str(path)):
        with leave_out(skipped):
            key = read_id(category, "id", f"{path}: a category")
            name = check_label(get_field(category, "name", str, f"{path}: a category"), f"{path}: category {key}")
            if names.setdefault(key, name) != name:
                raise FormatError(f"{path}: the category {key} is {names[key]!r} and again {name!r}; the first counts")
    return Categories(names, skipped=skipped)


def _id_text(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else None
    return str(value).strip()
