"""Words of place and size: which are cues, and which only look like some."""

from __future__ import annotations

import pytest

from refam.text.spatial import find_spatial_cues
from refam.text.words import split_words

LEFT, RIGHT, UP, DOWN = "left", "right", "up", "down"
DIRECTIONS = {(-1.0, 0.0): LEFT, (1.0, 0.0): RIGHT, (0.0, -1.0): UP, (0.0, 1.0): DOWN}


def describe_cues(text: str) -> list[str]:
    """Each cue in short: kind, direction or sign, rank."""
    found = []
    for cue in find_spatial_cues([w.text for w in split_words(text)]):
        how = DIRECTIONS.get(cue.direction) or ("+" if cue.sign > 0 else "-")
        found.append(f"{cue.kind} {how}" + (f" {cue.rank}" if cue.rank else ""))
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the red car on the left", ["side left"]),
        ("red car left", ["side left"]),
        ("person on the right side", ["side right"]),
        ("the man on the left of the picture", ["side left"]),
        ("the right half of the image", ["side right"]),
        ("top book", ["side up"]),
        ("the top pizza", ["side up"]),
        ("the book on top", ["side up"]),
        ("upper shelf", ["side up"]),
        ("bottom bowl", ["side down"]),
        ("top left corner", ["side up", "side left"]),
        ("the lower right slice", ["side down", "side right"]),
        ("the plant in the corner", ["corner +"]),
        ("middle person", ["middle +"]),
        ("the one in the centre", ["middle +"]),
        ("on the far left", ["order left 1"]),
        ("leftmost zebra", ["order left 1"]),
        ("right most zebra", ["order right 1"]),
        ("furthest to the right", ["order right 1"]),
        ("second from the right", ["order right 2"]),
        ("third car from the left", ["order left 3"]),
        ("2nd red car from the far left", ["order left 2"]),
        ("bottom row second from left", ["side down", "order left 2"]),
        ("the third from the top", ["order up 3"]),
        ("a small red star", ["size -"]),
        ("the huge truck", ["size +"]),
        ("the biggest dog", ["size + 1"]),
        ("the smallest one", ["size - 1"]),
        ("second largest dog", ["size + 2"]),
        ("the larger dog on the left", ["size +", "side left"]),
        ("closest elephant", ["near +"]),
        ("elephant nearest to the camera", ["near +"]),
        ("farthest boat", ["near -"]),
        ("guy in front", ["near +"]),
        ("giraffe in the back", ["near -"]),
        ("the man in the background", ["near -"]),
        ("the dog further back", ["near -"]),
        ("dolphin on the left hand side", ["side left"]),
        ("the left hand side of the view", ["side left"]),
        ("fish on the top right hand side", ["side up", "side right"]),
        ("the right hand of the picture", ["side right"]),
        ("the second left car", ["order left 2"]),
        ("dog on the 5th place from the right", ["order right 5"]),
        ("the second person from the front", ["near + 2"]),
        ("tiny giant panda", ["size -"]),
        ("the front row of people", ["near +"]),
        ("the closer car", ["near +"]),
        ("zebra front", ["near +"]),
        ("the front zebra", ["near +"]),
        ("front left chair", ["near +", "side left"]),
        ("back row second from left", ["near -", "order left 2"]),
        ("the bird on the left that flies", ["side left"]),
        ("the rightmost of all the cups", ["order right 1"]),
        ("the nearer of the two boats", ["near +"]),
        ("the tallest giraffe", ["height + 1"]),
        ("the second tallest man", ["height + 2"]),
        ("the taller of the two giraffes", ["height +"]),
        ("the shorter man", ["height -"]),
        ("the highest bird", ["order up 1"]),
        ("the lower of the two shelves", ["side down"]),
        ("the leftmost of the three cars", ["order left 1"]),
        ("the leftmost of the cars", ["order left 1"]),
        ("the rightmost one of the four people", ["order right 1"]),
        ("the left of the two dogs", ["side left"]),
        ("the one on the left of the two dogs", ["side left"]),
        ("the middle of the three chairs", ["order left 2"]),
        ("the middle one of the five chairs", ["order left 3"]),
        ("the middle of the two chairs", ["middle +"]),
        ("the second of the three cars from the left", ["order left 2"]),
        ("the second from the left of the three cars", ["order left 2"]),
        ("the third car of the five from the right", ["order right 3"]),
        ("the top row of bottles", ["side up"]),
    ],
)
def test_spatial_cues(text: str, expected: list[str]) -> None:
    assert describe_cues(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "the red car",
        "the car left of the tree",
        "car to the left of the tree",
        "the man on the right of the two women",
        "the one to the left of the two dogs",
        "the left of the tree",
        "the dog closer to the tree",
        "the man in the middle of the three women",
        "the right side of the road",
        "second car from the left of the house",
        "left hand of the man",
        "the left hand side of the road",
        "two dogs, one on its left",
        "the giant panda",
        "his right shoe",
        "the right-handed player",
        "the light right there",
        "dog right behind the girl",
        "the man who left the room",
        "she has left",
        "woman in a white top",
        "woman in the white top",
        "girl with a striped tank top",
        "the cup on top of the book",
        "car in the middle of the road",
        "a middle-aged man",
        "the corner of the table",
        "elephant closest to the tree",
        "truck in front of the house",
        "front wheel",
        "the front door of the bus",
        "woman with her back turned",
        "man looking back",
        "the back of the bus",
        "upper body",
    ],
)
def test_words_that_only_look_like_cues(text: str) -> None:
    assert describe_cues(text) == []
