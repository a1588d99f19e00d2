"""How many objects an expression means; the truth is what an English speaker would expect to be marked."""

from __future__ import annotations

import pytest

from refam.backbones.word_reader import open_word_reader
from refam.text.expression import ExpressionError, parse_expression
from refam.text.quantity import read_quantity
from refam.text.tokens import TokenRole
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
        ("the dog's", 1),
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
        ("at least one and at most three dogs", 3),
        ("at least two but no more than four dogs", 4),
        ("at most four and at least two dogs", 4),
        ("more than two and less than five dogs", 4),
        ("3 of the cups", 3),
        ("twelve of the cups", 12),
        ("two or three of the cups", 3),
        ("between two and three of the cups", 3),
        ("at least 3 of the 12 cups", ANY),
        ("one third of the cups", ANY),
        ("two thirds of the cups", ANY),
        ("the leftmost of two to three dogs", 1),
        ("exactly 0 dogs", 0),
        ("zero dogs", 0),
        ("0 dog", 0),
        ("no more than zero dogs", 0),
        ("fewer than 1 dog", 0),
        ("fewer than one dogs", 0),
        ("at least 0 dogs", ANY),
        ("more than 0 dogs", ANY),
        ("0-2 dogs", 2),
        ("the 0 key", 1),
        ("2-3 dogs", 3),
        ("2–3 dogs", 3),
        ("two-three dogs", 3),
        ("track the 2 - 3 dogs", 3),
        ("the 3-2 games", ANY),
        ("one or two dogs", 2),
        ("one, two or three dogs", 3),
        ("one dog or two", 2),
        ("a dog or two on the left", 2),
        ("track two big dogs or three", 3),
        ("three dogs or two", 3),
        ("one dog or two cats", 1),
        ("the man with a dog or two", 1),
        ("- 2 dogs", 2),
        ("at least -1 dogs", ANY),
        ("10:30: two dogs", 2),
        ("at 10:30: the dogs", ANY),
        ("one dog", 1),
        ("dozens of birds", ANY),
        ("pairs of shoes", ANY),
        ("thousands of birds", ANY),
        ("a half dozen eggs", 6),
        ("atleast 2 dogs", ANY),
        ("minimum two dogs", ANY),
        ("a minimum of two dogs", ANY),
        ("2 dogs min", ANY),
        (">= 2 dogs", ANY),
        ("max 2 dogs", 2),
        ("two dogs maximum", 2),
        ("at least twenty dogs", ANY),
        ("twenty dogs", 20),
        ("twenty-five dogs", 25),
        ("about twenty birds", 20),
        ("over three cars", ANY),
        ("under three cars", 2),
        ("the bridge over three cars", 1),
        ("1.5 dogs", ANY),
        ("1,000 birds", ANY),
        ("two hundred birds", ANY),
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
        ("at least one and at most three dogs", 1),
        ("at least two but no more than four dogs", 2),
        ("at most four and at least two dogs", 2),
        ("more than two and less than five dogs", 3),
        ("two to three pairs of shoes", 4),
        ("2-3 dogs", 2),
        ("one or two dogs", 1),
        ("one dog or two", 1),
        ("two dogs or three", 2),
        ("two or three of the cups", 2),
        ("over three cars", 4),
        ("minimum two dogs", 2),
        ("atleast 2 dogs", 2),
        ("two dogs minimum", 2),
        ("at least twenty-five dogs", 25),
        ("at least half a dozen eggs", 6),
        ("at least 0 dogs", 1),
        ("the leftmost of at least three dogs", 1),
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
        ("at least one and at most three red stars", {"red", "stars"}),
        ("one or two red stars", {"red", "stars"}),
        ("one red star or two", {"red", "star"}),
        ("one red star", {"red", "star"}),
        ("1 star", {"star"}),
        ("minimum two stars", {"stars"}),
        ("half a dozen stars", {"stars"}),
        ("12 of the red stars", {"red", "stars"}),
        ("at least twenty stars", {"stars"}),
        ("2-3 stars", {"stars"}),
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


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("over three stars", '"over three" is read as "more than three", not as a place'),
        ("under 3 stars", '"under 3" is read as "fewer than 3", not as a place'),
        ("1.5 stars", "'1.5' is not used: objects are counted in whole numbers, such as: 2"),
        ("-1.5 stars", "'-1.5' is not used: objects are counted in whole numbers, such as: 2"),
        ("1,000 stars", "'1000' is not used: no more than 50 are counted"),
        ("9" * 5000 + " stars", f"'{'9' * 5000}' is not used: no more than 50 are counted"),
        ("sixty stars", "'sixty' is not used: no more than 50 are counted"),
    ],
)
def test_what_is_read_of_a_number_is_said(text: str, note: str) -> None:
    assert parse_expression(text, build_tokenizer(), max_tokens=64).notes == [note]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("zero stars", "'zero stars' says that there is none ('zero'), which names nothing to outline; write what"),
        ("00 stars", "'00 stars' says that there is none ('00'), which names nothing to outline; write what"),
        ("exactly 0 stars", "'exactly 0 stars' says that there is none ('0'), which names nothing to outline"),
        (
            "-1 stars",
            "'-1 stars' says that there are fewer than none ('-1'), which names nothing to outline; write what",
        ),
        ("\N{MINUS SIGN}1000 stars", "says that there are fewer than none ('\N{MINUS SIGN}1000'), which names nothing"),
        ("-1 star", "'-1 star' says that there are fewer than none ('-1'), which names nothing to outline"),
        ("at most -1 stars", "'at most -1 stars' says that there are fewer than none ('-1'), which names nothing"),
        ("fewer than 1 star", "'fewer than 1 star' says that there is none ('1'), which names nothing to outline"),
        ("at most two and at least three stars", "names at least 3 and at most 2, which no number is; write, for"),
    ],
)
def test_a_number_that_nothing_can_have_is_refused(text: str, why: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_expression(text, build_tokenizer(), max_tokens=64)
    assert why in str(caught.value)


def test_numbers_before_a_replaced_noun_are_said() -> None:
    reader = open_word_reader("photos", download=False)
    assert reader is not None
    parsed = reader.parse("1.5 puppies")
    assert any("'1.5' is not used" in note for note in parsed.notes)
    assert parsed.unknown == ()


@pytest.mark.parametrize("text", ["two", "the three", "seven"])
def test_a_number_alone_names_nothing(text: str) -> None:
    reader = open_word_reader("photos", download=False)
    assert reader is not None
    with pytest.raises(ExpressionError, match="names nothing to look for; add a noun"):
        reader.parse(text)
