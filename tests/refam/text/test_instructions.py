"""Instructions around the words that name a thing, against what is left when a reader strikes them out."""

from __future__ import annotations

from typing import Any

import pytest

from refam.text.expression import parse_expression
from refam.text.instructions import find_instructions
from refam.text.tokens import TokenRole
from refam.text.words import split_words
from refam.tiny.model import build_tokenizer


def strike_out(text: str) -> str:
    words = [w.text for w in split_words(text)]
    instructions = find_instructions(words)
    return " ".join(word for i, word in enumerate(words) if i not in instructions and word not in ",.?!")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("segment the red car please", "the red car"),
        ("Please track the man in the blue shirt.", "the man in the blue shirt"),
        ("can you find the dog on the left?", "the dog on the left"),
        ("could you please segment the white horse for me", "the white horse"),
        ("find me the dog", "the dog"),
        ("show me where the dog is", "the dog is"),
        ("track red car", "red car"),
        ("find dog", "dog"),
        ("i want the red car", "the red car"),
        ("i would like you to segment the bigger dog, thanks", "the bigger dog"),
        ("i'm looking for the small white dog", "the small white dog"),
        ("where is the cat?", "the cat"),
        ("it's the cat on the sofa", "the cat on the sofa"),
        ("label all people in the video", "people"),
        ("draw a box around the bus", "the bus"),
        ("create a segmentation mask for the cat", "the cat"),
        ("give me the mask of the cat", "the cat"),
        ("object: red car", "red car"),
        ("object to track: red car", "red car"),
        ("find and track the dog", "the dog"),
        ("detect, segment and track the bird", "the bird"),
        ("the car, please", "the car"),
        ("the red car, segment it please", "the red car"),
        ("mark the horse in every frame", "the horse"),
        ("let's track this bird from start to finish", "this bird"),
        ("follow the woman throughout the clip", "the woman"),
        ("the dog to be tracked", "the dog"),
        ("the player to track", "the player"),
        ("the car that should be segmented", "the car"),
        ("the dog i want to track", "the dog"),
        ("mask the man who is running", "the man who is running"),
        ("point out the tallest giraffe", "the tallest giraffe"),
        ("follow that car!", "that car"),
        ("keep an eye on the ball", "the ball"),
    ],
)
def test_instructions_are_found(text: str, left: str) -> None:
    assert strike_out(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "the red car",
        "mask of the man",
        "mask the man is wearing",
        "the man with a mask",
        "label on the bottle",
        "box on the table",
        "circle on the left",
        "two circles",
        "the track the train runs on",
        "track and field athlete",
        "track suit man",
        "show horse",
        "cut flowers",
        "boy learning to draw",
        "a place to sit",
        "please",
        "find",
        "",
    ],
)
def test_names_of_things_are_no_instructions(text: str) -> None:
    assert strike_out(text) == text


def test_instructions_are_not_looked_for_and_need_not_be_known() -> None:
    tokenizer: Any = build_tokenizer()
    expression = parse_expression("please segment the red star for me", tokenizer, max_tokens=24)
    assert [expression.tokens[w[0]].word for w in expression.content_words()] == ["red", "star"]
    assert {t.word for t in expression.tokens if t.role is TokenRole.FILLER} == {"please", "segment", "for", "me"}
    assert (expression.unknown, expression.ignored, expression.note) == ((), (), "")
