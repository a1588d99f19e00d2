"""Which of several models is to look for an expression: the first that knows all that is said, or at least the noun."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Protocol

from refam.text.expression import Expression, ExpressionError, UnknownWordsError, require_known_head
from refam.text.lexicon import COLOURS
from refam.text.words import split_words


class ExpressionReader(Protocol):
    """Parses expressions as one model would."""

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""

    @property
    def nouns(self) -> Collection[str]:
        """The things that the model knows on photographs; empty if it knows drawn shapes alone."""

    def parse(self, expression: str) -> Expression:
        """Parse an expression. Raises ExpressionError if it cannot be grounded."""


def choose_model(readers: Mapping[str, ExpressionReader], expression: str) -> str:
    """Choose the model that is to look for an expression.

    A model that knows every word comes before one that knows the head noun alone; among those that are alike, the first
    one counts. A colour that stands for a thing ("the orange", "two oranges") is looked for by the model that has the
    thing.

    Args:
        readers: By the models' names, in order.
        expression: What to look for.

    Returns:
        A model's name.

    Raises:
        UnknownWordsError: If no model knows the head noun; the message says where those that are known are listed.
        ExpressionError: If it cannot be grounded for another reason.
    """
    knows_all: list[str] = []
    knows_head: list[str] = []
    errors: list[ExpressionError] = []
    for name, reader in readers.items():
        try:
            parsed = reader.parse(expression)
            require_known_head(parsed, reader.tokenizer)
        except ExpressionError as error:
            errors.append(error)
            continue
        if _colour_as_thing(expression, parsed) in reader.nouns:
            return name
        if not parsed.unchecked:
            knows_all.append(name)
        knows_head.append(name)
    if knows_all:
        return knows_all[0]
    if knows_head:
        return knows_head[0]
    unknown = [error for error in errors if isinstance(error, UnknownWordsError)]
    if len(unknown) < len(errors):
        raise next(error for error in errors if not isinstance(error, UnknownWordsError))
    raise UnknownWordsError(unknown[-1].reason, ["what `refam words` lists"])


def note_choice(readers: Mapping[str, ExpressionReader], name: str, parsed: Expression) -> Expression:
    """Say in the note of an expression without a noun that no photograph was meant, if that is how it is read.

    Args:
        readers: See `choose_model`.
        name: The model that was chosen.
        parsed: As that model parses the expression.
    """
    if readers[name].nouns or not parsed.lacks_noun or not any(reader.nouns for reader in readers.values()):
        return parsed
    note = (
        f"No thing is named, so it is looked for by {name}, which knows drawn shapes only: for a photograph add a noun."
    )
    return replace(parsed, note=" ".join(filter(None, (parsed.note, note))))


def _colour_as_thing(expression: str, parsed: Expression) -> str | None:
    """The colour that names a thing: "the orange", "oranges"; "the orange one" has that colour."""
    plurals = {word.text.removesuffix("s") for word in split_words(expression) if word.text.endswith("s")}
    things = plurals & COLOURS if len(parsed.content_words()) == 1 else set()
    return next(iter(things), parsed.bare_noun if parsed.bare_noun in COLOURS else None)
