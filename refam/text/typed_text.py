"""Text as it was typed: white space, invisible characters, and what is no text at all."""

from __future__ import annotations

from collections.abc import Sequence

import regex

# A soft hyphen, zero-width spaces and joiners of words, and the mark of byte order, as copied text has them. The
# joiners of emoji and of Indic letters stay.
_INVISIBLE = regex.compile("[\u00ad\u200b\u2060\ufeff]")
_NO_CHARACTERS = regex.compile(r"[\ud800-\udfff]")


def clean_text(text: str) -> str:
    """Return a text with single spaces, without characters that cannot be seen."""
    return " ".join(_INVISIBLE.sub("", text).split())


def part_signs(text: str, words: Sequence[tuple[int, int]]) -> str:
    """Return a text with spaces between words and the signs that touch them; signs that touch each other stay together.

    Args:
        text: The text.
        words: Start and end of each word and sign, in order.
    """
    parted, end = "", 0
    for start, stop in words:
        touches = 0 < start == end and text[start].isalnum() != text[start - 1].isalnum()
        parted += text[end:start] + (" " if touches else "") + text[start:stop]
        end = stop
    return parted


def is_text(text: str) -> bool:
    """Return whether a text is made of characters alone.

    Surrogates stand for bytes outside UTF-8, and so does the replacement character, which other programs put there.
    """
    return "\N{REPLACEMENT CHARACTER}" not in text and _NO_CHARACTERS.search(text) is None


def replace_no_text(text: str) -> str:
    """Return a text that can be printed and stored, with a replacement character for each surrogate."""
    return _NO_CHARACTERS.sub("\N{REPLACEMENT CHARACTER}", text)
