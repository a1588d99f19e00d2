"""Expressions that name several objects are looked for as one, which is said."""

from __future__ import annotations

import pytest

from refam.backbones.presets import DEFAULT_BACKBONE
from refam.backbones.word_reader import open_group
from refam.text.coordination import split_several
from refam.text.expression import ExpressionError
from refam.text.quantity import read_quantity


@pytest.fixture(scope="module")
def reader():
    return open_group(DEFAULT_BACKBONE)


@pytest.mark.parametrize(
    ("expression", "is_said"),
    [
        ("the red dog and the blue cat", True),
        ("the dog & the cat", True),
        ("two dogs and three cats", True),
        ("the red circle and a blue star", True),
        ("the dog and another dog", True),
        ("the dog", False),
        ("the black and white dog", False),
        ("the dog that is black and white", False),
        ("the man in a red shirt and a blue hat", False),
        ("the dog between the cat and the tree", False),
        ("and the dog", False),
        ("the man, the dog", True),
        ("the man, a small dog", True),
        ("man, dog", True),
        ("dog, cat and horse", True),
        ("the dog, the cat on the left", True),
        ("the big, red car", False),
        ("the man, on the left", False),
        ("on the left, the man", False),
        ("the car, second from the left", False),
        ("the dog, a brown one", False),
        ("the dog, brown", False),
        ("the man, wearing a hat", False),
        ("the woman, all in red", False),
        ("the dog, please", False),
        ("the dog; the cat", True),
        ("the dog/the cat", True),
        ("the man with a hat, the dog", True),
        ("the man with a hat, a coat and a bag", False),
        ("the dog; on the left", False),
    ],
)
def test_several_objects_in_one_expression_are_said(expression, is_said, reader):
    notes = reader.parse(expression).notes
    assert any("give each an expression of its own" in note for note in notes) == is_said, notes


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("the dog", ["the dog"]),
        ("the dog, the woman", ["the dog", "the woman"]),
        ("the dog; the cat", ["the dog", "the cat"]),
        ("the black and white dog and the cat", ["the black and white dog", "the cat"]),
        ("the man in red, the dog and the cat", ["the man in red", "the dog", "the cat"]),
        ("the dog, and the Big cat on the left", ["the dog", "the Big cat on the left"]),
        ("dog, cat and the horse", ["dog", "cat", "the horse"]),
        ("the man with a hat and a bag, the dog", ["the man with a hat and a bag", "the dog"]),
        ("the big, red car", ["the big, red car"]),
        ("the dog, not the cat", ["the dog, not the cat"]),
        ("on the left", ["on the left"]),
    ],
)
def test_what_names_several_things_is_split(text, parts):
    assert split_several(text) == parts


@pytest.mark.parametrize(
    ("text", "head", "note"),
    [
        (
            "Paris, the red car",
            "car",
            "'Paris' is not used: the model does not know it, and what follows names a",
        ),
        ("London; two red cars", "car", "'London' is not used: the model does not know it, and what follows names a"),
        ("New York - a dog", "dog", "'New York' is not used: the model does not know it, and what follows names a"),
        ("yes, the dog", "dog", ""),
        ("ok, the dog", "dog", ""),
        ("no, the dog", "dog", ""),
        ("hmm, well, the dog", "dog", ""),
    ],
)
def test_what_stands_before_the_thing_is_not_looked_for(text, head, note, reader):
    parsed = reader.parse(text)
    assert {parsed.tokens[word[0]].word for word in parsed.content_words()} - {"red"} == {head}
    assert parsed.text == text
    assert any(said.startswith(note) for said in parsed.notes) if note else parsed.notes == []
    assert parsed.quantity.most == read_quantity(text).most == (2 if "two" in text else 1)


@pytest.mark.parametrize("text", ["the xyzzy, the dog", "xyzzy, dog", "Paris, the xyzzy"])
def test_an_unknown_thing_before_another_is_refused(text, reader):
    with pytest.raises(ExpressionError, match="xyzzy"):
        reader.parse(text)
