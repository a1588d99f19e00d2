"""How many objects an expression means; the truth is what an English speaker would expect to be marked."""

from __future__ import annotations

import pytest

from refam.backbones.word_reader import open_word_reader
from refam.text.expression import TokenRole, parse_expression
from refam.text.quantity import read_quantity
from refam.tiny.model import build_tokenizer

ANY = None


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("the dog", 1),
        ("a dog on the left", 1),
        ("dog", 1),
        ("the biggest dog of the three", 1),
        ("one of the two dogs", 1),
        ("the leftmost of the three cars", 1),
        ("the dog between the two men", 1),
        ("the man with the two dogs", 1),
        ("any of the dogs", 1),
        ("a bus", 1),
        ("the bus on the right", 1),
        ("the glass of wine", 1),
        ("the walrus", 1),
        ("the tennis court", 1),
        ("a two-door car", 1),
        ("the two door car", 1),
        ("the all black dog", 1),
        ("some dog", 1),
        ("any dog", 1),
        ("this sheep", 1),
        ("the sheep", 1),
        ("the fish in the bowl", 1),
        ("the scissors", 1),
        ("a pair of scissors", 1),
        ("his trousers", 1),
        ("the glasses", 1),
        ("the skis", 1),
        ("a pair of jeans", 1),
        ("these sunglasses", 1),
        ("the second dog from the left", 1),
        ("a pile of snow", 1),
        ("some kind of dog", 1),
        ("the crowd", 1),
        ("the dog and the cat", 1),
        ("player number 10", 1),
        ("the woman's dog", 1),
        ("the red", 1),
        ("next to the dogs", 1),
        ("", 1),
        ("the two dogs", 2),
        ("two dogs", 2),
        ("2 dogs", 2),
        ("both men", 2),
        ("two or three dogs", 3),
        ("two dozen eggs", 24),
        ("half a dozen dogs", 6),
        ("two or more dogs", ANY),
        ("both the men", 2),
        ("both of the men", 2),
        ("a pair of dogs", 2),
        ("the couple of cars on the left", 2),
        ("two of the dogs", 2),
        ("the two leftmost of the three cars", 2),
        ("two sheep", 2),
        ("two scissors", 2),
        ("two pairs of scissors", 2),
        ("two pairs of shoes", 4),
        ("two glasses of wine", 2),
        ("find the two black dogs", 2),
        ("a photo of two dogs", 2),
        ("the two women in red", 2),
        ("three cars", 3),
        ("the three people next to the car", 3),
        ("a trio of singers", 3),
        ("a group of three people", 3),
        ("ten birds", 10),
        ("a dozen eggs", 12),
        ("the dogs", ANY),
        ("dogs", ANY),
        ("all red cars", ANY),
        ("all the cars", ANY),
        ("all of the cars", ANY),
        ("every person", ANY),
        ("each dog", ANY),
        ("each of the two dogs", ANY),
        ("everyone in red", ANY),
        ("Everybody", ANY),
        ("the dog everyone looks at", 1),
        ("the people", ANY),
        ("a group of people", ANY),
        ("a flock of sheep", ANY),
        ("all sheep", ANY),
        ("the men in black", ANY),
        ("the children", ANY),
        ("the policemen on the left", ANY),
        ("several dogs", ANY),
        ("a few birds", ANY),
        ("the red ones", ANY),
        ("a man's dogs", ANY),
        ("the wine glasses", ANY),
        ("the glasses of wine", ANY),
        ("the four door cars", ANY),
        ("the taxis", ANY),
        ("the buses", ANY),
        ("the mice", ANY),
        ("the traffic_lights", ANY),
        ("ppl on the bench", ANY),
        ("at least two dogs", ANY),
        ("at least one dog", ANY),
        ("more than one red dog", ANY),
        ("more than two dogs on the left", ANY),
        ("two dogs or more", ANY),
        ("two or more of the dogs", ANY),
        ("at least two of the dogs", ANY),
        ("track at least two dogs", ANY),
        ("2+ dogs", ANY),
        ("up to three cars", 3),
        ("track up to three cars", 3),
        ("exactly two dogs", 2),
        ("about two dogs", 2),
        ("at most two dogs", 2),
        ("two dogs at most", 2),
        ("no more than two dogs", 2),
        ("fewer than three dogs", 2),
        ("between two and four dogs", 4),
        ("two to four dogs", 4),
        ("not more than one dog", 1),
        ("the leftmost of at least three cars", 1),
        ("the crowd around two dogs", 1),
        ("the man with at least two dogs", 1),
    ],
)
def test_how_many_are_meant(text: str, most: int | None) -> None:
    quantity = read_quantity(text)
    assert quantity.most == most
    assert quantity.is_plural == (most != 1)


