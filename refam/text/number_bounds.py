"""Words that bound a number: "at least two", "more than two", "up to three", "two or more", "one dog or two"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from refam.text.lexicon import (
    APPEARANCE_WORDS,
    DETERMINERS,
    NUMBERS,
    RELATION_WORDS,
    RELATIVE_PRONOUNS,
    word_at,
)
from refam.text.words import MINUS_SIGNS

_COUNTS = {**NUMBERS, "zero": 0, "one": 1, "both": 2, "couple": 2, "dozen": 12}


@dataclass(frozen=True)
class NumberBound:
    """Words that bound a number.

    Attributes:
        words: Their indices, without the number's own; in "two to four" also that of the lower number.
        number: Index of the number; of two numbers that of the one which may not be exceeded.
        is_least: Whether there may be more.
        is_most: Whether there may be fewer. If neither is so, the number is what is meant ("exactly two").
        shift: What to add to the number: 1 for "more than two", which are three or more.
        low: The least number, where two are said: 2 in "two to four", and in "at least two but no more than four".
    """

    words: tuple[int, ...]
    number: int
    is_least: bool = False
    is_most: bool = False
    shift: int = 0
    low: int | None = None

    @property
    def end(self) -> int:
        """Index of the word behind the bound and its number."""
        return max(self.number, *self.words) + 1


_LEAST, _MORE, _MOST, _FEWER, _EXACT = (True, False, 0), (True, False, 1), (False, True, 0), (False, True, -1), ()
_Meaning = tuple[bool, bool, int] | tuple[()]


def _phrases(*meanings: tuple[_Meaning, Sequence[str]]) -> dict[tuple[str, ...], _Meaning]:
    """Return what phrases mean, by their words, longer phrases first."""
    found = {tuple(text.split()): meaning for meaning, texts in meanings for text in texts}
    return dict(sorted(found.items(), key=lambda item: -len(item[0])))


_BEFORE = _phrases(
    (_LEAST, ("at least", "at the least", "at minimum", "a minimum of", "minimum of", "no fewer than", "no less than")),
    (_LEAST, ("not fewer than", "not less than")),
    (_MORE, ("more than", "greater than")),
    (_MOST, ("at most", "at the most", "at maximum", "a maximum of", "maximum of", "up to", "no more than")),
    (_MOST, ("not more than", "as many as")),
    (_FEWER, ("fewer than", "less than")),
    (_EXACT, ("exactly", "precisely")),
)
_LIKE_PLACES = _phrases((_MORE, ("over", "above")), (_FEWER, ("under", "below")))
# After a noun these words say where a thing is ("the cat around two dogs") or are names, and the signs are no bounds.
_BEFORE_AT_THE_START = _LIKE_PLACES | _phrases(
    (_EXACT, ("about", "around", "roughly", "approximately")),
    (_LEAST, ("minimum", "min", "min .", "> =", "≥")),
    (_MOST, ("maximum", "max", "max .", "< =", "≤")),
    (_MORE, (">",)),
    (_FEWER, ("<",)),
)
_AFTER = _phrases(
    (_LEAST, ("or more", "and more", "or above", "and above", "and up", "at least", "at the least", "at minimum")),
    (_LEAST, ("minimum", "min", "+")),
    (_MOST, ("or fewer", "or less", "or below", "at most", "at the most", "at maximum", "maximum", "max", "tops")),
)
_FARTHEST = 4  # words between a number and a bound behind its noun: "two big black dogs or more"
_BEHIND_NOUN = RELATION_WORDS | APPEARANCE_WORDS | RELATIVE_PRONOUNS | {"in"}
_BEFORE_COUNTS = DETERMINERS | {"all", "only", "just"}


def find_number_bounds(words: Sequence[str], first: int = 0) -> tuple[NumberBound, ...]:
    """Find the words of an expression that bound a number.

    Args:
        words: Words of the expression, lower case, punctuation as words of its own.
        first: Index of the first word that is no instruction.

    Returns:
        What was found, in the order of the words.
    """
    opening = first
    while word_at(words, opening) in _BEFORE_COUNTS and read_number_bound(words, opening) is None:
        opening += 1
    found: list[NumberBound] = []
    at = first
    while at < len(words):
        bound = read_opening_bound(words, at) if at == opening else read_number_bound(words, at)
        bound = bound or _read_after(words, at, first) or _read_around_noun(words, at, first)
        if bound is not None:
            found.append(bound)
        at = max(at + 1, bound.end if bound else 0)
    return tuple(found)


def read_opening_bound(words: Sequence[str], at: int) -> NumberBound | None:
    """Return the bound with which an expression begins, at an index, with its number behind it; None if none does.

    There "over three cars" are more than three, and "between two and four dogs" is no place.
    """
    opener, links = {"between": (1, ("and",)), "from": (1, ("to",))}.get(word_at(words, at), (0, ()))
    bound = _read_range(words, at, opener, links) if opener else _read_phrase(words, at, _BEFORE_AT_THE_START)
    return _join(words, bound) if bound else read_number_bound(words, at)


def read_number_bound(words: Sequence[str], at: int) -> NumberBound | None:
    """Return the bound that begins at an index and has its number behind it; None if none does."""
    bound = _read_phrase(words, at, _BEFORE) or _read_range(words, at, 0, ("to", "or", ",", "-", "–"))
    return _join(words, bound) if bound else None


def _read_phrase(
    words: Sequence[str], at: int, phrases: dict[tuple[str, ...], tuple[bool, bool, int] | tuple[()]]
) -> NumberBound | None:
    for phrase, meaning in phrases.items():
        number = at + len(phrase)
        if tuple(words[at:number]) == phrase:
            number += word_at(words, number) in ("a", "the")  # "at least a dozen"
            if _is_number(words, number):
                return NumberBound(tuple(range(at, at + len(phrase))), number, *meaning)
    return None


def _read_range(words: Sequence[str], at: int, opener: int, links: Sequence[str]) -> NumberBound | None:
    """ "two to four dogs", "one, two or three dogs"; with one word before them "between two and four dogs"."""
    numbers = [at + opener]
    while _is_number(words, numbers[-1]) and word_at(words, numbers[-1] + 1) in links:
        numbers.append(numbers[-1] + 2)
    numbers = [i for i in numbers if _is_number(words, i)]
    if len(numbers) < 2:
        return None
    values = {i: read_number(words[i]) or 0 for i in numbers}
    high = max(values, key=values.__getitem__)
    others = tuple(i for i in range(at, numbers[-1] + 1) if i != high)
    return NumberBound(others, high, low=min(values.values()))


def _join(words: Sequence[str], bound: NumberBound) -> NumberBound:
    """Join a bound with the opposite one behind it: "at least two and at most four"."""
    at = bound.end
    while word_at(words, at) in ("and", "but", ","):
        at += 1
    other = _read_phrase(words, at, _BEFORE) if at > bound.end else None
    if other is None or {bound.is_least, bound.is_most} != {True, False} or bound.is_least != other.is_most:
        return bound
    least, most = (bound, other) if bound.is_least else (other, bound)
    low = (read_number(words[least.number]) or 0) + least.shift
    among = tuple(i for i in range(bound.words[0], other.end) if i != most.number)
    return replace(most, words=among, is_most=False, low=low)


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


def _read_around_noun(words: Sequence[str], at: int, first: int) -> NumberBound | None:
    """ "one dog or two", "two big dogs or three", at its "or"; "a dog or two" as well."""
    after = word_at(words, at + 2)
    if word_at(words, at) != "or" or not _is_number(words, at + 1) or (after.isalpha() and after not in _BEHIND_NOUN):
        return None
    high = read_number(words[at + 1]) or 0
    for number in range(at - 2, max(first, at - _FARTHEST) - 1, -1):
        low = 1 if words[number] in ("a", "an") else read_number(words[number])
        if words[number] in RELATION_WORDS or not words[number].isalnum():
            return None  # the number counts something else
        if low is not None:
            return NumberBound((number, at), at + 1, low=low) if 0 < low < high else None
    return None


def describe_bound(words: Sequence[str], bound: NumberBound) -> str:
    """Return a sentence for people if a bound could also be read as a place, else ""."""
    if tuple(words[i] for i in bound.words) not in _LIKE_PLACES:
        return ""
    said, number = words[bound.words[0]], words[bound.number]
    return f'"{said} {number}" is read as "{"more" if bound.is_least else "fewer"} than {number}", not as a place.'


def read_number(word: str) -> int | None:
    """Return the number of a word that counts, of up to three digits, or of a minus and digits; None for others."""
    digits = word.lstrip(MINUS_SIGNS)
    if not digits.isdecimal():
        return _COUNTS.get(word)
    if digits != word:
        return -int(digits[:3])
    return int(digits) if len(digits) < 4 else None


def _is_number(words: Sequence[str], at: int) -> bool:
    return read_number(word_at(words, at)) is not None
