"""Checks of the arguments of `refam.load`: an error names the argument, what it was and what would be right."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import TypeVar

from refam.backbones.blocks import parse_blocks
from refam.backbones.weights import BackboneError
from refam.pipeline.types import PromptError
from refam.reading import Reading
from refam.text.magnets import Magnets

_Parsed = TypeVar("_Parsed", Reading, Magnets)


def to_reading(reading: object) -> Reading:
    """Return the reading that an argument means, an instance or its text; PromptError if it means none."""
    return _parse("reading", reading, Reading, "options such as 'contrast=0.5 heads=peak'")


def to_magnets(magnets: object) -> Magnets:
    """Return the magnets that an argument means, an instance, words or None; PromptError if it means none."""
    if magnets is None:
        return Magnets()
    return _parse("magnets", magnets, Magnets, "words with spaces between them, such as 'with to . pink'")


def _parse(name: str, value: object, kind: type[_Parsed], right: str) -> _Parsed:
    try:
        if isinstance(value, str):
            return kind.parse(value)
    except ValueError as error:
        raise PromptError(f"{name}: {error}") from error
    if isinstance(value, kind):
        return value
    raise PromptError(f"{name} must be {right}, got {value!r}")


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


def require_choice(name: str, value: str, choices: Collection[str]) -> None:
    """Raise PromptError unless the value of an argument is one of the choices."""
    if value not in choices:
        *others, last = choices
        raise PromptError(f"{name} must be {', '.join(others)} or {last}, got {value!r}")


def is_offline_by_environment() -> bool:
    """Return whether the variable REFAM_OFFLINE says that nothing is fetched."""
    return os.environ.get("REFAM_OFFLINE", "").lower() in {"1", "true", "t", "yes", "y", "on"}
