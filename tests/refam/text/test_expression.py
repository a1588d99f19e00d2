"""Words, tokens and roles, with the tokenizer that ships and with FLUX's own where it is available."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from refam.text.expression import ExpressionError, parse_expression
from refam.text.magnets import Magnets
from refam.text.tokens import TokenRole
from refam.tiny.model import build_tokenizer

REAL_T5 = Path(__file__).parents[3].parent / "shared/tokenizers/t5/tokenizer.json"


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
    expression = parse_expression(text, tokenizer, max_tokens=options.pop("max_tokens", 64), **options)
    roles: dict[str, list[str]] = {}
    for token in expression.tokens:
        role = "content" if token.role is TokenRole.HEAD else token.role.value  # both are looked for
        words = roles.setdefault(role, [])
        if token.word and (not words or words[-1] != token.word):
            words.append(token.word)
    return roles


@pytest.mark.parametrize(
    ("text", "content", "stop"),
    [
        ("the red star", ["red", "star"], ["the"]),
        ("  The   RED  star. ", ["red", "star"], ["the", "."]),
        (
            "a dotted, white ring .",
            ["dotted", "white", "ring"],
            ["a", ",", "."],
        ),
        ("striped-star", ["striped-star"], []),
    ],
)
def test_roles_of_tokens(tiny: Any, text: str, content: list[str], stop: list[str]) -> None:
    roles = words_by_role(tiny, text)
    assert roles["content"] == content
    assert roles.get("stop", []) == stop
    assert roles["magnet"][0] == "."
    assert roles["magnet"][-1] == "pink"
    assert roles["end"] == []


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("the schwarzenegger look-alike", ["schwarzenegger", "look-alike"]),
        ("a camel's 20th hump", ["camel's", "20th", "hump"]),
        ("the girl's Rollerblades", ["girl's", "rollerblades"]),
        ("das Straßenbahnmädchen", ["das", "straßenbahnmädchen"]),
    ],
)
def test_sub_words_of_t5_are_assigned_to_their_words(t5: Any, text: str, content: list[str]) -> None:
    expression = parse_expression(text, t5, max_tokens=64)
    got = [t.word for t in expression.tokens if t.role in (TokenRole.CONTENT, TokenRole.HEAD)]
    assert list(dict.fromkeys(got)) == content
    assert len(got) > len(content), "these words are several tokens each, all of them content"
    spelled = "".join(t.text for t in expression.tokens if t.role in (TokenRole.CONTENT, TokenRole.HEAD)).replace(
        "▁", ""
    )
    assert spelled.lower() == "".join(content)
    assert [t.role for t in expression.tokens][-1] is TokenRole.END


def test_parts_of_the_method_can_be_switched_off(tiny: Any) -> None:
    assert "magnet" not in words_by_role(tiny, "the red star", magnets=None)
    assert words_by_role(tiny, "the red star", stop_filter=False)["content"] == ["the", "red", "star"]
    placed = words_by_role(tiny, "the small star on the left")
    assert (placed["place"], placed["size"], placed["content"]) == (["left"], ["small"], ["star"])
    plain = words_by_role(tiny, "the small star on the left", spatial_bias=False)
    assert plain["content"] == ["small", "star", "left"]


@pytest.mark.parametrize(
    ("text", "magnets", "appended"),
    [
        ("red car", Magnets(), [".", "a", "with", "to", "pink"]),
        ("the pink car", Magnets(), [".", "a", "with", "to", "cyan"]),
        ("a Pink ring, a cyan one", Magnets(), [".", "of", "with", "to", "purple"]),
        ("a dog with a hat to go .", Magnets(), [".", "of", "in", "and", "pink"]),
        ("red car", Magnets.parse("with  to . Blue"), ["with", "to", ".", "blue"]),
        ("the blue car with doors", Magnets.parse("with to . blue"), ["of", "to", ".", "pink"]),
        ("pink cyan purple orange brown", Magnets(("pink",)), []),
    ],
)
def test_magnets_that_the_expression_has_are_replaced(text: str, magnets: Magnets, appended: list[str]) -> None:
    assert list(magnets.choose_for(text.lower().replace(",", " ,").split())) == appended


@pytest.mark.parametrize(("words", "message"), [("", "no magnets"), ("   ", "no magnets")])
def test_magnets_without_words_are_refused(words: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Magnets.parse(words)


def test_a_magnet_is_one_word() -> None:
    with pytest.raises(ValueError, match="one word, got 'a b'"):
        Magnets(("a b",))


@pytest.mark.parametrize(
    ("text", "max_tokens", "message"),
    [
        ("   ", 24, "is empty"),
        ("of the", 24, "names nothing"),
        ("the red star and the red star and the red star and the red star", 12, "has 15 tokens or more, .* reads 12"),
        ("star," * 300, 24, "has 150 tokens or more, .* reads 24"),
        ("star_" * 30, 24, "has 30 tokens or more, .* reads 24"),
        ("the zebra", 24, "knows none of the words 'zebra';"),
        ("🟣", 24, "knows none of the words '🟣';"),
        ("a zebra near the quokka", 24, "knows none of the words 'zebra';"),
        ("?!", 24, "names nothing"),
        ("on the left", 24, "only where or how large .'left'."),
        ("the second from the right, the biggest", 24, "only where or how large"),
    ],
)
def test_expressions_that_cannot_be_grounded_are_refused(tiny: Any, text: str, max_tokens: int, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        parse_expression(text, tiny, max_tokens=max_tokens)


@pytest.mark.parametrize(
    ("text", "unknown", "looked_for"),
    [
        ("the red zebra", ["zebra"], ["red"]),
        ("the 🟣 circle", ["🟣"], ["circle"]),
        ("the purple 🟣", ["🟣"], ["purple"]),
        ("the circle on the 🟣 left", ["🟣"], ["circle"]),
        ("the 👍🏽 🇩🇪 ❤️ star", ["👍🏽", "🇩🇪", "❤️"], ["star"]),
        ("the 红色 star and the café", ["红色", "café"], ["star"]),
        ("the red circle #7", ["7"], ["red", "circle"]),
        ("the red star <3 €", ["<", "3", "€"], ["red", "star"]),
        ("the circle next to the zebra", ["zebra"], ["circle"]),
        ("the red-ish star", [], ["red-ish", "star"]),
        ("the red/blue star!! …", [], ["red", "blue", "star"]),
        ("the star at the top of the picture", [], ["star"]),
    ],
)
def test_every_unknown_thing_is_named_and_none_is_looked_for(
    tiny: Any, text: str, unknown: list[str], looked_for: list[str]
) -> None:
    expression = parse_expression(text, tiny, max_tokens=24)
    assert list(expression.unknown) == unknown
    assert [expression.tokens[positions[0]].word for positions in expression.content_words()] == looked_for


QUOTED = [
    *('"star"', "“star”", "‘star’", "«star»", "(star)", "[star]", "{star}", "<star>", "*star*", "`star`", "_star_"),
    *("-star", ".star", ",star", "#star", "star!", "star?", "star:", "star;", "star…", "…star", "• star", "~star"),
    *("\ufeffstar", "st\u00adar", "star\u200b"),
]


@pytest.mark.parametrize("word", QUOTED)
@pytest.mark.parametrize("around", ["{}", "the red {} on the left"])
def test_signs_around_a_word_leave_it_known(tiny: Any, word: str, around: str) -> None:
    expression = parse_expression(around.format(word), tiny, max_tokens=32)
    assert [expression.tokens[p[0]].word for p in expression.content_words()][-1] == "star"
    assert expression.unchecked == ()
    assert expression.unknown_head is None


@pytest.mark.parametrize("text", ["star/ring", "star|ring", "star&ring", "star=ring", "star,ring", "(star)ring"])
def test_words_with_a_sign_in_between_are_both_known(tiny: Any, text: str) -> None:
    expression = parse_expression(text, tiny, max_tokens=32)
    assert [expression.tokens[p[0]].word for p in expression.content_words()] == ["star", "ring"]


@pytest.mark.parametrize("text", ["star " + "<b>" * 20, "red star" + "(!)" * 20])
def test_more_signs_than_can_be_read_are_no_error(tiny: Any, text: str) -> None:
    parsed = parse_expression(text, tiny, max_tokens=70)
    assert "star" in {parsed.tokens[p[0]].word for p in parsed.content_words()} | set(parsed.unknown)


@pytest.mark.parametrize("text", ["anything", "everything", "starlet", "costar", "thes"])
def test_a_word_is_not_known_by_another_one_inside_it(text: str) -> None:
    tokenizer = build_tokenizer(("the", "a", "an", "thing", "star", "."), text_length=32)
    with pytest.raises(ExpressionError, match=f"knows none of the words '{text}'"):
        parse_expression(text, tokenizer, max_tokens=32)


@pytest.mark.parametrize(
    ("text", "looked_for", "not_used"),
    [
        ("the not so red star", ["star"], ["not so red"]),
        ("star no. 7", ["star"], []),
        ("the star with no ring", ["star"], ["no ring"]),
        ("the star without a ring", ["star"], ["without a ring"]),
    ],
)
def test_what_is_negated_is_said(tiny: Any, text: str, looked_for: list[str], not_used: list[str]) -> None:
    expression = parse_expression(text, tiny, max_tokens=32)
    assert [expression.tokens[p[0]].word for p in expression.content_words()] == looked_for
    assert [ignored.words for ignored in expression.ignored] == not_used


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("10:30: the red star", "10:30"),
        ("at 10:30: find the red star", "10:30"),
        ("10:30:15: one red star", "10:30:15"),
    ],
)
def test_a_time_before_a_colon_is_named_once(tiny: Any, text: str, time: str) -> None:
    expression = parse_expression(text, tiny, max_tokens=32)
    assert [expression.tokens[p[0]].word for p in expression.content_words()] == ["red", "star"]
    assert expression.unknown == ()
    assert expression.notes == [f"{time!r} is not used: a time does not choose which object is meant"]


@pytest.mark.parametrize("text", ["a \ud800 star", "star \udcff", "\ufffd star"])
def test_what_is_no_text_is_refused(tiny: Any, text: str) -> None:
    with pytest.raises(ExpressionError, match="no text in UTF-8") as caught:
        parse_expression(text, tiny, max_tokens=32)
    str(caught.value).encode()


@pytest.mark.parametrize(
    ("text", "looked_for", "not_used"),
    [
        ("the ring white star", ["ring", "white", "star"], []),
        ("the snow white star", ["white", "star"], ["snow"]),
        ("a star in wine red", ["star", "red"], ["wine"]),
        ("the star next to the sky blue ring", ["star"], ["next to the sky blue ring"]),
    ],
)
def test_the_shade_of_a_colour_is_no_thing(text: str, looked_for: list[str], not_used: list[str]) -> None:
    tokenizer = build_tokenizer(("the", "star", "ring", "white", "red", "blue", "snow", "wine", "sky"), text_length=32)
    expression = parse_expression(text, tokenizer, max_tokens=32)
    assert {expression.tokens[p[0]].word for p in expression.content_words()} == set(looked_for)
    assert [ignored.words for ignored in expression.ignored] == not_used