@pytest.mark.parametrize(
    ("text", "least"),
    [
        ("at least two dogs", 2),
        ("two or more dogs", 2),
        ("no fewer than two dogs", 2),
        ("more than two dogs", 3),
        ("more than one dog", 2),
        ("at least two pairs of shoes", 4),
        ("at least a dozen eggs", 12),
        ("exactly two dogs", 2),
        ("two dogs", 2),
        ("two or three dogs", 2),
        ("between two and four dogs", 2),
        ("up to three cars", 1),
        ("fewer than three dogs", 1),
        ("at least one dog", 1),
        ("every dog", 1),
        ("the dogs", 1),
    ],
)
def test_how_many_there_are_at_least(text: str, least: int) -> None:
    assert read_quantity(text).least == least


@pytest.mark.parametrize(
    ("text", "looked_for"),
    [
        ("at least two red stars", {"red", "stars"}),
        ("more than one red star", {"red", "star"}),
        ("up to three stars", {"stars"}),
        ("exactly two stars", {"stars"}),
        ("two or more stars", {"stars"}),
        ("stars, two at most", {"stars"}),
        ("between two and four red stars", {"red", "stars"}),
    ],
)
def test_the_words_that_bound_a_number_are_not_looked_for(text: str, looked_for: set[str]) -> None:
    expression = parse_expression(text, build_tokenizer(), max_tokens=64)
    assert {expression.tokens[i].word for i in expression.positions(TokenRole.CONTENT, TokenRole.HEAD)} == looked_for
    assert expression.unknown == ()
    assert expression.notes == []


@pytest.mark.parametrize(
    ("text", "said", "most"),
    [
        ("the two red stars", ["two"], 2),
        ("every red star", ["every"], ANY),
        ("a pair of red stars", ["pair"], 2),
        ("several stars", ["several"], ANY),
        ("the stars", [], ANY),
        ("one of the two stars", [], 1),
    ],
)
def test_the_words_that_say_so_have_a_role(text: str, said: list[str], most: int | None) -> None:
    expression = parse_expression(text, build_tokenizer(), max_tokens=64)
    words = dict.fromkeys(expression.tokens[i].word for i in expression.positions(TokenRole.QUANTITY))
    assert list(words) == said
    assert expression.quantity.most == most
    assert not {"several", "two", "every"}.intersection(expression.unknown), "they are read, not looked for"


@pytest.mark.parametrize(
    ("text", "most"), [("the two dogs", 2), ("the dogs", ANY), ("the women", ANY), ("the dog", 1), ("the glasses", 1)]
)
def test_a_model_that_reads_plurals_as_singulars_knows_how_many_are_meant(text: str, most: int | None) -> None:
    reader = open_word_reader("photos", download=False)
    assert reader is not None
    assert reader.parse(text).quantity.most == most


def test_words_of_quantity_are_not_unknown_where_the_noun_is_replaced() -> None:
    reader = open_word_reader("photos", download=False)
    assert reader is not None
    parsed = reader.parse("several white dogs")
    assert parsed.unknown == ()
    assert [parsed.tokens[i].word for i in parsed.positions(TokenRole.HEAD)] == ["dog"]
