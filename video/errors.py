"""The base of every error whose text is written for people, and bad items that cost only themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

_LONGEST, _SHOWN = 300, 80  # characters
# A value in quotes, as repr() writes it, or one without white space, such as a path.
_LONG_VALUE = re.compile(
    rf"(?<!\w)(['\"])(?:(?!\1).){{{_LONGEST + 1},}}\1(?!\w)|[^\s'\"]{{{_LONGEST + 1},}}(?<![:;,.])", re.DOTALL
)


def shorten(value: str) -> str:
    """Return what somebody gave as a sentence may show it: of more than 300 characters the first 80 and an ellipsis."""
    return value if len(value) <= _LONGEST else f"{value[:_SHOWN]}…"


def shorten_values(sentence: str) -> str:
    """Return a sentence whose values, in quotes or without white space, are as `shorten` gives them."""
    return _LONG_VALUE.sub(lambda m: f"{m[1] or ''}{shorten(m[0].strip(m[1] or ''))}{m[1] or ''}", sentence)


class UserError(ValueError):
    """An input or a state that a person can correct. The text names it, what is wrong, and what would be right.

    Code that shows errors (the command line, a prediction, a job) shows the text of a `UserError` as it is, and treats
    every other error as a fault of the program.

    Args:
        text: The text; long values in it are shortened.
    """

    def __init__(self, text: str) -> None:
        super().__init__(shorten_values(text))


Skipped = list[str] | None
"""Collects why items were left out; None where the first bad item is an error."""


@contextmanager
def leave_out(skipped: Skipped) -> Iterator[None]:
    """Let a bad video, object or region cost only itself: note its error and go on behind the block.

    Args:
        skipped: Gets the error's text; if it is None, the error passes.
    """
    try:
        yield
    except UserError as error:
        if skipped is None:
            raise
        skipped.append(str(error))
