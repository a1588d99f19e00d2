"""JSON of a given type; what is wrong is said in one short sentence with its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
from pydantic import ConfigDict

from video.checked_json import LENIENT, STRICT, JsonError, parse_json


@dataclass(frozen=True)
class Point:
    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    xy: tuple[float, float]
    name: str = ""


@dataclass(frozen=True)
class Loose:
    __pydantic_config__: ClassVar[ConfigDict] = LENIENT

    name: str


def test_what_is_right_is_returned() -> None:
    assert parse_json('{"xy": [1, 2.5], "name": "ä"}', Point) == Point((1.0, 2.5), "ä")
    assert parse_json(b'{"xy": [0, 0]}', Point) == Point((0.0, 0.0))
    assert parse_json('{"name": "a", "more": 5}', Loose) == Loose("a")
    assert parse_json("[1, 2]", list[int]) == [1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid JSON: EOF"),
        ("{", "invalid JSON: EOF"),
        ("[" * 100_000, "invalid JSON: recursion limit"),
        (b"\xff\xfe", "not UTF-8 text"),
        ('{"xy": [1, 2], "name": "d\xfc"}'.encode("latin-1"), "not UTF-8 text"),
        ('{"xy": [1, 2], "name": "\\ud800"}', "invalid JSON: unexpected end of hex"),
        ('{"xy": [1, 2], "name": "\ud800"}', "not UTF-8"),
        ("[]", r"input should be an object, not \[\]"),
        ("null", "input should be an object, not None"),
        ('{"name": "a"}', "xy: field required"),
        ('{"xy": [1, NaN]}', "xy.1: input should be a finite number, not nan"),
        ('{"xy": [1, 1e999]}', "xy.1: input should be a finite number, not inf"),
        ('{"xy": [1, "2"]}', "xy.1: input should be a valid number, not '2'"),
        ('{"xy": [1]}', "xy.1: field required"),
        ('{"xy": [1, 2], "name": 5}', "name: input should be a valid string, not 5"),
        ('{"xy": [1, 2], "z": 5}', "z: unknown field"),
        ('{"xy": "' + "9" * 500 + '"}', r"not '9{39}\.\.\.$"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str | bytes, message: str) -> None:
    with pytest.raises(JsonError, match=message):
        parse_json(text, Point)
