"""Training texts say what they are asked about."""

from __future__ import annotations

import numpy as np
import pytest

from refam.photos import TEXT_LENGTH
from refam.photos.texts import TextSampler
from refam.photos.words import model_words
from tests.refam.photos.small_data import small_vocabulary

WORDS = model_words(small_vocabulary())
IDS = {w: i + 3 for i, w in enumerate(WORDS)}
NAMES = ("animal", "dog", "wine glass")


@pytest.fixture
def sampler():
    return TextSampler(NAMES, IDS, np.ones(3), np.random.default_rng(0))


def spelled(text):
    words = {i: w for w, i in IDS.items()}
    return [words.get(i, "") for i in text.ids]


@pytest.mark.parametrize("kind", ["caption", "single", "nouns"])
def test_every_token_of_a_noun_is_asked_and_no_other(sampler, kind):
    for _ in range(40):
        text = {
            "caption": lambda: sampler.caption(np.array([0, 2])),
            "single": lambda: sampler.single(2, is_true=False),
            "nouns": lambda: sampler.nouns(np.array([1]), np.array([0, 2])),
        }[kind]()
        words = spelled(text)
        assert len(text.ids) == TEXT_LENGTH
        assert text.is_true == (kind == "caption")
        assert [words[p] in NAMES[c].split() for p, c in text.asked] == [True] * len(text.asked)
        nouns = {piece for name in NAMES for piece in name.split()}
        assert [p for p, w in enumerate(words) if w in nouns] == [p for p, _ in text.asked]


def test_lists_hold_nouns_that_are_there_and_some_that_are_not(sampler):
    asked = {c for _ in range(20) for _, c in sampler.nouns(np.array([1]), np.array([0, 2])).asked}
    assert asked == {0, 1, 2}
