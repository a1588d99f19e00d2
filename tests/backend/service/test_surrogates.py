"""Lone surrogates in decoded JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backend.service.surrogates import replace_surrogates


@pytest.mark.parametrize(
    ("document", "replaced"),
    [
        ('"\\ud800"', "\ufffd"),
        ('"a\\udfffb"', "a\ufffdb"),
        ('"\\ud83d\\ude00"', "\U0001f600"),
        ('{"\\ud800": [1, {"x": "\\udc00"}], "b": null}', {"\ufffd": [1, {"x": "\ufffd"}], "b": None}),
        ("[5, true, 1.5]", [5, True, 1.5]),
    ],
)
def test_lone_surrogates_are_replaced_at_any_depth(document: str, replaced: Any) -> None:
    assert replace_surrogates(json.loads(document)) == replaced


def test_the_depth_of_a_document_does_not_matter() -> None:
    inner: list[Any] = ["\ud800"]
    deep: Any = inner
    for _ in range(20_000):
        deep = [deep]
    replace_surrogates(deep)
    assert inner == ["\ufffd"]
