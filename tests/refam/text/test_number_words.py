"""Numbers of several words, against what they are."""

from __future__ import annotations

import pytest

from refam.text.number_words import write_numbers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("twenty five dogs", "25 dogs"),
        ("Twenty-Five dogs", "25 dogs"),
        ("a hundred dogs", "100 dogs"),
        ("two hundred and fifty dogs", "250 dogs"),
        ("three thousand birds", "3000 birds"),
        ("half a dozen eggs", "6 eggs"),
        ("a half dozen eggs", "6 eggs"),
        ("two dozen eggs", "24 eggs"),
        ("at least 3 dozen eggs", "at least 36 eggs"),
        ("1,000 birds", "1000 birds"),
        ("12,000,000 birds", "12000000 birds"),
        ("1 000 birds", "1000 birds"),
        ("2-3 dogs", "2 to 3 dogs"),
        ("2 – 3 dogs", "2 to 3 dogs"),
        ("two-three dogs", "two to three dogs"),
        ("atleast 2 dogs", "at least 2 dogs"),
    ],
)
def test_each_number_becomes_one_word(text: str, expected: str) -> None:
    assert write_numbers(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "two dogs",
        "twenty dogs",
        "a dozen eggs",
        "1.5 dogs",
        "2-3",
        "the 4-3 win",
        "a two-wheeled cart",
        "twenty-five-year-old man",
        "the F-16 jet",
        "2-3-4 dogs",
        "hundreds of birds",
        "the 10:30-11 train",
        "the red dog",
    ],
)
def test_other_texts_stay(text: str) -> None:
    assert write_numbers(text) == text
