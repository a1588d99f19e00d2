"""Expressions that name several objects: "the red dog and the blue cat". One expression is one object."""

from __future__ import annotations

from collections.abc import Sequence

from refam.text.lexicon import DETERMINERS, NUMBERS, word_set

_AND = frozenset({"and", "plus"})
_OF_THE_FIRST = word_set("with without in on of wearing holding carrying riding having has whose")
_BEGINS_OBJECT = DETERMINERS | NUMBERS.keys() | {"one", "another"}
_NOTE = (
    "Several things are named, and one object is looked for: give each an expression, or part them by ';' in a task."
)


def describe_several(words: Sequence[str], looked_for: Sequence[bool]) -> str:
    """Return a sentence for people if "and" and a determiner stand between two things that are looked for, else "".

    Args:
        words: The words of an expression, in lower case.
        looked_for: For each of them whether it is looked for.
    """
    for i, word in enumerate(words[:-1]):
        if word in _OF_THE_FIRST:  # what follows may belong to it: "the man in a red shirt and a blue hat"
            return ""
        if word in _AND and words[i + 1] in _BEGINS_OBJECT and any(looked_for[:i]) and any(looked_for[i + 2 :]):
            return _NOTE
    return ""
