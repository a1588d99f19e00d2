"""Checks of the arguments of `refam.load`: an error names the argument, what it was and what would be right."""

from __future__ import annotations

import os
from collections.abc import Collection

from refam.backbones.blocks import parse_blocks
from refam.backbones.weights import BackboneError
from refam.pipeline.types import PromptError
from refam.reading import Reading
from refam.text.magnets import Magnets


def to_reading(reading: object) -> Reading:
    """Return the reading that an argument means, an instance or its text; PromptError if it means none."""
    try:
        if isinstance(reading, str):
            return Reading.parse(reading)
    except ValueError as error:
        raise PromptError(f"reading: {error}") from error
    if isinstance(reading, Reading):
        return reading
    raise PromptError(f"reading must be options such as 'contrast=0.5 heads=peak', got {reading!r}")


def require_blocks(blocks: object) -> None:
    """Raise PromptError unless `parse_blocks` reads these."""
    if blocks is None:
        return
    if not isinstance(blocks, str):
        raise PromptError(f"blocks must be text such as '14-17' or 'all', got {blocks!r}")
    try:
        parse_blocks(blocks)
    except BackboneError as error:
        raise PromptError(str(error)) from error


def to_magnets(magnets: object) -> Magnets:
    """Return the magnets that an argument means, an instance, words or None; PromptError if it means none."""
    try:
        if isinstance(magnets, str):
            return Magnets.parse(magnets)
    except ValueError as error:
        raise PromptError(f"magnets: {error}") from error
    if magnets is None or isinstance(magnets, Magnets):
        return magnets or Magnets()
    raise PromptError(f"magnets must be words with spaces between them, such as 'with to . pink', got {magnets!r}")


def require_choice(name: str, value: str, choices: Collection[str]) -> None:
    """Raise PromptError unless the value of an argument is one of the choices."""
    if value not in choices:
        *others, last = choices
        raise PromptError(f"{name} must be {', '.join(others)} or {last}, got {value!r}")


def is_offline_by_environment() -> bool:
    """Return whether the variable REFAM_OFFLINE says that nothing is fetched."""
    return os.environ.get("REFAM_OFFLINE", "").lower() in {"1", "true", "t", "yes", "y", "on"}
