"""Expressions that negate: what is not meant cannot be outlined, what is said beside the thing can be left out."""

from __future__ import annotations

import time

import pytest

from refam.backbones.word_reader import GroupReader, open_group
from refam.text.expression import ExpressionError
from refam.text.quantity import read_quantity


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


@pytest.mark.parametrize(
    ("text", "looked_for", "not_used"),
    [
        ("dog but not cat", {"dog"}, ["not cat"]),
        ("dog and not cat", {"dog"}, ["not cat"]),
        ("the dog (not the cat)", {"dog"}, ["not the cat"]),
        ("cars but not trucks on the left", {"car"}, ["not truck on the left"]),
        ("the dog, not the one on the left", {"dog"}, ["not the one on the left"]),
        ("the dog rather than the cat", {"dog"}, ["rather than the cat"]),
        ("the dog instead of the cat", {"dog"}, ["instead of the cat"]),
        ("the dog other than the brown one", {"dog"}, ["other than the brown one"]),
        ("every dog but the brown one", {"dog"}, ["but the brown one"]),
        ("the cat not red", {"cat"}, ["not red"]),
        ("a car, not red", {"car"}, ["not red"]),
        ("the car that is never red", {"car"}, ["never red"]),
        ("the car that has never been red", {"car"}, ["never been red"]),
        ("the dog that isn't brown", {"dog"}, ["isn't brown"]),
        ("the dog that is not brown or black", {"dog"}, ["not brown or black"]),
        ("dogs that are not brown, black or white", {"dog"}, ["not brown , black or white"]),
        ("the dog that is neither brown nor black", {"dog"}, ["neither brown nor black"]),
        ("the car which is not blue and not red", {"car"}, ["not blue", "not red"]),
        ("the car that is not red but blue", {"car", "blue"}, ["not red"]),
        ("the white cat not red", {"white", "cat"}, ["not red"]),
        ("neither brown nor black dog", {"dog"}, ["neither brown nor black"]),
        ("the red not blue car", {"red", "car"}, ["not blue"]),
        ("white but not black dog", {"white", "dog"}, ["not black"]),
        ("the white, not black, dog", {"white", "dog"}, ["not black"]),
        ("the not red car", {"car"}, ["not red"]),
        ("the man not wearing a hat", {"man"}, ["not wearing a hat"]),
        ("the man who doesn't have a hat", {"man"}, ["doesn't have a hat"]),
        ("the man who has no hat", {"man"}, ["no hat"]),
        ("the man with a hat but no glasses", {"man", "hat"}, ["no glasses"]),
        ("the man with neither hat nor glasses", {"man"}, ["neither hat nor glasses"]),
        ("the person not sitting on the bench", {"person"}, ["not sitting on the bench"]),
        ("the car that is not only red but blue", {"car", "red", "blue"}, []),
        ("two dogs, not more than two", {"dog"}, []),
    ],
)
def test_what_is_not_meant_is_not_looked_for(
    reader: GroupReader, text: str, looked_for: set[str], not_used: list[str]
) -> None:
    parsed = reader.parse(text)
    assert {parsed.tokens[word[0]].word for word in parsed.content_words()} == looked_for
    assert [ignored.words for ignored in parsed.ignored] == not_used


@pytest.mark.parametrize(
    ("text", "chosen_by"),
    [
        ("the cat not red on the left", ["left"]),
        ("the man not wearing a hat on the left", ["left"]),
        ("the man with no hat on the left", ["left"]),
        ("the car that is not red and is big", ["big"]),
        ("the biggest dog but not the cat", ["biggest"]),
        ("the man not standing on the left", []),
        ("the dog but not the smallest cat", []),
        ("neither big nor small dog", []),
    ],
)
def test_only_a_place_outside_what_is_negated_chooses(reader: GroupReader, text: str, chosen_by: list[str]) -> None:
    assert [cue.text for cue in reader.parse(text).cues] == chosen_by


def test_thousands_of_negations_are_read_at_once() -> None:
    """What is read before the expression's length is known must not take minutes; cubic in the words it did."""
    start = time.perf_counter()
    assert read_quantity("not a cat, " * 2000).most == 1
    assert time.perf_counter() - start < 15
