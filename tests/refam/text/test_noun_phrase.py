"""The head noun phrase, against a table of expressions with their true heads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refam.text.abbreviations import write_out_abbreviations
from refam.text.expression import parse_expression
from refam.text.noun_phrase import NounPhrase, parse_noun_phrase
from refam.text.spatial import find_spatial_cues
from refam.text.tokens import TokenRole
from refam.text.words import split_words
from refam.tiny.model import build_tokenizer

TABLE = Path(__file__).with_name("expressions.tsv")
ROWS = [line.split("\t") for line in TABLE.read_text().splitlines() if not line.startswith("#")]


@pytest.fixture(scope="module")
def tiny() -> Any:
    return build_tokenizer()


def parse(text: str) -> tuple[list[str], NounPhrase | None]:
    words = [w.text for w in split_words(write_out_abbreviations(text))]
    return words, parse_noun_phrase(words, find_spatial_cues(words))


# Each set's bar is what it reaches: one more wrong is a regression, and the misses are named.
@pytest.mark.parametrize(
    ("name", "count", "wrong"),
    [
        ("first", 126, {"the toddler learning to walk"}),
        (
            "second",
            40,
            {
                "skier going downhill",
                "man sitting on a bench reading a newspaper",
                "player about to throw the ball",
            },
        ),
        ("third", 40, set()),
        ("written", 130, set()),
    ],
)
def test_head_nouns_and_content_words_of_the_table(name: str, count: int, wrong: set[str]) -> None:
    rows = [row for row in ROWS if row[3] == name]
    assert len(rows) == count
    misses = set()
    for text, head, content, _ in rows:
        words, phrase = parse(text)
        assert phrase is not None, text
        if (words[phrase.head], [words[i] for i in sorted(phrase.kept)]) != (head, content.split()):
            misses.add(text)
    assert misses == wrong


@pytest.mark.parametrize(
    ("text", "ignored_words"),
    [
        ("the red car", []),
        ("the car left of the tree", ["left of the tree"]),
        ("the car on the left", []),
        ("the dog behind the fence", ["behind the fence"]),
        ("a small kitten next to the black sofa", ["next to the black sofa"]),
        ("a person riding a horse", ["riding a horse"]),
        ("the motorcycle in front of the red truck", ["in front of the red truck"]),
        ("the elephant closest to the tree", ["closest to the tree"]),
        ("the elephant closest to the camera", []),
        ("man in a blue shirt next to the dog", ["next to the dog"]),
        ("puppy carried by a woman in a green coat", ["by a woman", "in a green coat"]),
        ("girl without glasses on the left", ["without glasses"]),
        ("guy not wearing a hat", ["not wearing a hat"]),
        ("the thing the man is holding", ["the man is holding"]),
        ("the bike that the boy is riding on the left", ["that the boy is riding"]),
        ("the boat people are standing on", ["people are standing on"]),
        ("the dog behind it", ["behind it"]),
        ("the dog next to her on the left", ["next to her"]),
        ("the dog next to her mother", ["next to her mother"]),
        ("the dog running behind me", ["behind me"]),
        ("the dog closest to me", []),
        ("the dog chasing them", ["chasing them"]),
        ("the dog that follows him", ["follows him"]),
        ("the girl with him", ["with him"]),
        ("the dog behind that", ["behind that"]),
        ("the dog behind that man", ["behind that man"]),
        ("the chair he sits on that is red", ["he sits on"]),
        ("the cup with a straw in it", []),
        ("the cup with a straw, behind it", ["behind it"]),
        ("the red car, segment it please", []),
    ],
)
def test_words_about_other_things_are_ignored_with_a_reason(text: str, ignored_words: list[str]) -> None:
    _, phrase = parse(text)
    assert phrase is not None
    assert [ignored.words for ignored in phrase.ignored] == ignored_words
    other_or_not = ("is another thing", "of another thing", "is not or does not have")
    assert all(any(why in ignored.reason for why in other_or_not) for ignored in phrase.ignored)


@pytest.mark.parametrize(
    ("text", "thing"),
    [
        ("the dog that the man holds", "man"),
        ("the dog that the girl carries on the left", "girl"),
        ("the horse the old woman rides through the park", "old woman"),
        ("the cart that the boy with the cap pushes", "boy"),
        ("the hat that the girl wears", "girl"),
        ("the dog that two children hold", "two children"),
        ("the thing the man is holding", "man"),
        ("the ball that the dog toys are on", "dog toys"),
    ],
)
def test_who_does_something_is_called_without_the_verb(text: str, thing: str) -> None:
    _, phrase = parse(text)
    assert phrase is not None
    (ignored,) = phrase.ignored
    assert ignored.reason.startswith(f"{thing!r} is another thing, ")


@pytest.mark.parametrize(
    "text", ["the cup she holds", "the car I saw", "the ball he is throwing", "the dog it follows"]
)
def test_what_a_pronoun_does_is_called_no_thing(text: str) -> None:
    _, phrase = parse(text.lower())
    assert phrase is not None
    (ignored,) = phrase.ignored
    assert ignored.reason == "this is said of another thing, which is not looked for."


@pytest.mark.parametrize(
    ("text", "cues", "read_words"),
    [
        ("the small star next to the large ring", ["small"], ["star"]),
        ("the star behind the small ring on the left", ["left"], ["star"]),
        ("a star with a small ring", [], ["star", "small", "ring"]),
        ("the star on the left", ["left"], ["star"]),
        ("the large star in the middle, a ring on the top cross", ["large", "middle"], ["star", "ring"]),
    ],
)
def test_places_and_sizes_of_other_things_are_no_cues(
    tiny: Any, text: str, cues: list[str], read_words: list[str]
) -> None:
    expression = parse_expression(text, tiny, max_tokens=40)
    assert [cue.text for cue in expression.cues] == cues
    assert [expression.tokens[w[0]].word for w in expression.content_words()] == read_words


def test_roles_of_an_expression(tiny: Any) -> None:
    expression = parse_expression("the red star left of a blue ring", tiny, max_tokens=24)
    roles = {t.word: t.role for t in expression.tokens[:8]}
    assert roles == {
        "the": TokenRole.STOP,
        "red": TokenRole.CONTENT,
        "star": TokenRole.HEAD,
        "left": TokenRole.OTHER,
        "of": TokenRole.STOP,
        "a": TokenRole.STOP,
        "blue": TokenRole.OTHER,
        "ring": TokenRole.OTHER,
    }
    assert [i.words for i in expression.ignored] == ["left of a blue ring"]
    off = parse_expression("the red star left of a blue ring", tiny, max_tokens=24, noun_phrase=False)
    assert [off.tokens[w[0]].word for w in off.content_words()] == ["red", "star", "left", "blue", "ring"]
    assert off.ignored == ()


@pytest.mark.parametrize("text", ["with star", "wearing red", "next to star"])
def test_expressions_without_a_head_noun_are_read_whole_with_a_note(tiny: Any, text: str) -> None:
    expression = parse_expression(text, tiny, max_tokens=24)
    assert "No head noun" in expression.note
    assert expression.positions(TokenRole.CONTENT)
    assert not expression.positions(TokenRole.HEAD, TokenRole.OTHER)
    assert parse_expression("the red star", tiny, max_tokens=24).note == ""


SOME = """he's they that are what thing one three among out group photo taller please track segment me it can you not :
    moving from to turning left its head toward facing up
    the a red star man dog left right of on in next to second from biggest who is walking cat's , . with
    wearing blue and jumps top corner 3 closest middle hand there"""
WORDS = st.sampled_from(SOME.split())


@given(st.lists(WORDS, max_size=14))
def test_any_words_can_be_parsed(words: list[str]) -> None:
    cues = find_spatial_cues(words)
    used = [i for cue in cues for i in cue.words]
    assert len(used) == len(set(used)), "no word is in two cues"
    assert all(0 <= i < len(words) for i in used)
    phrase = parse_noun_phrase(words, cues)
    if phrase is not None:
        assert phrase.head in phrase.kept
        assert phrase.kept <= set(range(len(words)))
        assert phrase.cue_words <= set(used)
        assert not phrase.kept & phrase.cue_words, "a word of place is not looked for"


@pytest.mark.parametrize(
    ("text", "words", "reason"),
    [
        ("the back of the bus", "the back of", "which part is meant is not read"),
        ("the first giraffe", "first", "does not say from where to count"),
        ("the last of the cows", "last", "does not say from where to count"),
    ],
)
def test_words_that_choose_nothing_are_ignored_with_a_reason(text: str, words: str, reason: str) -> None:
    _, phrase = parse(text)
    assert phrase is not None
    assert [(ignored.words, reason in ignored.reason) for ignored in phrase.ignored] == [(words, True)]


def test_words_that_name_nothing_need_not_be_known(tiny: Any) -> None:
    expression = parse_expression("a photo of the leftmost of the three red stars", tiny, max_tokens=40)
    assert [expression.tokens[w[0]].word for w in expression.content_words()] == ["red", "stars"]
    assert [cue.text for cue in expression.cues] == ["leftmost"]
    assert (expression.unknown, expression.ignored) == ((), ())
