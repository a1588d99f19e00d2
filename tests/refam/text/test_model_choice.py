"""Which model looks for an expression, with the tokenizers of two vocabularies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from refam.text.expression import Expression, ExpressionError, UnknownWordsError, parse_expression
from refam.text.model_choice import choose_model, note_choice
from refam.tiny.model import build_tokenizer


@dataclass
class Reader:
    tokenizer: Any
    nouns: tuple[str, ...] = ()

    def parse(self, expression: str) -> Expression:
        return parse_expression(expression, self.tokenizer, max_tokens=32)


@pytest.fixture(scope="module")
def readers() -> dict[str, Reader]:
    everyday = ("the", "a", "dog", "car", "red", "furry", "star", "orange", "with", "to", ".")
    photos = Reader(build_tokenizer(everyday, text_length=32), ("dog", "car", "orange"))
    return {"shapes": Reader(build_tokenizer()), "photos": photos}


@pytest.mark.parametrize(
    ("expression", "chosen"),
    [
        ("the red circle", "shapes"),
        ("the dog", "photos"),
        ("the red car on the left", "photos"),
        ("the red star", "shapes"),  # both know it: the first
        ("the furry star", "photos"),  # both know the noun, one of them knows all
        ("the dotted star", "shapes"),
        ("the glossy dog", "photos"),
        ("the red one", "shapes"),
        ("the orange one", "shapes"),
        ("orange", "shapes"),
        ("the orange", "photos"),  # the fruit
        ("the orange on the left", "photos"),
        ("an orange beside the star", "photos"),
        ("two oranges", "photos"),
        ("the orange star", "shapes"),
        ("the orange stars", "shapes"),
        ("the red", "shapes"),
    ],
)
def test_the_words_choose(readers: dict[str, Reader], expression: str, chosen: str) -> None:
    assert choose_model(readers, expression) == chosen


@pytest.mark.parametrize("expression", ["the unicorn", "the red unicorn"])
def test_a_noun_that_no_model_knows_is_refused(readers: dict[str, Reader], expression: str) -> None:
    with pytest.raises(UnknownWordsError, match=r"'unicorn'.*`refam words` lists"):
        choose_model(readers, expression)


@pytest.mark.parametrize("expression", ["", "on the left"])
def test_what_no_model_could_read_is_refused_for_that_reason(readers: dict[str, Reader], expression: str) -> None:
    with pytest.raises(ExpressionError, match=r"empty|names nothing to look for") as caught:
        choose_model(readers, expression)
    assert not isinstance(caught.value, UnknownWordsError)


@pytest.mark.parametrize(
    ("expression", "name", "noted"),
    [
        ("the red one", "shapes", True),
        ("red", "shapes", True),
        ("the striped one on the left", "shapes", True),
        ("something red", "shapes", True),
        ("the one that is red", "shapes", True),
        ("the red star", "shapes", False),
        ("the circle", "shapes", False),
        ("the red dog", "photos", False),
    ],
)
def test_words_without_a_noun_are_said_to_be_read_as_drawn(
    readers: dict[str, Reader], expression: str, name: str, noted: bool
) -> None:
    parsed = note_choice(readers, name, readers[name].parse(expression))
    assert ("drawn shapes only" in parsed.note) == noted
    alone = {"shapes": readers["shapes"]}
    if name in alone:
        assert "drawn shapes only" not in note_choice(alone, name, readers[name].parse(expression)).note
