"""Directions of movement, against what a reader of English understands; and that they are no words of place."""

from __future__ import annotations

from typing import Any

import pytest

from refam.text.expression import ExpressionError, parse_expression
from refam.text.motion import find_directions
from refam.text.spatial import find_spatial_cues
from refam.text.tokens import TokenRole
from refam.text.words import split_words
from refam.tiny.model import build_tokenizer


@pytest.fixture(scope="module")
def tiny() -> Any:
    return build_tokenizer()


def words_of(text: str) -> list[str]:
    return [w.text for w in split_words(text)]


# text, its directions, its cues of place
MOVES = [
    ("the police car turning left", ["left"], []),
    ("the monkey that moves from left to right", ["from left to right"], []),
    ("a goldfish swimming to the left", ["to the left"], []),
    ("the goalkeeper diving to the right", ["to the right"], []),
    ("man walking right to left", ["right to left"], []),
    ("the car on the left turning right", ["right"], ["left"]),
    ("the rightmost car moving to the left", ["to the left"], ["rightmost"]),
    ("the biggest fish swimming left to right", ["left to right"], ["biggest"]),
    ("the second car from the right turning left", ["left"], ["second from the right"]),
    ("the car moving left in the background", ["left"], ["background"]),
    ("the goose in the middle swimming to the right", ["to the right"], ["middle"]),
    ("dog running towards the right side of the frame", ["towards the right side of the frame"], []),
    ("the truck coming from the left", ["from the left"], []),
    ("plane flying toward the upper right corner", ["toward the upper right corner"], []),
    ("airplane taking off toward the upper right", ["off toward the upper right"], []),
    ("the boat moving from the center to the left", ["from the center to the left"], []),
    ("panda crawling toward the right from the left", ["toward the right from the left"], []),
    ("horse jumping over the obstacle from right to left", ["from right to left"], []),
    ("ball rolling from the bottom left to the top right", ["from the bottom left to the top right"], []),
    ("the deer that goes from one side to the other", ["from one side to the other"], []),
    ("the white rabbit moving from back to front", ["from back to front"], []),
    ("the bird flying to the left and then back", ["to the left and then back"], []),
    ("puppy that runs forward then turns left", ["forward", "left"], []),
    ("the man who walks left slowly", ["left"], []),
    ("woman pushing a stroller to the left", ["to the left"], []),
    ("train moving along the track to the right", ["to the right"], []),
    ("the skier going downhill to the left", ["downhill to the left"], []),
    ("the guy heading right at the bottom", ["right"], ["bottom"]),
    ("car making a left turn", ["a left turn"], []),
    ("the bus taking a sharp right", ["a sharp right"], []),
    ("the horse galloping leftwards", ["leftwards"], []),
    ("a right-moving truck", ["right-moving"], []),
    ("the elephant moving backward", ["backward"], []),
    ("fish swimming up and down", ["up and down"], []),
    ("boat sailing away", ["away"], []),
    ("sheep moving closer to the camera", ["closer to the camera"], []),
    ("the cyclist riding away from the camera", ["away from the camera"], []),
    ("a bird that flies out of the frame", ["out of the frame"], []),
    ("kite going up in the sky", ["up"], []),
    ("the horse walking towards us from the left", ["towards us from the left"], []),
    ("goldfish moving upward and then to the right", ["upward and then to the right"], []),
    ("the bird on the left that flies away first", ["away first"], ["left"]),
    ("the one moving the fastest", ["the fastest"], []),
    ("the fish swimming all the way to the right", ["to the right"], []),
]
FACES = [
    ("cow facing left", ["left"], []),
    ("girl looking this way", ["this way"], []),
    ("cat looking to the right", ["to the right"], []),
    ("the sheep facing right on the left", ["right"], ["left"]),
    ("the man sitting to the right facing left", ["left"], ["right"]),
    ("the left-facing bird", ["left-facing"], []),
    ("the woman facing the right side", ["the right side"], []),
    ("arrow pointing to the left", ["to the left"], []),
]


@pytest.mark.parametrize(("text", "directions", "cues"), MOVES + FACES)
def test_a_direction_is_no_place(text: str, directions: list[str], cues: list[str]) -> None:
    found = find_directions(words_of(text))
    assert [direction.text for direction in found] == directions
    assert [cue.text for cue in find_spatial_cues(words_of(text))] == cues
    assert {direction.moves for direction in found} == {(text, directions, cues) in MOVES}


@pytest.mark.parametrize(
    ("text", "cues"),
    [
        ("man running on the left", ["left"]),
        ("man standing to the left", ["left"]),
        ("giraffe eating left", ["left"]),
        ("car parked left", ["left"]),
        ("left turning car", ["left"]),
        ("the person on the far right walking", ["far right"]),
        ("woman pushing a stroller on the left", ["left"]),
        ("the second person from left to right", ["second from left to right"]),
        ("third duck from the left to the right", ["third from the left to the right"]),
        ("running shoes on the left", ["left"]),
        ("walking stick to the left", ["left"]),
        ("the pair of skis left", ["left"]),
        ("the racing car", []),
        ("the man walking to the left of the tree", []),
        ("car driving right behind the bus", []),
        ("monkey climbing up the tree", []),
        ("dog jumping to the right goal", ["right"]),
        ("the bird flying away from the others", []),
        ("man moving to the front of the group", []),
        ("the man who left", []),
    ],
)
def test_places_and_relations_are_no_directions(text: str, cues: list[str]) -> None:
    assert find_directions(words_of(text)) == ()
    assert [cue.text for cue in find_spatial_cues(words_of(text))] == cues


def test_people_are_told_that_a_direction_is_not_used(tiny: Any) -> None:
    expression = parse_expression("the red star on the left moving from left to right", tiny, max_tokens=40)
    assert [(i.words, "how something moves, which is not measured" in i.reason) for i in expression.ignored] == [
        ("from left to right", True)
    ]
    assert [cue.text for cue in expression.cues] == ["left"]
    roles = {t.word: t.role for t in expression.tokens if t.role is not TokenRole.STOP}
    assert (roles["star"], roles["right"]) == (TokenRole.HEAD, TokenRole.MOTION)
    facing = parse_expression("the star facing left", tiny, max_tokens=40)
    assert "which way something faces, which is not measured" in facing.ignored[0].reason


def test_a_direction_alone_names_nothing(tiny: Any) -> None:
    with pytest.raises(ExpressionError, match=r"only which way it moves \('from left to right'\); add a noun"):
        parse_expression("from left to right", tiny, max_tokens=24)


def test_what_another_thing_does_is_said_to_be_of_another_thing(tiny: Any) -> None:
    expression = parse_expression("the star left of the ring walking", tiny, max_tokens=24)
    assert [i.words for i in expression.ignored] == ["left of the ring", "walking"]
    assert "said of another thing" in expression.ignored[1].reason
