"""Abbreviations, against what people who use them mean."""

from __future__ import annotations

import pytest

from refam.text.abbreviations import write_out_abbreviations
from refam.text.expression import parse_expression
from refam.text.tokens import TokenRole
from refam.tiny.model import build_tokenizer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("man w/ hat", "man with hat"),
        ("man w/ a red hat", "man with a red hat"),
        ("guy w/hat on left", "guy with hat on left"),
        ("Man W/ Hat", "Man with Hat"),
        ("girl w/o glasses", "girl without glasses"),
        ("bottle w/o a label", "bottle without a label"),
        ("cow w white face", "cow with white face"),
        ("black & white dog", "black and white dog"),
        ("man + dog", "man and dog"),
        ("boy @ left", "boy at left"),
        ("ppl in bg", "people in background"),
        ("fg cow", "foreground cow"),
        ("blk shirt, rt side", "black shirt, right side"),
        ("lft cup", "left cup"),
        ("front L chair, on R", "front left chair, on right"),
        ("traffic_light", "traffic light"),
    ],
)
def test_abbreviations_are_written_out(text: str, expected: str) -> None:
    assert write_out_abbreviations(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "the red car",
        "the letter w on the sign",
        "the size L shirt",
        "track_1",
        "a w on a shirt",
        "a sign that says w",
        "the h&m bag",
        "a+b",
        "b/w photo",
        "BG-12 number plate",
        "",
    ],
)
def test_what_only_looks_like_an_abbreviation_is_left_alone(text: str) -> None:
    assert write_out_abbreviations(text) == text


def test_the_text_encoder_reads_words_written_out() -> None:
    expression = parse_expression("blk star w/ red ring", build_tokenizer(), max_tokens=24)
    assert expression.text == "blk star w/ red ring", "what the person wrote is kept"
    assert expression.prompt.startswith("black star with red ring")
    heads = [t.word for t in expression.tokens if t.role is TokenRole.HEAD]
    content = [expression.tokens[w[0]].word for w in expression.content_words()]
    assert (heads, content, expression.unknown) == (["star"], ["black", "star", "red", "ring"], ())
