"""Expressions with a label before them: `Car: the red one on the left` is the words after the colon, called Car."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import regex

from refam.text.words import normalize_words
from video.errors import UserError

# A clock time, an address, a path and a sentence with a colon are no label.
_LABELLED = regex.compile(
    r"(?!(?:the|an?|this|that)\s)(?P<label>[^:,;@/\\]{1,60}?)\s*:(?!//)\s*(?P<words>\S.*)",
    regex.IGNORECASE | regex.DOTALL,
)
_NUMBERED = regex.compile(r"(.*?)\s*#\s*\d+")


class NoWordsError(UserError):
    """No words stand behind a colon."""


def split_label(text: str, known: Collection[str] = ()) -> tuple[str, str]:
    """Split an expression into the label before its colon and the words behind it.

    Args:
        text: What a person wrote.
        known: Labels that exist: any text before the first colon that is one of them is a label.

    Returns:
        The label as it was written, "" where there is none, and the words.

    Raises:
        NoWordsError: If no words stand behind the colon.

    Example:
        >>> split_label("Car: the red one"), split_label("the clock at 10:30")
        (('Car', 'the red one'), ('', 'the clock at 10:30'))
    """
    text = text.strip()
    if text.endswith(":"):
        raise NoWordsError(f"{text!r} has no words behind the colon: write what to find, as in 'Car: the red square'")
    before, _, after = (part.strip() for part in text.partition(":"))
    if after and find_label(before, known) is not None:
        return before, after
    match = _LABELLED.fullmatch(text)
    if match is None:
        return "", text
    label, words = match["label"].strip(), match["words"]
    is_time = label[-1:].isdigit() and words[0].isdigit() and "," not in words
    return ("", text) if is_time or not label else (label, words)


def remove_number(label: str) -> str:
    """Return a label without the number that tells two objects apart: "Car#2" is a Car."""
    return _NUMBERED.sub(r"\1", label)


def find_label(written: str, known: Iterable[str]) -> str | None:
    """Return the label that was meant, whatever its case and punctuation, and with a number behind it; None if none is.

    Args:
        written: What stands before a colon.
        known: Labels that exist.
    """
    by_words = {normalize_words(label): label for label in known}
    names = (normalize_words(name) for name in (written, remove_number(written)))
    return next((by_words[name] for name in names if name in by_words), None)
