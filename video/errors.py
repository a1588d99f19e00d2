"""The base of every error whose text is written for people, and bad items that cost only themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """An input or a state that a person can correct. The text names it, what is wrong, and what would be right.

    Code that shows errors (the command line, a prediction, a job) shows the text of a `UserError` as it is, and treats
    every other error as a fault of the program.
    """


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
