"""The pipeline's errors. Imports nothing heavy, so that what can be refused at once is."""

from __future__ import annotations

from collections.abc import Sequence

from video.errors import UserError, shorten


class PipelineError(UserError):
    """No target could be found; the text says why."""


class PromptError(UserError):
    """A prompt or another argument cannot be meant; the text says what would be right."""


class NotFoundError(PipelineError):
    """None of the objects that were asked for is found in the video; the text says why, for each.

    Args:
        message: Why, for people.
        guess: Where the first of them may be after all: x and y as fractions of the frame, and the frame of the video,
            counted from 0; None where nothing points anywhere.
    """

    def __init__(self, message: str, *, guess: tuple[float, float, int] | None = None) -> None:
        super().__init__(message)
        self.guess = guess


class WordsError(PipelineError):
    """None of the targets can be looked for by its words.

    Args:
        errors: (words, why not), one for each target.
    """

    def __init__(self, errors: Sequence[tuple[str, UserError]]) -> None:
        self.errors = tuple(errors)
        super().__init__("; ".join(f"{shorten(words)}: {error}" for words, error in errors))
