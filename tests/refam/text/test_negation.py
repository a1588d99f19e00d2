"""Expressions that negate: what is not meant cannot be outlined, what is said beside the thing can be left out."""

from __future__ import annotations

import pytest

from refam.backbones.word_reader import GroupReader, open_group
from refam.text.expression import ExpressionError


@pytest.fixture(scope="module")
def reader() -> GroupReader:
    return open_group("small")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("no dog", "no"),
        ("NO DOGS", "no"),
        ("please, no dog", "no"),
        ("there is no dog", "no"),
        ("find no dog", "no"),
        ("no sign", "no"),
        ("not the dog", "not"),
        ("not all dogs", "not"),
        ("not the red star", "not"),
        ("do not track the dog", "not"),
        ("don't track the dog", "don't"),
        ("neither the dog nor the cat", "neither"),
        ("neither of the dogs", "neither"),
        ("nor the dog", "nor"),
        ("none of the dogs", "none"),
        ("without a hat", "without"),
        ("everything but the dog", "but"),
        ("all except the dog", "except"),
        ("anything other than the dog", "other"),
        ("things that are not dogs", "not"),
    ],
)
def test_a_negated_expression_names_nothing(reader: GroupReader, text: str, word: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        reader.parse(text)
    assert f"{word!r}" in str(caught.value)
    assert "names nothing to outline; write what to look for, such as: the red car" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "looked_for"),
    [
        ("the dog, not the cat", {"dog"}),
        ("the dog but not the cat", {"dog"}),
        ("the man without a hat", {"man"}),
        ("the animal that is not a dog", {"animal"}),
        ("the not so big dog", {"dog"}),
        ("everyone except the man", {"person"}),
        ("nothing but the dog", {"dog"}),
        ("the no smoking sign", {"sign"}),
        ("no. 7 dog", {"dog"}),
        ("no 7 dog", {"dog"}),
        ("no more than two dogs", {"dog"}),
        ("not more than two dogs", {"dog"}),
    ],
)
def test_what_is_named_beside_a_negation_is_looked_for(reader: GroupReader, text: str, looked_for: set[str]) -> None:
    parsed = reader.parse(text)
    assert {parsed.tokens[word[0]].word for word in parsed.content_words()} == looked_for


@pytest.mark.parametrize(
    ("text", "not_used", "chosen_by"),
    [
        ("the dog not on the left", "not on the left", []),
        ("the dog that isn't the biggest", "isn't the biggest", []),
        ("the dog, not the one on the left", "not the one on the left", []),
        ("all dogs except the biggest", "except the biggest", []),
        ("every dog but the leftmost", "but the leftmost", []),
        ("dogs other than the biggest", "other than the biggest", []),
        ("the not big car", "not big", []),
        ("the biggest dog not on the left", "not on the left", ["biggest"]),
        ("the man without a hat on the left", "without a hat", ["left"]),
        ("no more than two dogs on the left", "", ["left"]),
    ],
)
def test_a_place_that_is_negated_does_not_choose(
    reader: GroupReader, text: str, not_used: str, chosen_by: list[str]
) -> None:
    parsed = reader.parse(text)
    assert [cue.text for cue in parsed.cues] == chosen_by
    assert any(repr(not_used) in note for note in parsed.notes) == bool(not_used)
    assert "left" not in {parsed.tokens[word[0]].word for word in parsed.content_words()}
