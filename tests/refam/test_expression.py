"""Words, tokens and roles, with the tokenizer that ships and with FLUX's real one where it is at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from refam.expression import ExpressionError, Role, magnets_for, parse
from refam.spatial import PLACE_WORDS
from refam.tiny.model import build_tokenizer

REAL_T5 = Path(__file__).parents[2].parent / "shared/tokenizers/t5/tokenizer.json"


@pytest.fixture(scope="module")
def tiny() -> Any:
    return build_tokenizer()


@pytest.fixture(scope="module")
def t5() -> Any:
    if not REAL_T5.is_file():
        pytest.skip("the real T5 tokenizer is not beside the project")
    from transformers import T5TokenizerFast

    return T5TokenizerFast(tokenizer_file=str(REAL_T5), model_max_length=512)


def words_by_role(tokenizer: Any, text: str, **options: Any) -> dict[str, list[str]]:
    expression = parse(text, tokenizer, max_tokens=options.pop("max_tokens", 64), **options)
    roles: dict[str, list[str]] = {}
    for token in expression.tokens:
        said = roles.setdefault(token.role.value, [])
        if token.word and (not said or said[-1] != token.word):
            said.append(token.word)
    return roles


@pytest.mark.parametrize(
    ("text", "content", "stop"),
    [
        ("the red star", ["red", "star"], ["the"]),
        ("  The   RED  star. ", ["red", "star"], ["the", "."]),
        (
            "a small, dotted ring next to the cross",
            ["small", "dotted", "ring", "cross"],
            ["a", ",", "next", "to", "the"],
        ),
        ("striped-star", ["striped-star"], []),
    ],
)
def test_roles(tiny: Any, text: str, content: list[str], stop: list[str]) -> None:
    roles = words_by_role(tiny, text)
    assert roles["content"] == content
    assert roles.get("stop", []) == stop
    assert roles["magnet"] == [".", "a", "with", "to", "pink"]
    assert roles["end"] == []


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("the schwarzenegger look-alike", ["schwarzenegger", "look-alike"]),
        ("a camel's 2nd hump", ["camel's", "2nd", "hump"]),
        ("the girl's Rollerblades", ["girl's", "rollerblades"]),
        ("das Straßenbahnmädchen", ["das", "straßenbahnmädchen"]),
    ],
)
def test_sub_words_of_the_real_tokenizer_go_to_their_words(t5: Any, text: str, content: list[str]) -> None:
    expression = parse(text, t5, max_tokens=64)
    got = [t.word for t in expression.tokens if t.role is Role.CONTENT]
    assert list(dict.fromkeys(got)) == content
    assert len(got) > len(content), "these words are several tokens each, all of them content"
    spelled = "".join(t.text for t in expression.tokens if t.role is Role.CONTENT).replace("▁", "")
    assert spelled.lower() == "".join(content)
    assert [t.role for t in expression.tokens][-1] is Role.END


def test_switches(tiny: Any) -> None:
    assert "magnet" not in words_by_role(tiny, "the red star", magnets=False)
    assert words_by_role(tiny, "the red star", stop_filter=False)["content"] == ["the", "red", "star"]
    placed = words_by_role(tiny, "the star on the left", place_words=PLACE_WORDS)
    assert placed["place"] == ["left"]
    assert placed["content"] == ["star"]


@pytest.mark.parametrize(
    ("text", "colour"),
    [("the red car", "pink"), ("the pink car", "cyan"), ("a Pink ring, a cyan one", "purple")],
)
def test_the_colour_magnet_is_never_a_colour_of_the_expression(text: str, colour: str) -> None:
    assert magnets_for(text) == (".", "a", "with", "to", colour)


@pytest.mark.parametrize(
    ("text", "max_tokens", "message"),
    [
        ("   ", 24, "is empty"),
        ("of the", 24, "names nothing"),
        ("the red star and the red star and the red star and the red star", 12, "has 21 tokens .* reads 12"),
        ("the zebra", 24, "knows none of the words 'zebra'"),
        ("?!", 24, "names nothing"),
    ],
)
def test_what_cannot_be_grounded_is_said(tiny: Any, text: str, max_tokens: int, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        parse(text, tiny, max_tokens=max_tokens)


def test_unknown_words_are_named_and_the_others_still_count(tiny: Any) -> None:
    expression = parse("the red zebra", tiny, max_tokens=24)
    assert expression.unknown == ("zebra",)
    assert "red" in [t.word for t in expression.tokens if t.role is Role.CONTENT]
