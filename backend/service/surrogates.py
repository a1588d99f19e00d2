"""Lone surrogates in decoded JSON, such as "\\ud800": no database, log or terminal takes them."""

from __future__ import annotations

from typing import Any

from refam.text.typed_text import replace_no_text


def replace_surrogates(decoded: Any) -> Any:
    """Replace lone surrogates in all texts of a decoded JSON document, keys included.

    Args:
        decoded: The document; its objects and lists are changed in place. However deep they are, the call stack is not.

    Returns:
        The document.
    """
    whole = [decoded]
    containers: list[list[Any] | dict[Any, Any]] = [whole]
    while containers:
        container = containers.pop()
        entries = list(container.items()) if isinstance(container, dict) else list(enumerate(container))
        for key, value in entries:
            if isinstance(value, list | dict):
                containers.append(value)
            elif isinstance(value, str):
                container[key] = replace_no_text(value)
            if isinstance(container, dict) and isinstance(key, str) and (text := replace_no_text(key)) != key:
                container[text] = container.pop(key)
    return whole[0]
