"""Words that bound a number: "at least two", "more than two", "up to three", "two or more", "between two and four"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from refam.text.lexicon import NUMBERS, RELATION_WORDS, word_at

COUNTS = {**NUMBERS, "eleven": 11, "twelve": 12, "both": 2, "couple": 2, "dozen": 12}
"""The numbers of the words that count."""


@dataclass(frozen=True)
class NumberBound:
    """Words that bound a number.

    Attributes:
        words: Their indices, without the number's own.
        number: Index of the number.
        is_least: Whether there may be more.
        is_most: Whether there may be fewer. If neither is so, the number is what is meant ("exactly two").
        shift: What to add to the number: 1 for "more than two", which are three or more.
    """

    words: tuple[int, ...]
    number: int
    is_least: bool = False
    is_most: bool = False
    shift: int = 0


_LEAST, _MORE, _MOST, _FEWER, _EXACT = (True, False, 0), (True, False, 1), (False, True, 0), (False, True, -1), ()
_BEFORE: dict[tuple[str, ...], tuple[bool, bool, int] | tuple[()]] = {
    tuple(text.split()): meaning
    for meaning, texts in (
        (_LEAST, ("at least", "at minimum", "a minimum of", "no fewer than", "no less than")),
        (_LEAST, ("not fewer than", "not less than")),
        (_MORE, ("more than",)),
        (_MOST, ("at most", "at maximum", "a maximum of", "up to", "no more than", "not more than", "as many as")),
        (_FEWER, ("fewer than", "less than")),
        (_EXACT, ("exactly", "precisely")),
    )
    for text in texts
}
# After a noun these words say where a thing is: "the cat around two dogs".
_BEFORE_AT_THE_START = {("about",), ("around",), ("roughly",), ("approximately",)}
_AFTER = {
    tuple(text.split()): meaning
    for meaning, texts in (
        (_LEAST, ("or more", "at least", "at minimum", "+")),
        (_MOST, ("or fewer", "or less", "at most", "at maximum")),
    )
    for text in texts
}
_FARTHEST = 4  # words between a number and a bound behind its noun: "two big black dogs or more"


def find_number_bounds(words: Sequence[str], first: int = 0) -> tuple[NumberBound, ...]:
    """Find the words of an expression that bound a number.

    Args:
        words: Words of the expression, lower case, punctuation as words of its own.
        first: Index of the first word that is no instruction.

    Returns:
        What was found, in the order of the words.
    """
    found = []
    at = first
    while at < len(words):
        bound = read_number_bound(words, at) or _read_at_the_start(words, at, first) or _read_after(words, at, first)
        if bound is not None:
            found.append(bound)
        at = max((at, *(bound.words if bound else ()))) + 1
    return tuple(found)


def read_number_bound(words: Sequence[str], at: int) -> NumberBound | None:
    """Return the bound that begins at an index and has its number behind it; None if none does."""
    for phrase, meaning in _BEFORE.items():
        number = at + len(phrase)
        if tuple(words[at:number]) == phrase:
            number += word_at(words, number) in ("a", "the")  # "at least a dozen"
            if _is_number(words, number):
                return NumberBound(tuple(range(at, at + len(phrase))), number, *meaning)
    return None


def _read_at_the_start(words: Sequence[str], at: int, first: int) -> NumberBound | None:
    """ "about two dogs", "between two and four dogs", "from two to four dogs", "two to four dogs"."""
    if at != first:
        return None
    if (word_at(words, at),) in _BEFORE_AT_THE_START and _is_number(words, at + 1):
        return NumberBound((at,), at + 1)
    opener, link = {"between": (1, "and"), "from": (1, "to")}.get(word_at(words, at), (0, "to"))
    low = at + opener
    if _is_number(words, low) and word_at(words, low + 1) == link and _is_number(words, low + 2):
        return NumberBound((*range(at, low), low + 1), low + 2)
    return None


def _read_after(words: Sequence[str], at: int, first: int) -> NumberBound | None:
    """ "two or more dogs", "two dogs or more", "two dogs at least"."""
    phrase = next((phrase for phrase in _AFTER if tuple(words[at : at + len(phrase)]) == phrase), None)
    if phrase is None:
        return None
    for number in range(at - 1, max(first, at - 1 - _FARTHEST) - 1, -1):
        if words[number] in RELATION_WORDS or not words[number].isalnum():
            return None  # the number counts something else
        if _is_number(words, number):
            return NumberBound(tuple(range(at, at + len(phrase))), number, *_AFTER[phrase])
    return None


def read_number(word: str) -> int | None:
    """Return the number of a word that counts, or of up to three digits; None for others, and for "one" (a thing)."""
    return COUNTS.get(word, int(word) if word.isdecimal() and len(word) < 4 else None)


def _is_number(words: Sequence[str], at: int) -> bool:
    word = word_at(words, at)
    return word == "one" or read_number(word) is not None
