"""Which of several models is to look for an expression: the first that knows all that is said, or at least the noun."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from refam.text.expression import Expression, ExpressionError, UnknownWordsError, require_known_head


class ExpressionReader(Protocol):
    """Parses expressions as one model would."""

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""

    def parse(self, expression: str) -> Expression:
        """Parse an expression. Raises ExpressionError if it cannot be grounded."""


def choose_model(readers: Mapping[str, ExpressionReader], expression: str) -> str:
    """Choose the model that is to look for an expression.

    A model that knows every word comes before one that knows the head noun alone; among those that are alike, the first
    one counts.

    Args:
        readers: By the models' names, in order.
        expression: What to look for.

    Returns:
        A model's name.

    Raises:
        UnknownWordsError: If no model knows the head noun; the message says where those that are known are listed.
        ExpressionError: If it cannot be grounded for another reason.
    """
    knows_head: list[str] = []
    errors: list[ExpressionError] = []
    for name, reader in readers.items():
        try:
            parsed = reader.parse(expression)
            require_known_head(parsed, reader.tokenizer)
        except ExpressionError as error:
            errors.append(error)
            continue
        if not parsed.unchecked:
            return name
        knows_head.append(name)
    if knows_head:
        return knows_head[0]
    unknown = [error for error in errors if isinstance(error, UnknownWordsError)]
    if len(unknown) < len(errors):
        raise next(error for error in errors if not isinstance(error, UnknownWordsError))
    raise UnknownWordsError(unknown[-1].reason, ["what `refam words` lists"])
