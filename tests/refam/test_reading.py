"""Readings check themselves, and the default one is in no settings."""

from __future__ import annotations

from typing import Any

import pytest

from refam.reading import Reading


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {}),
        ({"contrast_texts": ("the car",)}, {}),  # without a contrast its text is not read
        ({"contrast": 0.5}, {"contrast": 0.5}),
        ({"contrast": 1.0, "contrast_texts": ("the car",)}, {"contrast": 1.0, "contrast_texts": ("the car",)}),
        ({"head_weights": "peak", "frames": "both"}, {"head_weights": "peak", "frames": "both"}),
        ({"prototypes": 0.1}, {"prototypes": 0.1}),
    ],
)
def test_settings_are_what_differs_from_the_default(options: dict[str, Any], expected: dict[str, Any]) -> None:
    assert Reading(**options).settings() == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Reading()),
        ("contrast=0.5", Reading(contrast=0.5)),
        ("heads=peak, prototypes=0.05", Reading(head_weights="peak", prototypes=0.05)),
        ("frames=both  contrast=1", Reading(contrast=1.0, frames="both")),
    ],
)
def test_options_are_written_as_names_and_values(text: str, expected: Reading) -> None:
    assert Reading.parse(text) == expected


@pytest.mark.parametrize("text", ["peak", "contrast=much", "contrast", "texts=a", "heads:peak"])
def test_other_words_are_no_options(text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}' is no way of reading; write some of: contrast=0.5 heads=peak"):
        Reading.parse(text)


@pytest.mark.parametrize("text", ["contrast=0.5 contrast=1", "heads=peak, frames=both, heads=uniform"])
def test_an_option_that_is_there_twice_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is there twice in .*; give it once"):
        Reading.parse(text)


def test_each_reading_has_a_version_of_its_own() -> None:
    texts = ["contrast=0.5", "contrast=1", "heads=peak", "prototypes=0.05", "frames=both", "frames=both heads=peak"]
    suffixes = [Reading.parse(text).version_suffix for text in texts]
    assert len(set(suffixes)) == len(texts)
    assert all(len(suffix) == 7 and suffix.startswith("+") for suffix in suffixes)
    assert Reading.parse("contrast=0 prototypes=0 heads=uniform frames=together").version_suffix == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"contrast": -0.1}, "from 0 to 10, not -0.1"),
        ({"contrast": 1.0, "contrast_texts": (" ",)}, "such as 'the background'"),
        ({"contrast": 1.0, "contrast_texts": ()}, "such as 'the background'"),
        ({"prototypes": 0.6}, "from 0 to 0.5, not 0.6"),
        ({"head_weights": "max"}, "heads must be one of uniform, peak, not 'max'"),
        ({"frames": "clip"}, "frames must be one of together, alone, both, not 'clip'"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Reading(**options)
