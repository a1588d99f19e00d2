"""Expressions that name several objects: "the red dog and the blue cat", "the man, the dog". One expression is one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import regex

from refam.text.lexicon import (
    ADJECTIVES,
    ADVERBS,
    ALSO_NOUNS,
    DETERMINERS,
    GENERIC_NOUNS,
    NOUNS_IN_ING_AND_ED,
    NUMBERS,
    word_set,
)
from refam.text.noun_phrase import parse_noun_phrase
from refam.text.spatial import SIZE_WORDS, find_spatial_cues
from refam.text.words import split_words

_AND = frozenset({"and", "plus"})
_OF_THE_FIRST = word_set("with without in on of wearing holding carrying riding having has whose")
_BEGINS_OBJECT = DETERMINERS | NUMBERS.keys() | {"one", "another"}
_DESCRIBES = (ADJECTIVES - ALSO_NOUNS) | ADVERBS | GENERIC_NOUNS | SIZE_WORDS
_SIGNS = frozenset({",", ";", "/"})
_NOTE = (
    "Several things are named, and one object is looked for: give each an expression of its own, in a task with ';' "
    "between them."
)
_OPENING = regex.compile(r"(?P<opening>[^,;]+?)\s*(?:[,;]|\s[-–—](?=\s))\s*(?P<rest>\S.*)")
_MOST_OPENING = 3  # words


def describe_several(words: Sequence[str], looked_for: Sequence[bool], *, head: int | None = None) -> str:
    """Return a sentence for people if "and" or a comma stands between two things that are looked for, else "".

    Args:
        words: The words of an expression, in lower case; a comma is one.
        looked_for: For each of them whether it is looked for.
        head: Which of them is the head noun; None if there is none.
    """
    return _NOTE if _find_separators(words, looked_for, head) else ""


def split_several(text: str) -> list[str]:
    """Split an expression into the things that it names; one part where it names one.

    Args:
        text: The expression with single spaces, as a person typed it.

    Example:
        >>> split_several("the man in red, the dog and the cat")
        ['the man in red', 'the dog', 'the cat']
    """
    spans = split_words(text)
    words = [word.text for word in spans]
    phrase = parse_noun_phrase(words, find_spatial_cues(words))
    if phrase is None:
        return [text]
    looked_for = [i in phrase.kept and i not in phrase.fillers for i in range(len(words))]
    starts, ends = [0], []
    for i in _find_separators(words, looked_for, phrase.head):
        follows_sign = i > 0 and words[i - 1] in _SIGNS  # ", and"
        ends.append(spans[i - follows_sign].start)
        starts.append(spans[i + 1 + (words[i] in _SIGNS and words[i + 1] in _AND)].start)
    return [text[start:end].strip() for start, end in zip(starts, [*ends, len(text)], strict=True)]


def skip_opening(text: str) -> tuple[str, str]:
    """Split an expression where a few words without a determiner stand before a comma and a thing after it.

    Args:
        text: The expression: "Paris, the red car".

    Returns:
        What stands before, and what is named after it: "Paris", "the red car"; "" and the text where that is not so.
    """
    match = _OPENING.fullmatch(text)
    if match is None:
        return "", text
    opening, rest = ([word.text for word in split_words(part)] for part in (match["opening"], match["rest"]))
    if len(opening) > _MOST_OPENING or not _BEGINS_OBJECT.isdisjoint(opening) or rest[0] not in _BEGINS_OBJECT:
        return "", text
    return match["opening"], match["rest"]


def _find_separators(words: Sequence[str], looked_for: Sequence[bool], head: int | None) -> list[int]:
    """Find the words that stand between two things that are looked for: "and", a comma, a semicolon.

    After "and" a thing begins with a determiner: "the black and white dog" is one. After a comma it need not, but is
    a noun, and the head noun stands before it: "the big, red car" and "the man, on the left" are one. After "with" and
    the like what follows may belong to the first: "the man in a red shirt and a blue hat"; then it begins with "the".
    """
    found: list[int] = []
    may_belong = False
    for i, word in enumerate(words[:-1]):
        following = i + 1 + (word in _SIGNS and words[i + 1] in _AND)
        if word in _OF_THE_FIRST:
            may_belong = True
        elif word in _AND and not (found and found[-1] == i - 1):
            begins = words[i + 1] in _BEGINS_OBJECT and any(looked_for[:i]) and any(looked_for[i + 2 :])
            found += [i] if begins and not may_belong else []
        elif word in _SIGNS and head is not None and head < i and following < len(words):
            if may_belong and words[following] != "the":
                continue
            if _begins_with_thing(words[following:], looked_for[following:]):
                found.append(i)
                may_belong = False
    return found


def _begins_with_thing(words: Sequence[str], looked_for: Sequence[bool]) -> bool:
    """Whether these words begin with a noun that is looked for, after its determiners and adjectives."""
    before = list(itertools.takewhile(lambda word: word in _BEGINS_OBJECT or word in _DESCRIBES, words))
    if len(before) == len(words):
        return False
    noun = words[len(before)]
    is_participle = noun.endswith(("ing", "ed")) and noun not in NOUNS_IN_ING_AND_ED
    return looked_for[len(before)] and not is_participle
