"""Expressions that name several objects: "the red dog and the blue cat", "the man, the dog". One expression is one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

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
from refam.text.spatial import SIZE_WORDS

_AND = frozenset({"and", "plus"})
_OF_THE_FIRST = word_set("with without in on of wearing holding carrying riding having has whose")
_BEGINS_OBJECT = DETERMINERS | NUMBERS.keys() | {"one", "another"}
_DESCRIBES = (ADJECTIVES - ALSO_NOUNS) | ADVERBS | GENERIC_NOUNS | SIZE_WORDS
_NOTE = (
    "Several things are named, and one object is looked for: give each an expression, or part them by ';' in a task."
)


def describe_several(words: Sequence[str], looked_for: Sequence[bool], *, head: int | None = None) -> str:
    """Return a sentence for people if "and" or a comma stands between two things that are looked for, else "".

    After "and" a thing begins with a determiner: "the black and white dog" is one. After a comma it need not, but is
    a noun, and the head noun stands before it: "the big, red car" and "the man, on the left" are one.

    Args:
        words: The words of an expression, in lower case; a comma is one.
        looked_for: For each of them whether it is looked for.
        head: Which of them is the head noun; None if there is none.
    """
    for i, word in enumerate(words[:-1]):
        if word in _OF_THE_FIRST:  # what follows may belong to it: "the man in a red shirt and a blue hat"
            return ""
        if word in _AND and words[i + 1] in _BEGINS_OBJECT and any(looked_for[:i]) and any(looked_for[i + 2 :]):
            return _NOTE
        if word == "," and head is not None and head < i and _begins_with_thing(words[i + 1 :], looked_for[i + 1 :]):
            return _NOTE
    return ""


def _begins_with_thing(words: Sequence[str], looked_for: Sequence[bool]) -> bool:
    """Whether these words begin with a noun that is looked for, after its determiners and adjectives."""
    before = list(itertools.takewhile(lambda word: word in _BEGINS_OBJECT or word in _DESCRIBES, words))
    if len(before) == len(words):
        return False
    noun = words[len(before)]
    is_participle = noun.endswith(("ing", "ed")) and noun not in NOUNS_IN_ING_AND_ED
    return looked_for[len(before)] and not is_participle
