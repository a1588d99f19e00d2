"""The words of a text, with the places of their characters."""

from __future__ import annotations

from dataclasses import dataclass

import regex

MINUS_SIGNS = "-\N{MINUS SIGN}"
# A negative number; a number with its decimals; a word with the marks of its letters ("é" in two characters, vowels of
# Hindi); else one visible character (an emoji).
_WORD = regex.compile(
    rf"(?<!\S)[{MINUS_SIGNS}]\d+(?:[.,]\d+)*(?!\w)"
    r"|\d+(?:[.,]\d+)+(?!\w)|\w[\w\p{M}\u200c\u200d]*(?:['’\-][\w\p{M}]+)*|(?=\S)\X"
)


@dataclass(frozen=True)
class Word:
    """One word of a prompt, lower case; start and end are its characters."""

    text: str
    start: int
    end: int


def split_words(text: str) -> list[Word]:
    """Split a text into words; punctuation is words of its own, hyphens and apostrophes inside a word belong to it."""
    return [Word(m.group().lower(), m.start(), m.end()) for m in _WORD.finditer(text)]


def normalize_words(text: str) -> str:
    """Return words without punctuation and case, to compare them."""
    return " ".join(regex.findall(r"\w+", text.casefold()))
