"""What an expression names, without the words that choose."""

from __future__ import annotations

import pytest

from refam.text.concept import Concept, read_concept


@pytest.mark.parametrize(
    ("text", "noun_phrase", "cues"),
    [
        ("the dog", "dog", []),
        ("Square", "square", []),
        ("the left square", "square", ["left"]),
        ("the largest red square", "red square", ["largest"]),
        ("the two small brown dogs on the left", "brown dogs", ["small", "left"]),
        ("the second red car from the left", "red car", ["second from the left"]),
        ("three of the red cups", "red cups", []),
        ("every person with a hat", "person", []),
        ("the man in a blue shirt next to the tree", "man", []),
        ("a group of people", "people", []),
        ("please find the teddy bear", "teddy bear", []),
        ("the dog that is not on the left", "dog", []),
        ("at least two cars", "cars", []),
        ("1000 birds", "birds", []),
        ("dog, the brown one", "dog", []),
        ("the biggest dog's tail", "dog's tail", ["biggest"]),
    ],
)
def test_the_noun_phrase_without_places_sizes_and_numbers(text: str, noun_phrase: str, cues: list[str]) -> None:
    concept = read_concept(text)
    assert isinstance(concept, Concept)
    assert concept.noun_phrase == noun_phrase
    assert [cue.text for cue in concept.cues] == cues


@pytest.mark.parametrize(
    "text",
    [
        "",
        "the black one",
        "something striped",
        "next to the dog",
        "cat or dog",
        "left",
        "Paris, the red car",
        "the three",
        "7",
    ],
)
def test_words_that_name_no_single_kind_of_thing(text: str) -> None:
    assert read_concept(text) is None
