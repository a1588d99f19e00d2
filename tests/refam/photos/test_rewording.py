"""Expressions in the model's words."""

from __future__ import annotations

import pytest

from refam.photos.rewording import reword
from refam.photos.words import model_words
from tests.refam.photos.small_data import small_vocabulary

VOCABULARY = small_vocabulary()
KNOWN = frozenset(model_words(VOCABULARY))


@pytest.mark.parametrize(
    ("text", "read", "noted"),
    [
        ("the dog on the left", "the dog on the left", []),
        ("the dogs", "the dog", []),
        ("the terrier", "the dog", [("terrier", "dog")]),
        ("The Puppy, on the left", "The dog, on the left", [("puppy", "dog")]),
        ("a goblet beside the puppy", "a wine glass beside the dog", [("goblet", "wine glass"), ("puppy", "dog")]),
        ("the wine glass", "the wine glass", []),
        ("the dog drinking water", "the dog drinking water", []),  # not the beverage
        ("the wine glasses", "the wine glass", []),
        ("the red xyzzy", "the red xyzzy", []),
        ("", "", []),
    ],
)
def test_words_are_replaced_by_nouns_that_are_known(text, read, noted):
    rewording = reword(text, VOCABULARY, KNOWN)
    assert rewording.text == read
    assert list(rewording.read_as) == noted
