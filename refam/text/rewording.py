"""Expressions in words that a model has: what was replaced, and how that is said of the words that guide the search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from refam.text.expression import Expression, TokenRole


@dataclass(frozen=True)
class Rewording:
    """An expression in a model's words.

    Attributes:
        text: The expression with some of its words replaced.
        read_as: What was written, and what it is read as. Plurals are replaced without a word.
    """

    text: str
    read_as: tuple[tuple[str, str], ...] = ()


Reword = Callable[[str], Rewording]


def keep_words(expression: str) -> Rewording:
    """Return an expression as it is."""
    return Rewording(expression)


def restore_expression(parsed: Expression, written: str, rewording: Rewording) -> Expression:
    """Return a parsed rewording with what the person wrote as its text, and a note of what was read as what.

    What is said of other things is not looked for, so that nothing is said of its words.

    Args:
        parsed: The rewording, parsed.
        written: What the person wrote.
        rewording: What became of it.
    """
    used = {parsed.tokens[i].word for i in parsed.positions(TokenRole.CONTENT, TokenRole.HEAD)}
    said = [f'"{word}" is read as "{noun}"' for word, noun in rewording.read_as if used.intersection(noun.split())]
    note = f"The model has a smaller vocabulary: {', '.join(said)}." if said else ""
    return replace(parsed, text=" ".join(written.split()), note=" ".join(filter(None, (note, parsed.note))))
