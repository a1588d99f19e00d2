"""Negations of what is looked for: what is not there cannot be found."""

from __future__ import annotations

from collections.abc import Sequence

_NEGATIONS = frozenset({"no", "not", "never", "neither", "none", "except", "without", "excluding"})


def find_negation(words: Sequence[str], looked_for: Sequence[bool]) -> int | None:
    """Find the word that negates what is looked for: "no dog", "not the dog", "with no hat"; "no. 7" is a number.

    Args:
        words: Words of an expression in lower case, punctuation as words of its own.
        looked_for: Whether each is.

    Returns:
        Its index; None without one.
    """
    wanted = [i for i, is_wanted in enumerate(looked_for) if is_wanted and words[i] not in _NEGATIONS]
    for i, word in enumerate(words):
        comes_first = word in _NEGATIONS and i < min(wanted, default=len(words))
        is_before = word == "no" and (i + 1 in wanted or i + 2 in wanted)
        if (comes_first or is_before) and words[i + 1 : i + 2] != ["."]:
            return i
    return None
