"""`refam words`: the words that are known, and how expressions are read."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from backend.cli.main import app


@pytest.mark.parametrize(
    ("expressions", "code", "lines"),
    [
        (["the cup on the left"], 0, ["the cup on the left: cup, read by photos; chosen by 'left'"]),
        (["the dog"], 0, ["the dog: dog, read by photos"]),
        (["the two dogs"], 0, ["the two dogs: dog, read by photos; at most 2 objects"]),
        (["every red star"], 0, ["every red star: red, star, read by tiny; any number of objects"]),
        (["the puppy", "the red circle"], 0, ['"puppy" is read as "dog"', "red, circle, read by tiny"]),
        (["the black one"], 0, ["black, one, read by tiny; No thing is named, so it is looked for by tiny"]),
        (["the orange", "two oranges"], 0, ["the orange: orange, read by photos", ": orange, read by photos"]),
        (["at least two dogs"], 0, ["at least two dogs: dog, read by photos; at least 2 objects"]),
        (["up to three cars"], 0, ["up to three cars: car, read by photos; at most 3 objects"]),
        (["2-3 dogs"], 0, ["2-3 dogs: dog, read by photos; 2 to 3 objects"]),
        (["no dog"], 1, ["no dog: 'no dog' says what is not meant ('no'), which names nothing to outline"]),
        (["a man with no hat"], 0, ["; 'no hat' is not used: this says what the thing is not"]),
        (["the xyzzy"], 1, ["the xyzzy: the model in use knows none of the words 'xyzzy'"]),
        (["the red dog and the blue cat"], 0, ["Several things are named, and one object is looked for: give each"]),
        (["%s %d {}"], 1, ["knows none of the words 'd'"]),
        (["e", "the ds", "the d"], 1, ["none of the words 'e'", "none of the words 'ds'", "none of the words 'd'"]),
        (["the xyzzy", "the dog"], 3, ["'xyzzy'", "the dog: dog, read by photos"]),
        (["Car: the dog"], 0, ["Car: the dog: dog, read by photos"]),
        ([":", "Car:", " : : "], 1, ["has no words behind the colon: write what to find, as in"] * 3),
        (["", "on the left"], 1, ["the expression is empty", "names nothing to look for"]),
        (["\udcff dog"], 1, ["\ufffd dog: '\\udcff dog' has bytes that are no text in UTF-8"]),
    ],
)
def test_the_exit_code_says_whether_expressions_are_refused(expressions, code, lines):
    result = CliRunner().invoke(app, ["words", *expressions])
    assert result.exit_code == code
    printed = result.stdout.splitlines()
    assert len(printed) == len(expressions)
    for line, text in zip(printed, lines, strict=True):
        assert text in line


def test_a_semicolon_separates_expressions():
    result = CliRunner().invoke(app, ["words", "Pet: the two dogs; the xyzzy;", "every cup"])
    assert result.exit_code == 3
    read, refused, last = result.stdout.splitlines()
    assert read == "Pet: the two dogs: dog, read by photos; at most 2 objects"
    assert refused.startswith("the xyzzy: the model in use knows none of the words 'xyzzy'")
    assert last == "every cup: cup, read by photos; any number of objects"


def test_without_expressions_all_words_are_listed():
    result = CliRunner().invoke(app, ["words"])
    assert result.exit_code == 0
    assert "people: person, man, woman" in result.stdout


def test_json_has_an_object_a_line_for_each_expression():
    result = CliRunner().invoke(app, ["words", "Pet: the brown puppy on the left; the xyzzy", "2-3 red cars", "--json"])
    assert result.exit_code == 3
    puppy, xyzzy, cars = map(json.loads, result.stdout.splitlines())
    assert puppy == {
        "expression": "Pet: the brown puppy on the left",
        "model": "photos",
        "looked_for": ["brown", "dog"],
        "read_as": {"puppy": "dog"},
        "cues": ["left"],
        "quantity": {"least": 1, "most": 1},
        "unknown": [],
        "notes": ['The model has a smaller vocabulary: "puppy" is read as "dog"'],
    }
    assert set(xyzzy) == {"expression", "error"}
    assert "'xyzzy'" in xyzzy["error"]
    assert (cars["quantity"], cars["looked_for"]) == ({"least": 2, "most": 3}, ["red", "car"])


@pytest.mark.parametrize(
    ("expression", "field", "value"),
    [
        ("every dog", "quantity", {"least": 1, "most": None}),
        ("the chewing dog", "unknown", ["chewing"]),
        ("a man with no hat", "looked_for", ["man"]),
        ("\udcff dog", "expression", "\ufffd dog"),
        ("the cat behind the puppy", "read_as", {}),
    ],
)
def test_json_says_how_an_expression_is_read(expression, field, value):
    result = CliRunner().invoke(app, ["words", expression, "--json"])
    assert json.loads(result.stdout)[field] == value


def test_json_needs_expressions():
    result = CliRunner().invoke(app, ["words", "--json"])
    assert result.exit_code == 2
    assert "give the words that are to be read" in result.stderr
