"""Which model looks for an expression, with the tokenizers of two vocabularies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from refam.text.expression import Expression, ExpressionError, UnknownWordsError, parse_expression
from refam.text.model_choice import choose_model
from refam.tiny.model import build_tokenizer


@dataclass
class Reader:
    tokenizer: Any

    def parse(self, expression: str) -> Expression:
        return parse_expression(expression, self.tokenizer, max_tokens=32)


@pytest.fixture(scope="module")
def readers() -> dict[str, Reader]:
    everyday = ("the", "a", "dog", "car", "red", "furry", "star", "with", "to", ".")
    return {"shapes": Reader(build_tokenizer()), "photos": Reader(build_tokenizer(everyday, text_length=32))}


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
