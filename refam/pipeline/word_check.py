"""Refuse words that cannot be looked for, before any model is loaded and any video is opened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from refam.backbones.word_reader import open_word_reader
from refam.pipeline.errors import WordsError
from refam.text.magnets import Magnets
from video.errors import UserError

if TYPE_CHECKING:
    from refam.pipeline.types import Target


def check_words(
    expressions: Sequence[str],
    backbone: str,
    *,
    magnets: Magnets = Magnets(),  # noqa: B008 - frozen
    download: bool = False,
) -> None:
    """Check that at least one of some expressions can be looked for.

    Those beside it are left to the pipeline, whose results say why they were not looked for.

    Args:
        expressions: The words of each object that nothing but words describes.
        backbone: A preset, a pipeline directory or a hub id.
        magnets: Attention magnets to append.
        download: Whether the backbone may be fetched later.

    Raises:
        WordsError: If there are expressions, and none can be looked for.
    """
    errors = []
    for expression in expressions:
        try:
            reader = open_word_reader(backbone, download=download)
            if reader is not None:
                reader.parse(expression, magnets=magnets)
            return
        except UserError as error:  # ExpressionError or BackboneError
            errors.append((expression, error))
    if errors:
        raise WordsError(errors)


def check_targets(
    targets: Sequence[Target],
    backbone: str,
    *,
    magnets: Magnets = Magnets(),  # noqa: B008 - frozen
    download: bool = False,
) -> None:
    """Do `check_words` for targets, unless one of them has prompts and so can do without words.

    Raises:
        WordsError: If nothing can be looked for.
    """
    if not any(target.prompts for target in targets):
        words = [target.words or "" for target in targets]
        check_words(words, backbone, magnets=magnets, download=download)
