"""JSON that must be of a given type, or one short sentence that says what is wrong with it."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError

T = TypeVar("T")
STRICT = ConfigDict(strict=True, allow_inf_nan=False, extra="forbid")
"""For the `__pydantic_config__` of a dataclass or TypedDict: nothing is converted, added or infinite."""
LENIENT = ConfigDict(strict=True, allow_inf_nan=False, extra="ignore")
"""The same, but what it has besides its fields is left out."""
_MOST_SHOWN = 40  # characters of a wrong value


class JsonError(ValueError):
    """JSON is broken or of another type; the text says where and why, and the caller names the file."""


def parse_json(text: str | bytes, kind: type[T]) -> T:
    """Parse JSON into a type.

    Args:
        text: The JSON; bytes must be UTF-8.
        kind: What it must be, as pydantic reads it: a dataclass, a TypedDict, `dict[str, float]`.

    Raises:
        JsonError: If it is broken, nested too deeply, or of another type.
    """
    try:
        if isinstance(text, bytes):
            text.decode("utf-8")
        return cast(T, _adapter(cast(Hashable, kind)).validate_json(text, strict=True))
    except ValidationError as error:
        raise JsonError(_describe(error)) from error
    except UnicodeDecodeError as error:
        raise JsonError("not UTF-8 text") from error


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _describe(error: ValidationError) -> str:
    """The first of the errors: where, what, and the value."""
    first = error.errors(include_url=False)[0]
    if first["type"] == "string_unicode":
        return "not UTF-8 text"
    place = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{place}: unknown field"
    if first["type"] in ("json_invalid", "missing", "value_error"):
        return f"{place}: {message}" if place else message
    shown = repr(first["input"])
    shown = shown if len(shown) <= _MOST_SHOWN else f"{shown[:_MOST_SHOWN]}..."
    return f"{place + ': ' if place else ''}{message}, not {shown}"
