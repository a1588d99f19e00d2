"""Expressions in words that a model has: what was replaced, and how that is said of the words that guide the search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import regex

from refam.text.abbreviations import write_out_abbreviations
from refam.text.coordination import skip_opening
from refam.text.expression import Expression, parse_expression, require_few_words, require_text
from refam.text.noun_phrase import IgnoredWords
from refam.text.quantity import read_quantity
from refam.text.tokens import TokenRole
from refam.text.typed_text import clean_text


@dataclass(frozen=True)
class Rewording:
    """An expression in a model's words.

    Attributes:
        text: The expression with some of its words replaced.
        read_as: What was written, and what it is read as. Plurals are replaced without a word.
        loose: Nouns in the text, each with what the model takes for one: it may find any person for "man".
        torn: Words in the text that the model knows only within another noun: "light" of "traffic light".
    """

    text: str
    read_as: tuple[tuple[str, str], ...] = ()
    loose: tuple[tuple[str, str], ...] = ()
    torn: tuple[str, ...] = ()


_GRAY = regex.compile(r"\b(gr)a(y(?:ish|er|est)?)\b", regex.IGNORECASE)
Reword = Callable[[str], Rewording]


def parse_reworded(expression: str, reword: Reword, tokenizer: Any, **how: Any) -> Expression:
    """Parse an expression in words that a model has; the result has the text and the quantity that the person wrote.

    Its note says what was read as what, of the words that guide the search: what is said of other things is not looked
    for, so that nothing is said of their words.

    Args:
        expression: What the person wrote.
        reword: Replaces words that the model lacks.
        tokenizer: See `parse_expression`.
        **how: The other arguments of `parse_expression`.

    Raises:
        ExpressionError: If it cannot be grounded.
    """
    require_text(expression)
    typed = clean_text(expression)
    require_few_words(typed, how["max_tokens"])
    parsed = _parse(typed, reword, tokenizer, **how)
    opening, rest = skip_opening(typed)
    if parsed.unknown_head is None or not opening:
        return parsed
    named = _parse(rest, reword, tokenizer, **how)
    ignored = IgnoredWords(opening, "the model does not know it, and what follows names a thing.")
    return replace(named, text=typed, ignored=(ignored, *named.ignored))


def _parse(typed: str, reword: Reword, tokenizer: Any, **how: Any) -> Expression:
    rewording = reword(_spell_grey(write_out_abbreviations(typed), tokenizer))
    quantity = read_quantity(typed)  # of what was written: plurals are replaced by singulars
    parsed = parse_expression(rewording.text, tokenizer, quantity=quantity, torn=rewording.torn, **how)
    used = {parsed.tokens[i].word for i in parsed.positions(TokenRole.CONTENT, TokenRole.HEAD)}
    read_as = tuple((word, noun) for word, noun in rewording.read_as if used.intersection(noun.split()))
    said = [f'"{word}" is read as "{noun}"' for word, noun in read_as]
    notes = [f"The model has a smaller vocabulary: {', '.join(said)}."] if said else []
    notes += [
        f'The model hardly tells "{noun}" from other words for a {kind}, so it may find any {kind}.'
        for noun, kind in rewording.loose
        if noun in used
    ]
    return replace(parsed, text=typed, note=" ".join(filter(None, (*notes, parsed.note))), read_as=read_as)


def _spell_grey(text: str, tokenizer: Any) -> str:
    """Write "grey" for "gray" if only that is a word of the model."""
    if _GRAY.search(text) is None:
        return text
    vocabulary = tokenizer.get_vocab()
    has_gray, has_grey = ("▁gray" in vocabulary, "▁grey" in vocabulary)
    return _GRAY.sub(r"\1e\2", text) if has_grey and not has_gray else text
