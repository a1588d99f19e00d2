"""Which `<TextArea>` of a label config is for the words that name an object.

A project may have others: for comments, for what a region's text says, for the sound. What is typed into those is not
searched for, and no reason is written behind it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from backend.labelstudio.config_xml import attribute, is_true, split_names, tags_named, variable_name

WORD_NAMES = ("words", "prompt", "text", "expression", "query")
_OTHER_NAMES = ("comment", "note", "remark", "feedback", "reason", "transcript", "transcription", "ocr")


@dataclass(frozen=True)
class WordsTextArea:
    """The TextArea that words are typed into.

    Attributes:
        name: Its name, None if no TextArea of the label config is for words.
        field: Key of the task's data that it shows, or None.
        reason: Why it was chosen, or why none was: a clause for people, "" where there is no TextArea at all.
        others: The other TextAreas: the name of each, and a clause that says why it is not for words.
    """

    name: str | None = None
    field: str | None = None
    reason: str = ""
    others: tuple[tuple[str, str], ...] = ()


NO_TEXT_AREA = WordsTextArea()


def find_words_text_area(tags: Sequence[Element], media: str) -> WordsTextArea:
    """Return which TextArea is for words.

    It is one for the whole video or list of pictures, not for a region or a single picture. A name such as "comment"
    says that it is for something else, unless it shows a field such as `$prompt`. Where several remain, the one that
    shows such a field is taken, then the one with such a name, then the only one that shows any field of the task. If
    nothing tells them apart, none is taken.

    Args:
        tags: All tags of the label config.
        media: Name of the `<Video>` or `<Image>` that the objects are on.
    """
    others: list[tuple[str, str]] = []
    left: list[Element] = []
    for tag in tags_named(tags, "textarea"):
        if not attribute(tag, "name"):
            continue
        if (why_not := _why_not(tag, media)) is not None:
            others.append((_name(tag), why_not))
        else:
            left.append(tag)
    if not left:
        return WordsTextArea(others=tuple(others))
    signs = [_signs(tag) for tag in left]
    best = max(signs)
    if len(left) > 1 and not any(best[:-1]) and signs.count(best) > 1:
        names = ", ".join(f'"{_name(tag)}"' for tag in left)
        return WordsTextArea(reason=f"nothing says which TextArea is for words, of {names}", others=tuple(others))
    chosen = left.pop(signs.index(best))
    field = _field(chosen)
    if best[0] or best[2] or (left and not any(best[:-1])):
        reason = f'it shows the task\'s field "{field}"'
    elif any(best[:-1]):
        reason = "its name says so"
    else:
        reason = f'it is the only one for the whole of "{media}"'
    others += [(_name(tag), "one is enough") for tag in left]
    return WordsTextArea(_name(chosen), field, reason, tuple(others))


def _why_not(tag: Element, media: str) -> str | None:
    """Return why a TextArea cannot be for words, None if it can."""
    targets = split_names(attribute(tag, "toName"))
    if media not in targets:
        return f'it is on {", ".join(targets) or "nothing"}, not on "{media}"'
    for name, what in (("perRegion", "region"), ("perItem", "picture")):
        if is_true(tag, name):
            return f"it is for each {what} by itself"
    named_other = any(term.removesuffix("s") in _OTHER_NAMES for term in _terms(_name(tag)))
    if named_other and not _likeness(_field(tag)):
        return "its name says what else it is for"
    return None


def _signs(tag: Element) -> tuple[int, int, int, int, int]:
    """Return what says that a TextArea is for words, the clearest first; 0 for what does not.

    The field that it shows is called so; its name is so; a part of the field's name; a part of its name; any field.
    """
    field, name = _field(tag), _name(tag)
    whole = (_likeness(field, whole=True), _likeness(name, whole=True))
    return (*whole, _likeness(field), _likeness(name), int(field is not None))


def _likeness(name: str | None, *, whole: bool = False) -> int:
    """Return how much a name, or a part of it, is like "words": most for the first of `WORD_NAMES`, 0 for others."""
    found = {(name or "").casefold()} if whole else _terms(name or "")
    return max((len(WORD_NAMES) - i for i, word in enumerate(WORD_NAMES) if word in found), default=0)


def _terms(name: str) -> frozenset[str]:
    """Return the parts of a name in lower case: "searchQuery_2" has "search" and "query"."""
    return frozenset(part.casefold() for part in re.findall(r"[A-Z]?[^\W\d_A-Z]+|[A-Z]+(?![a-z])", name))


def _name(tag: Element) -> str:
    return attribute(tag, "name") or ""


def _field(tag: Element) -> str | None:
    return variable_name(attribute(tag, "value"))
