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
