"""Removing objects by words: `-words` in the text field removes what was found with them, `-` alone all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.labelstudio.controls.base import Control
from backend.labelstudio.editor_state import read_editor_state
from backend.labelstudio.empty_regions import empty_region, removed_words
from backend.labelstudio.label_config import LabelConfig
from backend.labelstudio.regions import Region, labels_in_value
from backend.labelstudio.request import split_expressions, submitted_text
from refam.text.words import normalize_words

_SIGN = "-"


@dataclass(frozen=True)
class Removal:
    """What a person wanted removed.

    Attributes:
        regions: The emptied regions to answer with.
        remaining_context: The context with the words that remove nothing, None without any.
        failure: A sentence for people about what could not be removed, "" if all could.
    """

    regions: tuple[Region, ...]
    remaining_context: Mapping[str, Any] | None
    failure: str = ""


def read_removal(task: Mapping[str, Any], config: LabelConfig, context: Mapping[str, Any]) -> Removal | None:
    """Return what the words that were just typed remove, None if they remove nothing.

    Args:
        task: The task with its drafts, annotations and predictions.
        config: The project's label config.
        context: The context of the interactive call.

    Raises:
        RequestError: If an expression is too long.
    """
    submitted = submitted_text(context, config)
    if submitted is None:
        return None
    text_region, text = submitted
    expressions = split_expressions(text)
    removed = [e.removeprefix(_SIGN).strip() for e in expressions if e.startswith(_SIGN)]
    if not removed:
        return None
    shown = config.shown_regions(read_editor_state(task, context))
    regions: list[Region] = []
    locked_pictures: list[int] = []
    missing: list[str] = []
    for words in removed:
        matches = [(control, region) for control, region in shown if _matches(region, words, control)]
        for control, region in matches:
            if control.is_locked(region):
                locked_pictures.append(region["item_index"] + 1)
            else:
                regions.append(empty_region(region, words or str(_words(region, control))))
        if not matches:
            missing.append(words)
    others = [e for e in expressions if not e.startswith(_SIGN)]
    remaining = {**context, "result": [{**text_region, "value": {"text": ["; ".join(others)]}}]} if others else None
    found_with = (_words(region, control) for control, region in shown if removed_words(region) is None)
    known = {repr(words) for words in found_with if words}
    by_id = {region["id"]: region for region in regions}
    return Removal(tuple(by_id.values()), remaining, _explain_failure(missing, locked_pictures, sorted(known)))


def _matches(region: Mapping[str, Any], words: str, control: Control) -> bool:
    """Return whether words name a region: those that it was found with, or its label. "" names all found with words."""
    found_with = _words(region, control)
    if not words:
        return found_with is not None
    names = [found_with, *_labels(region)]
    return any(normalize_words(name) == normalize_words(words) for name in names if name)


def _words(region: Mapping[str, Any], control: Control) -> str | None:
    """Return the words that a region was found with, or removed by."""
    removed = removed_words(region)
    return removed if removed is not None else control.read_words(region)


def _labels(region: Mapping[str, Any]) -> list[str]:
    own = region.get("labels")
    labels = own if isinstance(own, list) else labels_in_value(region["value"], str(region.get("type")))
    return [label for label in labels if isinstance(label, str)]


def _explain_failure(missing: Sequence[str], locked_pictures: Sequence[int], known: Sequence[str]) -> str:
    """Say what could not be removed. locked_pictures: 1-based. known: words that could have been removed, quoted."""
    sentences = []
    if missing:
        has = f"there are {', '.join(known)}" if known else "nothing was found with words"
        sentences.append(f"nothing to remove is called {', '.join(repr(m) for m in missing)}: {has}")
    if locked_pictures:
        pictures = ", ".join(str(picture) for picture in sorted(set(locked_pictures)))
        sentences.append(f"what was painted by hand stays on picture {pictures}: delete it in the list of regions")
    return "; ".join(sentences)
