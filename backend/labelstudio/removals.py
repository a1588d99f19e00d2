"""`-words` in the text field removes the object that was found with them; `-` alone all that were found with words.

How a region is removed at all: see backend.labelstudio.empty_regions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.labelstudio.edits import region_words
from backend.labelstudio.empty_regions import Region, empty_region, removed_words
from backend.labelstudio.label_config import LabelConfig
from backend.labelstudio.mask_edits import is_user_edited, shown_in
from backend.labelstudio.request import existing_regions, normalize_words, split_expressions, submitted_text

_SIGN = "-"


@dataclass(frozen=True)
class Removal:
    """What was to be removed. regions: to answer with, emptied. rest: the context with the other words, if any.

    why_not: a sentence for people about what could not be removed, or "".
    """

    regions: tuple[Region, ...]
    rest: Mapping[str, Any] | None
    why_not: str = ""


def read_removal(task: Mapping[str, Any], config: LabelConfig, context: Mapping[str, Any]) -> Removal | None:
    """What the words that were just typed remove; None where they remove nothing.

    Raises RequestError for words that are too long.
    """
    found = submitted_text(context, config)
    if found is None:
        return None
    typed, said = found
    expressions = split_expressions(said)
    unwanted = [e.removeprefix(_SIGN).strip() for e in expressions if e.startswith(_SIGN)]
    if not unwanted:
        return None
    there = shown_in(task, config.masks) if config.masks else list(existing_regions(task, config))
    regions, stuck, missing = [], [], []
    for words in unwanted:
        hits = [region for region in there if _is_meant(region, words)]
        regions += [empty_region(region, words or str(_words(region))) for region in hits if not _sticks(region)]
        stuck += [region["item_index"] + 1 for region in hits if _sticks(region)]
        missing += [] if hits else [words]
    others = [e for e in expressions if not e.startswith(_SIGN)]
    rest = {**context, "result": [{**typed, "value": {"text": ["; ".join(others)]}}]} if others else None
    return Removal(tuple({r["id"]: r for r in regions}.values()), rest, _why(missing, stuck, there))


def _sticks(region: Mapping[str, Any]) -> bool:
    """Whether it holds strokes of the brush: the editor keeps them beside whatever takes the region's place."""
    return str(region.get("type")).startswith("brush") and is_user_edited(region)


def _is_meant(region: Mapping[str, Any], words: str) -> bool:
    found_with = _words(region)
    if not words:  # `-` alone
        return found_with is not None
    names = [found_with, *_labels(region)]
    return any(normalize_words(name) == normalize_words(words) for name in names if name)


def _words(region: Mapping[str, Any]) -> str | None:
    """What a region was found with, on video or on a picture, or what it was removed as."""
    if (removed := removed_words(region)) is not None:
        return removed
    if str(region.get("type")).startswith("video"):
        return region_words(region)
    meta = region.get("meta")
    text = meta.get("text") if isinstance(meta, Mapping) else None
    ours = str(region.get("id")).startswith("refam-")
    return str(text[0]) if ours and isinstance(text, list) and text else None


def _labels(region: Mapping[str, Any]) -> list[str]:
    own = region.get("labels")
    labels = own if own is not None else region["value"].get("labels")
    return [label for label in labels or [] if isinstance(label, str)]


def _why(missing: Sequence[str], stuck: Sequence[int], there: Sequence[Mapping[str, Any]]) -> str:
    """What could not be removed. stuck: pictures as the editor counts them, from 1."""
    said = []
    if missing:
        known = sorted({repr(words) for region in there if (words := _words(region)) and removed_words(region) is None})
        has = f"there are {', '.join(known)}" if known else "nothing was found with words"
        said.append(f"nothing to remove is called {', '.join(repr(m) for m in missing)}: {has}")
    if stuck:
        pictures = ", ".join(str(picture) for picture in sorted(set(stuck)))
        said.append(f"what was painted by hand stays on picture {pictures}: delete it in the list of regions")
    return "; ".join(said)
